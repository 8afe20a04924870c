"""What goes beyond Theorem 1 held against the experiment: every feature of the span recipe and of the practice loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dp_theory.api import predict, simulate
from dp_theory.loop import (
    LOGISTIC,
    Addition,
    Agree,
    Group,
    Interpolating,
    PracticeProblem,
    SpanProblem,
    Verifier,
    Window,
)
from dp_theory.loop.groups import Weight
from dp_theory.rules import Entropy, KeepEasy, KeepHard, Rule
from dp_theory.verification import QUANTITIES
from tests.dp_theory.verification import measured
from tests.dp_theory.verification.boundary import noisy_loops, span_cells
from tests.dp_theory.verification.convexloop import convex_loops
from tests.dp_theory.verification.multiclass import softmax_cells, softmax_rows
from tests.dp_theory.verification.selection import selected, selecting_loops

if TYPE_CHECKING:
    import pandas as pd


TRUTH = np.array([1.0, 0.0, 0.0, 0.0])
LABELLER = np.array([0.8, 0.6, 0.0, 0.0])
PRUNER = np.array([0.9, 0.0, np.sqrt(0.19), 0.0])
OTHER = np.array([0.5, 0.5, -0.3, np.sqrt(0.41)])
HARD = Group(along=PRUNER, keep=KeepHard(0.8))
MIXTURE = (
    Group(0.3),
    Group(1.0, along=PRUNER, keep=KeepHard(0.5)),
    Group(0.6, labeller=LABELLER, flip=0.1, along=OTHER, keep=KeepEasy(1.0), weight=2.0),
)


def feature_cells(d: int = 200) -> dict[str, SpanProblem]:
    """Named problems that between them use every feature of the recipe, for comparisons; d: size of the spectra."""
    return (
        _hard_rules()
        | _weights_and_labels()
        | _ridgeless()
        | selected()
        | _spectra(d)
        | {name: replace(problem, loss=LOGISTIC) for name, problem in _for_logistic_loss(d).items()}
        | span_cells()
    )


def _hard_rules() -> dict[str, SpanProblem]:
    """Rows that a rule keeps or drops, with the square loss."""
    easy = Group(along=PRUNER, keep=KeepEasy(0.8))
    return {
        "plain": SpanProblem(TRUTH, [Group()], 0.5, 0.01),
        "keep-hard": SpanProblem(TRUTH, [HARD], 0.3, 0.01),
        "keep-easy, more columns than rows": SpanProblem(TRUTH, [easy], 1.0, 0.02),
        "entropy": SpanProblem(TRUTH, [Group(along=PRUNER, keep=Entropy(4.0, 3.0))], 0.3, 0.05),
        "negative rho": SpanProblem(TRUTH, [Group(along=-PRUNER, keep=KeepHard(1.0))], 0.5, 0.1),
    }


def _weights_and_labels() -> dict[str, SpanProblem]:
    """Soft weights, labellers, flips, rules that see the label, mixtures, and several directions."""
    agree = Group(labeller=LABELLER, flip=0.1, along=PRUNER, keep=Agree())
    both = Group(
        labeller=LABELLER, flip=0.1, along=PRUNER, keep=lambda t, y: (y * t > 0) & (abs(t) < 1), breaks=(-1, 1)
    )
    pruned_and_verified = Group(
        labeller=LABELLER,
        flip=0.1,
        along=(PRUNER, OTHER),
        keep=lambda pruned, verified, y: abs(pruned) < 1,
        weight=lambda pruned, verified, y: Verifier(2)(verified, y),
        breaks=((-1, 1), ()),
    )
    consensus = Group(labeller=LABELLER, along=(PRUNER, OTHER), keep=lambda s, v, y: (s * y > 0) & (v * y > 0))
    undirected = Group(labeller=LABELLER, flip=0.1, weight=lambda y: np.where(y > 0, 2.0, 0.5))
    return {
        "interpolating, hard": SpanProblem(TRUTH, [_weighted(Interpolating(1, 2))], 0.5, 0.01),
        "interpolating, easy": SpanProblem(TRUTH, [_weighted(Interpolating(-0.5, 2))], 0.5, 0.01),
        "soft verifier": SpanProblem(TRUTH, [_weighted(Verifier(2), 0.2)], 0.4, 0.01),
        "labeller, flips, label-aware": SpanProblem(TRUTH, [agree], 0.5, 0.01),
        "label-aware band": SpanProblem(TRUTH, [both], 0.2, 0.01),
        "labeller, flips, keep-easy": SpanProblem(TRUTH, [_mislabelled()], 0.4, 0.01),
        "mixture": SpanProblem(TRUTH, MIXTURE, 0.3, 0.02),
        "pruner, verifier, labeller": SpanProblem(TRUTH, [pruned_and_verified], 0.5, 0.01),
        "pruner and verifier agree with the label": SpanProblem(TRUTH, [consensus], 0.3, 0.01),
        "weights without a direction": SpanProblem(TRUTH, [undirected], 0.5, 0.05),
    }


def _ridgeless() -> dict[str, SpanProblem]:
    """The limit λ → 0+ on both sides of the peak."""
    return {
        "ridgeless, fewer columns than rows": SpanProblem(TRUTH, [HARD], 0.2, 0.0),
        "ridgeless, more columns than rows": SpanProblem(TRUTH, [HARD], 1.2, 0.0),
        "ridgeless, soft, fewer columns": SpanProblem(TRUTH, [_weighted(Verifier(2), 0.1)], 0.4, 0.0),
        "ridgeless, soft, more columns": SpanProblem(TRUTH, [_weighted(Verifier(2), 0.1)], 2.0, 0.0),
    }


def _spectra(d: int) -> dict[str, SpanProblem]:
    """Covariances whose eigenvalues fall as a power law."""
    return {
        "power law 1/2, keep-hard": _power_law(d, 0.5, KeepHard(0.8), 0.5, 0.05),
        "power law 1, keep-easy": _power_law(d, 1.0, KeepEasy(0.8), 0.3, 0.05),
        "power law 1/2, ridgeless, fewer columns": _power_law(d, 0.5, KeepHard(0.8), 0.3, 0.0),
        "power law 1/2, ridgeless, more columns": _power_law(d, 0.5, KeepHard(0.8), 1.5, 0.0),
    }


def _for_logistic_loss(d: int) -> dict[str, SpanProblem]:
    """Problems that are compared with the logistic loss. Here they still have the square loss."""
    return {
        "logistic": SpanProblem(TRUTH, [Group()], 0.5, 0.05),
        "logistic, keep-hard": SpanProblem(TRUTH, [HARD], 0.4, 0.02),
        "logistic, keep-easy, labeller": SpanProblem(TRUTH, [_mislabelled()], 0.4, 0.05),
        "logistic, soft verifier": SpanProblem(TRUTH, [_weighted(Verifier(2), 0.2)], 0.4, 0.02),
        "logistic, mixture": SpanProblem(TRUTH, MIXTURE, 0.3, 0.02),
        "logistic, power law 1/2": _power_law(d, 0.5, KeepHard(0.8), 0.5, 0.05),
    }


def _weighted(weight: Weight, flip: float = 0.0) -> Group:
    """Rows with soft weights by the pruner's score."""
    return Group(along=PRUNER, flip=flip, weight=weight)


def _mislabelled() -> Group:
    """The easy rows of the pruner, with another's labels."""
    return Group(labeller=LABELLER, flip=0.05, along=PRUNER, keep=KeepEasy(0.5))


def _power_law(d: int, exponent: float, keep: Rule, phi: float, lam: float) -> SpanProblem:
    spectrum = np.arange(1, d + 1.0) ** -exponent
    along = 1 + 0.7 * (-1.0) ** np.arange(d)
    return SpanProblem(np.ones(d), [Group(along=along, keep=keep)], phi, lam, spectrum / spectrum.mean())


def compare_with_experiment(
    cells: Mapping[str, SpanProblem], trials: int, *, d: int = 200, seed: int = 0, workers: int | None = 1
) -> list[dict[str, Any]]:
    """Theory against experiment: a row for each cell and quantity, with keys cell, quantity, theory, simulated, se, z.

    Isotropic problems are simulated at dimension d, others at the size of their spectrum; each from a seed of its own.
    workers as in dp_theory.numerics.parallel.
    """
    rows = []
    seeds = np.random.SeedSequence(seed).generate_state(len(cells)).tolist()
    for cell_seed, (name, problem) in zip(seeds, cells.items(), strict=True):
        theory = predict(problem)
        simulated = simulate(problem, d if problem.spectrum is None else None, trials, seed=cell_seed, workers=workers)
        for quantity in QUANTITIES:
            mean = getattr(simulated, quantity)
            se = getattr(simulated, f"{quantity}_se")
            rows.append(_row(name, quantity, getattr(theory, quantity), mean, se))
    return rows


def _row(cell: str, quantity: str, limit: Any, mean: Any, se: Any) -> dict[str, Any]:
    numbers = {"theory": float(limit), "simulated": float(mean), "se": float(se), "z": float((mean - limit) / se)}
    return {"cell": cell, "quantity": quantity, **numbers}


def loops() -> dict[str, PracticeProblem]:
    """Named practice loops that between them use every feature of dp_theory.loop."""
    hard = Addition(2, keep=KeepHard(0.3))
    easy = Addition(1, keep=KeepEasy(0.5))
    spectrum = np.arange(1, 201) ** -0.7
    return (
        {
            "practice, keep-hard": PracticeProblem(0.5, 0.01, [hard] * 3),
            "practice, keep-easy": PracticeProblem(0.5, 0.02, [easy] * 2),
            "practice, plain": PracticeProblem(0.5, 0.02, [Addition(1)] * 3),
            "practice, entropy, few rows": PracticeProblem(1.2, 0.2, [Addition(2, keep=Entropy(4.0, 3.0))] * 2),
            "practice, self-verification, flips": PracticeProblem(0.5, 0.02, [Addition(1, keep=Agree())] * 2, flip=0.1),
            "practice, soft weights": PracticeProblem(0.5, 0.02, [Addition(1, weight=Interpolating(1, 3))] * 2),
            "practice, verifier, labeller, flips": PracticeProblem(
                0.5, 0.02, [Addition(1, weight=Verifier(2))] * 2, labeller=0.9, flip=0.05
            ),
            "practice, window": PracticeProblem(0.25, 1e-3, [Window(1)] * 3),
            "practice, weighted window": PracticeProblem(0.25, 1e-6, [Window(1, power=2)] * 3),
            "practice, ridgeless": PracticeProblem(0.3, 0.0, [Window(2)] * 2),
            "practice, small first pool": PracticeProblem(0.5, 0.05, [easy, hard], initial=0.5),
            "practice, newest rows": PracticeProblem(
                0.25, 1e-3, [Addition(kept=1, keep=KeepHard(0.5))] * 3, accumulate=False
            ),
            "practice, newest rows, flips": PracticeProblem(0.25, 0.01, [Window(2)] * 2, accumulate=False, flip=0.05),
            "practice, power law": PracticeProblem(0.5, 0.02, [easy] * 2, spectrum=spectrum / spectrum.mean()),
        }
        | selecting_loops()
        | noisy_loops()
        | convex_loops()
    )


def features(
    trials: int = 12,
    *,
    d: int = 500,
    seed: int = 0,
    workers: int | None = 1,
) -> pd.DataFrame:
    """Everything beyond Theorem 1 against the experiment at d: cell, quantity, theory, simulation, se, z, trials.

    The problems of `feature_cells` and `softmax_cells`, the last learner of those of `loops`, and `measured.CELLS`.
    Every cell has a seed of its own. Few trials at a large d rather than many at a small one: the bias c/d is then well
    below the noise.
    """
    import pandas as pd

    problems = feature_cells(d)
    practices = loops()
    many = softmax_cells()
    seeds = iter(np.random.SeedSequence(seed).generate_state(len(problems) + len(practices) + len(many)).tolist())
    rows = []
    for name, problem in problems.items():
        rows += compare_with_experiment({name: problem}, trials, d=d, seed=next(seeds), workers=workers)
    for name, loop in practices.items():
        runs = simulate(loop, d if loop.spectrum is None else None, trials, seed=next(seeds), workers=workers)
        limit = predict(loop).test_error[-1]
        mean = runs.test_error[-1]
        se = runs.test_error_se[-1]
        rows.append(_row(name, "test_error", limit, mean, se))
    for name, problem in many.items():
        rows += [{"cell": name, **row} for row in softmax_rows(problem, d, trials, next(seeds), workers)]
    ours = pd.DataFrame(rows).rename(columns={"simulated": "simulation"}).assign(trials=trials)
    return pd.concat([ours, measured.measured_laws(trials, seed=seed)], ignore_index=True)
