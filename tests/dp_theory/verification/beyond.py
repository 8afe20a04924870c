"""What goes beyond Theorem 1 held against the experiment: every feature of rows, of practice loops and of K classes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dp_theory import predict, simulate
from dp_theory.loop import (
    LOGISTIC,
    SQUARED_HINGE,
    Addition,
    Agree,
    BoundaryFlips,
    Group,
    Interpolating,
    PracticeProblem,
    SpanProblem,
    Verifier,
    Window,
)
from dp_theory.outcomes import QUANTITIES
from dp_theory.rules import Entropy, KeepEasy, KeepHard, Rule

TRUTH = np.array([1.0, 0.0, 0.0, 0.0])
LABELLER = np.array([0.8, 0.6, 0.0, 0.0])
PRUNER = np.array([0.9, 0.0, np.sqrt(0.19), 0.0])
OTHER = np.array([0.5, 0.5, -0.3, np.sqrt(0.41)])
HARD = Group(along=PRUNER, keep=KeepHard(0.8))
MISLABELLED = Group(labeller=LABELLER, flip=0.05, along=PRUNER, keep=KeepEasy(0.5))
MIXTURE = (
    Group(0.3),
    Group(1.0, along=PRUNER, keep=KeepHard(0.5)),
    Group(0.6, labeller=LABELLER, flip=0.1, along=OTHER, keep=KeepEasy(1.0), weight=2.0),
)
SOFT = BoundaryFlips(0.3)
HEAVY = BoundaryFlips(0.6, 0.4)


def feature_cells(d: int = 200) -> dict[str, SpanProblem]:
    """Named problems that between them use every feature of the recipe, for comparisons; d: size of the spectra."""
    return _groups() | _spectra(d) | _logistic(d)


def _groups() -> dict[str, SpanProblem]:
    """Isotropic rows, square loss: (groups, phi, lam), λ = 0 being the limit, on both sides of the peak."""
    verified = Group(along=PRUNER, flip=0.2, weight=Verifier(2))
    soft = replace(verified, flip=0.1)
    agree = Group(labeller=LABELLER, flip=0.1, along=PRUNER, keep=Agree())
    band = replace(agree, keep=lambda t, y: (y * t > 0) & (abs(t) < 1), breaks=(-1, 1))
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
    tilted = Group(along=PRUNER, keep=Entropy(8.0))
    cells = {
        "plain": ([Group()], 0.5, 0.01),
        "keep-hard": ([HARD], 0.3, 0.01),
        "keep-easy, more columns than rows": ([replace(HARD, keep=KeepEasy(0.8))], 1.0, 0.02),
        "entropy": ([replace(HARD, keep=Entropy(4.0, 3.0))], 0.3, 0.05),
        "negative rho": ([Group(along=-PRUNER, keep=KeepHard(1.0))], 0.5, 0.1),
        "interpolating, hard": ([Group(along=PRUNER, weight=Interpolating(1, 2))], 0.5, 0.01),
        "interpolating, easy": ([Group(along=PRUNER, weight=Interpolating(-0.5, 2))], 0.5, 0.01),
        "soft verifier": ([verified], 0.4, 0.01),
        "labeller, flips, label-aware": ([agree], 0.5, 0.01),
        "label-aware band": ([band], 0.2, 0.01),
        "labeller, flips, keep-easy": ([MISLABELLED], 0.4, 0.01),
        "mixture": (MIXTURE, 0.3, 0.02),
        "pruner, verifier, labeller": ([pruned_and_verified], 0.5, 0.01),
        "pruner and verifier agree with the label": ([consensus], 0.3, 0.01),
        "weights without a direction": ([undirected], 0.5, 0.05),
        "soft labels, plain": ([Group(flip=SOFT)], 0.4, 0.05),
        "soft labels, keep-hard": ([replace(HARD, flip=SOFT)], 0.3, 0.02),
        "heavy flips, entropy": ([replace(tilted, flip=HEAVY)], 0.3, 0.05),
        "ridgeless, fewer columns than rows": ([HARD], 0.2, 0.0),
        "ridgeless, more columns than rows": ([HARD], 1.2, 0.0),
        "ridgeless, soft, fewer columns": ([soft], 0.4, 0.0),
        "ridgeless, soft, more columns": ([soft], 2.0, 0.0),
    }
    return {name: SpanProblem(TRUTH, groups, phi, lam) for name, (groups, phi, lam) in cells.items()}


def _spectra(d: int) -> dict[str, SpanProblem]:
    """Covariances whose eigenvalues fall as a power law."""
    return {
        "power law 1/2, keep-hard": _power_law(d, 0.5, KeepHard(0.8), 0.5, 0.05),
        "power law 1, keep-easy": _power_law(d, 1.0, KeepEasy(0.8), 0.3, 0.05),
        "power law 1/2, ridgeless, fewer columns": _power_law(d, 0.5, KeepHard(0.8), 0.3, 0.0),
        "power law 1/2, ridgeless, more columns": _power_law(d, 0.5, KeepHard(0.8), 1.5, 0.0),
    }


def _power_law(d: int, exponent: float, keep: Rule, phi: float, lam: float) -> SpanProblem:
    spectrum = np.arange(1, d + 1.0) ** -exponent
    along = 1 + 0.7 * (-1.0) ** np.arange(d)
    return SpanProblem(np.ones(d), [Group(along=along, keep=keep)], phi, lam, spectrum / spectrum.mean())


def _logistic(d: int) -> dict[str, SpanProblem]:
    cells = {
        "plain": SpanProblem(TRUTH, [Group()], 0.5, 0.05),
        "keep-hard": SpanProblem(TRUTH, [HARD], 0.4, 0.02),
        "keep-easy, labeller": SpanProblem(TRUTH, [MISLABELLED], 0.4, 0.05),
        "soft verifier": SpanProblem(TRUTH, [Group(along=PRUNER, flip=0.2, weight=Verifier(2))], 0.4, 0.02),
        "mixture": SpanProblem(TRUTH, MIXTURE, 0.3, 0.02),
        "soft labels, keep-hard": SpanProblem(TRUTH, [replace(HARD, flip=SOFT)], 0.3, 0.02),
        "power law 1/2": _power_law(d, 0.5, KeepHard(0.8), 0.5, 0.05),
    }
    return {f"logistic, {name}": replace(problem, loss=LOGISTIC) for name, problem in cells.items()}


def loops() -> dict[str, PracticeProblem]:
    """Named practice loops that between them use every feature of dp_theory.loop."""
    hard = Addition(2, keep=KeepHard(0.3))
    easy = Addition(1, keep=KeepEasy(0.5))
    agree = Addition(1, keep=Agree())
    entropy = Addition(2, keep=Entropy(4.0, 3.0))
    soft = Addition(1, weight=Interpolating(1, 3))
    verified = Addition(1, weight=Verifier(2))
    newest = Addition(kept=1, keep=KeepHard(0.5))
    spectrum = np.arange(1, 201) ** -0.7
    spectrum = spectrum / spectrum.mean()
    square = {
        "keep-hard": PracticeProblem(0.5, 0.01, [hard] * 3),
        "keep-easy": PracticeProblem(0.5, 0.02, [easy] * 2),
        "entropy, few rows": PracticeProblem(1.2, 0.2, [entropy] * 2),
        "self-verification, flips": PracticeProblem(0.5, 0.02, [agree] * 2, flip=0.1),
        "soft weights": PracticeProblem(0.5, 0.02, [soft] * 2),
        "verifier, labeller, flips": PracticeProblem(0.5, 0.02, [verified] * 2, labeller=0.9, flip=0.05),
        "window": PracticeProblem(0.25, 1e-3, [Window(1)] * 3),
        "newest rows": PracticeProblem(0.25, 1e-3, [newest] * 3, accumulate=False),
        "power law": PracticeProblem(0.5, 0.02, [easy] * 2, spectrum=spectrum),
        "soft labels": PracticeProblem(0.5, 0.1, [Window(1)] * 2, flip=SOFT),
    }
    logistic = {f"logistic {name}": replace(loop, loss=LOGISTIC) for name, loop in square.items()}
    others = {
        "plain": PracticeProblem(0.5, 0.02, [Addition(1)] * 3),
        "weighted window": PracticeProblem(0.25, 1e-6, [Window(1, power=2)] * 4),
        "ridgeless": PracticeProblem(0.3, 0.0, [Window(2)] * 2),
        "small first pool": PracticeProblem(0.5, 0.05, [easy, hard], initial=0.5),
        "newest rows, flips": PracticeProblem(0.25, 0.01, [Window(2)] * 2, accumulate=False, flip=0.05),
        "heavy flips, labeller": PracticeProblem(0.5, 0.05, [hard] * 2, labeller=0.9, flip=HEAVY),
        "selected rows labelled worse": PracticeProblem(0.5, 0.1, [replace(hard, flip=SOFT)] * 2, flip=0.05),
        "squared hinge": PracticeProblem(0.5, 0.01, [hard, easy], loss=SQUARED_HINGE),
        "max-margin": PracticeProblem(0.5, 0.0, [hard] * 2, loss=LOGISTIC),
    }
    return square | logistic | others


def compare_with_experiment(
    cells: Mapping[str, Any],
    trials: int,
    *,
    d: int = 200,
    seed: int = 0,
    workers: int | None = 1,
    quantities: tuple[str, ...] = QUANTITIES,
) -> list[dict[str, Any]]:
    """A row for each cell and quantity, of a loop's last learner: cell, quantity, theory, simulation, se, z.

    Isotropic problems are simulated at dimension d, others at the size of their spectrum; each from a seed of its own.
    se is that of the difference, z the difference in units of it.
    """
    rows = []
    seeds = np.random.SeedSequence(seed).generate_state(len(cells)).tolist()
    for cell_seed, (name, problem) in zip(seeds, cells.items(), strict=True):
        theory = predict(problem)
        size = d if getattr(problem, "spectrum", None) is None else None
        simulated = simulate(problem, size, trials, seed=cell_seed, workers=workers)
        for quantity in quantities:
            limit, mean, se, own = (
                float(np.ravel(getattr(record, field, 0.0))[-1])
                for record, field in (
                    (theory, quantity),
                    (simulated, quantity),
                    (simulated, f"{quantity}_se"),
                    (theory, f"{quantity}_se"),
                )
            )
            se = float(np.hypot(se, own))
            numbers = {"theory": limit, "simulation": mean, "se": se, "z": (mean - limit) / se}
            rows.append({"cell": name, "quantity": quantity} | numbers)
    return rows
