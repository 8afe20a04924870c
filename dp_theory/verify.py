"""Theory held against simulation over cells of parameters, as a test with a stated level.

Theory is the limit d → ∞, the experiment has a finite d. Two steps bridge them, and neither leaves a bias to excuse:
the law simulator at d = 20,000, where the bias c/d is far below the noise, is held against theory; and the experiment
itself, every number drawn, is held against the law simulator at one small d, at which both have the same distribution.
Every cell gives three quantities. The overlap and the squared norm are sharper than the error, which an equal stretch
of both leaves unchanged. A difference is noise if |z| stays below the Student t quantile of a two-sided 1 % test,
Bonferroni over cells, quantities and the two steps.

`features` holds what goes beyond Theorem 1 against the experiment, and `distribution` asks of all z together whether
they look like noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dp_theory.checks import require
from dp_theory.problem import Problem
from dp_theory.ridge import predict
from dp_theory.rules import Direct, Entropy, KeepAll, KeepEasy, KeepHard, Random, Rule
from dp_theory.simulate import simulate

if TYPE_CHECKING:
    import pandas as pd

    from dp_theory.practice import Practice

QUANTITIES = ("test_error", "overlap", "squared_norm")
CELLS = tuple(
    Problem(*cell)
    for cell in (
        (KeepHard(0.5), 0.9, 0.2, 0.01),
        (KeepHard(1.0), 0.6, 0.5, 1e-6),
        (KeepHard(0.5), 0.3, 1.0, 0.01),
        (KeepHard(0.8), -0.7, 0.4, 0.1),
        (KeepHard(1.0), 1.0, 0.3, 0.001),
        (KeepHard(0.5), 0.9, 0.25, 0.0),
        (KeepEasy(0.5), 0.9, 0.2, 0.01),
        (KeepEasy(1.0), 0.5, 1.0, 1e-6),
        (KeepEasy(0.3), 0.0, 0.5, 1.0),
        (KeepEasy(0.7), 0.8, 0.1, 0.0),
        (KeepAll(), 0.0, 0.5, 0.01),
        (KeepAll(), 0.0, 2.0, 0.0),
        (Random(0.4), 0.0, 0.75, 0.01),
        (Entropy(8.0), 0.9, 0.3, 0.01),
        (Entropy(30.0), 0.8, 1.0, 0.0),
        (Entropy(-3.0), 0.6, 0.5, 0.1),
        (Direct(KeepHard(0.5)), 0.9, 0.5, 0.01),
        (Direct(KeepEasy(0.5)), -0.9, 2.0, 0.1),
    )
)
LEVEL = 0.01
PRECISION = 0.01  # largest standard error that a verdict may rest on, relative to the value


def verify(
    cells: Sequence[Problem] = CELLS,
    *,
    d: int = 20_000,
    dense_d: int = 200,
    trials: int = 200,
    seed: int = 0,
    workers: int | None = 1,
    advance: Callable[[int], None] = lambda done: None,
) -> pd.DataFrame:
    """A row per cell and quantity: theory; simulation (the law at d), se, z; dense (at dense_d), dense_se, dense_z.

    dense_z is the experiment against the law at the same dense_d. verdict: 'agrees', 'DISAGREES' where |z| or
    |dense_z| exceeds `level`, else 'imprecise' where se exceeds 1 % of the value. advance(1) is called after each cell.
    Raises InputError where d, dense_d or trials < 4.
    """
    import pandas as pd
    from scipy.stats import t

    for name, value in (("d", d), ("dense_d", dense_d), ("trials", trials)):
        require(name, value, value >= 4, "be at least 4: a standard error is needed, at a size that has one")
    level = float(t.isf(LEVEL / (2 * 2 * len(cells) * len(QUANTITIES)), trials - 1))
    rows = []
    for cell in cells:
        theory = predict(cell)
        far, near, dense = (
            simulate(cell, size, trials, engine=engine, seed=seed, workers=workers)
            for size, engine in ((d, "law"), (dense_d, "law"), (dense_d, "dense"))
        )
        for quantity in QUANTITIES:
            (y, se), (law, law_se), (mean, mean_se) = (
                (getattr(s, quantity), getattr(s, f"{quantity}_se")) for s in (far, near, dense)
            )
            z = (y - getattr(theory, quantity)) / se
            dense_z = (mean - law) / np.hypot(mean_se, law_se)
            agrees = "agrees" if se <= PRECISION * abs(y) else "imprecise"
            rows.append(
                {"rule": _label(cell.rule), "rho": cell.rho, "phi": cell.phi, "lam": cell.lam, "quantity": quantity,
                 "theory": getattr(theory, quantity), "simulation": y, "se": se, "z": z, "dense": mean,
                 "dense_se": mean_se, "dense_z": dense_z, "level": level, "trials": trials, "d": d,
                 "dense_d": dense_d, "verdict": agrees if max(abs(z), abs(dense_z)) < level else "DISAGREES"}
            )  # fmt: skip
        advance(1)
    return pd.DataFrame(rows)


def loops() -> dict[str, Practice]:
    """Named practice loops that between them use every feature of dp_theory.practice."""
    from dp_theory.practice import Addition, Practice, Window
    from dp_theory.span import Agree, Interpolating, Verifier

    hard, easy = Addition(2, keep=KeepHard(0.3)), Addition(1, keep=KeepEasy(0.5))
    spectrum = np.arange(1, 201) ** -0.7
    return {
        "practice, keep-hard": Practice(0.5, 0.01, [hard] * 3),
        "practice, keep-easy": Practice(0.5, 0.02, [easy] * 2),
        "practice, plain": Practice(0.5, 0.02, [Addition(1)] * 3),
        "practice, entropy, few rows": Practice(1.2, 0.2, [Addition(2, keep=Entropy(4.0, 3.0))] * 2),
        "practice, self-verification, flips": Practice(0.5, 0.02, [Addition(1, keep=Agree())] * 2, flip=0.1),
        "practice, soft weights": Practice(0.5, 0.02, [Addition(1, weight=lambda t, y: Interpolating(1, 3)(t, y))] * 2),
        "practice, verifier, labeller, flips": Practice(
            0.5, 0.02, [Addition(1, weight=lambda t, y: Verifier(2)(t, y))] * 2, labeller=0.9, flip=0.05
        ),
        "practice, window": Practice(0.25, 1e-3, [Window(1)] * 3),
        "practice, weighted window": Practice(0.25, 1e-6, [Window(1, power=2)] * 3),
        "practice, ridgeless": Practice(0.3, 0.0, [Window(2)] * 2),
        "practice, small first pool": Practice(0.5, 0.05, [easy, hard], initial=0.5),
        "practice, newest rows": Practice(0.25, 1e-3, [Addition(kept=1, keep=KeepHard(0.5))] * 3, accumulate=False),
        "practice, newest rows, flips": Practice(0.25, 0.01, [Window(2)] * 2, accumulate=False, flip=0.05),
        "practice, power law": Practice(0.5, 0.02, [easy] * 2, spectrum=spectrum / spectrum.mean()),
    }


def features(
    trials: int = 12,
    *,
    d: int = 500,
    seed: int = 0,
    workers: int | None = 1,
    advance: Callable[[int], None] = lambda done: None,
) -> pd.DataFrame:
    """Everything beyond Theorem 1 against the experiment at d: cell, quantity, theory, simulation, se, z, trials.

    Problems of the span recipe with square and logistic loss (dp_theory.dense), and the last learner of practice
    loops. Every cell has a seed of its own. Few trials at a large d rather than many at a small one: the bias c/d is
    then well below the noise. advance(1) is called after each cell. Raises InputError where trials < 4.
    """
    import pandas as pd

    from dp_theory import dense, practice

    require("trials", trials, trials >= 4, "be at least 4: a standard error is needed")
    problems, practices = dense.feature_cells(d), loops()
    seeds = iter(np.random.SeedSequence(seed).generate_state(len(problems) + len(practices)).tolist())
    rows = []
    for name, problem in problems.items():
        rows += dense.agreement({name: problem}, trials, d=d, seed=next(seeds), workers=workers)
        advance(1)
    for name, loop in practices.items():
        size = d if loop.spectrum is None else len(loop.modes[0])
        runs, theory = practice.simulate(loop, size, trials, seed=next(seeds), workers=workers), practice.predict(loop)
        mean, se, limit = (float(y[-1]) for y in (runs.test_error, runs.test_error_se, theory.test_error))
        rows.append({"cell": name, "quantity": "test_error", "theory": limit, "simulated": mean, "se": se,
                     "z": (mean - limit) / se})  # fmt: skip
        advance(1)
    return pd.DataFrame(rows).rename(columns={"simulated": "simulation"}).assign(trials=trials)


def distribution(z: np.ndarray, trials: np.ndarray | int) -> dict[str, float]:
    """Independent z of means over `trials` runs: count, mean, sd, largest |z|, and the p-value of Kolmogorov and
    Smirnov's test that they are noise: standard normal, once Student's t is transformed to it."""
    from scipy.stats import kstest, norm, t

    normal = norm.ppf(t.cdf(z, np.asarray(trials) - 1))
    return {"cells": len(normal), "mean": float(normal.mean()), "sd": float(normal.std(ddof=1)),
            "largest": float(np.abs(normal).max()), "p_value": float(kstest(normal, "norm").pvalue)}  # fmt: skip


def _label(rule: Rule) -> str:
    """keep-hard 0.5: the rule with its parameter."""
    if isinstance(rule, Direct):
        return f"direct {_label(rule.rule)}"
    name = "".join(f"-{c.lower()}" if c.isupper() else c for c in type(rule).__name__).lstrip("-")
    return " ".join([name, *(f"{value:g}" for value in list(vars(rule).values())[:1])])
