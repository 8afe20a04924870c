"""Rounds in which a learner labels its own rows, as 2501.18962 asks for them: should they grow?"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import predicted, simulated

from dp_theory import Group, SpanProblem, predict
from dp_theory.ridge.simulators.dense import fit_ridge, measure

NUMBERS = ("predicted", "simulated")

START = 0.3  # error of the learner that labels the first round
FIRST = 4.0  # rows that it labels, per dimension
ROUNDS = 10
SIMULATED = (2, 4, 6)  # rounds
PANELS = {"a perfect verifier": 0.0, "30% of wrong labels pass": 0.3}
RATIOS = {"equal rounds": 1.0, "each 1.4 times the last": 1.4, "each twice the last": 2.0}
LAMS = 10.0 ** np.arange(-3, 1.1, 0.25)  # ridges per generated row, over d/n


class _Round(NamedTuple):
    """A round, with what it leaves in the limit."""

    size: float  # generated rows per dimension
    lam: float  # the best ridge, per generated row
    test_error: float


def compute(quick: bool) -> pd.DataFrame:
    """Tidy. x are the rows that all rounds so far generated, per dimension, y is the test error after the last one."""
    d, trials = (150, 10) if quick else (250, 20)
    count = 6 if quick else ROUNDS
    seen = np.array(SIMULATED[:2] if quick else SIMULATED) - 1
    parts = []
    for panel, passed in PANELS.items():
        for series, ratio in RATIOS.items():
            rounds = _rounds(FIRST * ratio ** np.arange(count), passed)
            total = np.cumsum([one.size for one in rounds])
            error = np.array([one.test_error for one in rounds])
            parts.append(predicted(series, total, error, panel=panel, round=np.arange(1, count + 1)))
            simulated_rounds = rounds[: seen.max() + 1]
            runs = np.array([_experiment(simulated_rounds, passed, d, seed) for seed in range(trials)])[:, seen]
            se = runs.std(0, ddof=1) / np.sqrt(trials)
            z = (runs.mean(0) - error[seen]) / se
            parts.append(
                simulated(series, total[seen], runs.mean(0), se, trials, panel=panel, round=seen + 1, z=z, d=d)
            )
    return pd.concat(parts, ignore_index=True)


def _rounds(sizes: np.ndarray, passed: float) -> list[_Round]:
    """Rounds one after the other. Each learner forgets all rows but those of its round, which the last one labelled.

    Rows are fresh, so that nothing but the last learner's angle to the truth counts.
    """
    found = []
    test_error = START
    for size in sizes:
        angle = np.pi * test_error
        group = Group(labeller=(np.cos(angle), np.sin(angle)), along=(1.0, 0.0), keep=_verifier(passed))
        lams = LAMS / size
        error = np.asarray(predict(SpanProblem((1.0, 0.0), [group], 1 / size, lams)).test_error)
        least = int(np.argmin(error))
        test_error = float(error[least])
        found.append(_Round(float(size), float(lams[least]), test_error))
    return found


def _verifier(passed: float) -> Callable[[Any, Any], np.ndarray]:
    """A verifier who knows the truth, along which it sees a row, but lets some wrong labels pass."""
    return lambda t, y: np.where(t * y > 0, 1.0, passed)


def _experiment(rounds: list[_Round], passed: float, d: int, seed: int) -> list[float]:
    """The test error after each round of one experiment."""
    rng = np.random.default_rng([seed, d])
    truth = np.eye(d)[0]
    w = np.cos(np.pi * START) * truth + np.sin(np.pi * START) * np.eye(d)[1]
    errors = []
    for one in rounds:
        x = rng.standard_normal((round(one.size * d), d))
        y = np.sign(x @ w)
        kept = rng.random(len(x)) < _verifier(passed)(x @ truth, y)
        w = fit_ridge(x[kept], y[kept], len(x) * one.lam)
        errors.append(measure(w, truth)[0])
    return errors


draw = partial(
    draw_curves, xlabel="rows generated so far / d", ylabel="test error", logx=True, logy=True, panel="panel"
)


def caption(table: pd.DataFrame) -> str:
    told = []
    for panel, rows in table.query("kind == 'predicted'").groupby("panel", sort=False):
        last = rows.pivot_table(index="round", columns="series", values="y").iloc[-1]
        total = rows.groupby("series")["x"].max()
        errors = ", ".join(f"{series} {last[series]:.3f} with {total[series]:.0f} rows" for series in RATIOS)
        told.append(f"{panel}: {errors}")
    runs = table.query("kind == 'simulated'")
    return (
        "The test error of ridge regression where each learner labels the fresh rows of the next one, a verifier drops "
        f"wrong labels, and old rows are forgotten; the first round has {FIRST:g} rows per dimension. After "
        f"{table['round'].max():g} rounds, {'; '.join(told)}, all per dimension. In the spirit of Yang et al. (2025): "
        "equal rounds end at an error that more of them do not mend, rounds that grow by a factor go on, and need "
        "fewer rows for an error. What differs: each regression is fitted anew in place of tuning the last one. Where "
        "all rows are kept, as in practice, the opposite holds (fig-growth). Points: "
        f"{runs['n_seeds'].iloc[0]:g} simulated experiments in dimension {runs['d'].iloc[0]:g}, at most |z| = "
        f"{runs['z'].abs().max():.1f} from the limit."
    )
