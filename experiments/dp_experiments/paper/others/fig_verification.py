"""Verification of generated labels, as 2406.07515 and 2410.08942 ask for it: how wrong may they be, how good is it?"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import predicted, simulated

from dp_theory import Group, SpanProblem, predict, simulate

NUMBERS = ("predicted", "simulated")

WRONG = np.linspace(0.0, 0.98, 50)  # shares of generated labels
SIMULATED = (0.3, 0.6, 0.8)
ROWS = (2.0, 20.0, 200.0)  # generated, per dimension
PASSED = (1.0, 0.5, 0.1)  # shares of the wrong labels that the verifier lets pass; it passes all right ones
LAM = 0.3  # ridge per generated row, over d/n
BELOW = 0.9  # times the breakdown: where the caption tells errors


def compute(quick: bool) -> pd.DataFrame:
    """Tidy. A panel for each number of rows; x is the share of wrong generated labels, y the test error."""
    wrong = WRONG[::7] if quick else WRONG
    d, trials = (60, 10) if quick else (200, 30)
    parts = []
    for rows in ROWS:
        panel = f"n = {rows:g} d"
        for passed in PASSED:
            series = _name(passed)
            error = [float(predict(_problem(rows, passed, share)).test_error) for share in wrong]
            parts.append(predicted(series, wrong, error, panel=panel))
            for share in SIMULATED:
                parts.append(_experiment(series, panel, _problem(rows, passed, share), share, d, trials))
    return pd.concat(parts, ignore_index=True)


def _name(passed: float) -> str:
    return "no verifier" if passed == 1 else f"{passed:.0%} of wrong labels pass"


def breakdown(passed: float) -> float:
    """The share of wrong labels from which most of the labels that pass are wrong."""
    return 1 / (1 + passed)


def _problem(rows: float, passed: float, share: float) -> SpanProblem:
    """Rows whose labels are flipped at random, and a verifier who knows the truth but lets some wrong ones pass."""
    group = Group(flip=share, along=(1.0,), keep=_verifier(passed))
    return SpanProblem((1.0,), [group], 1 / rows, LAM / rows)


def _verifier(passed: float) -> Callable[[Any, Any], np.ndarray]:
    return lambda t, y: np.where(t * y > 0, 1.0, passed)


def _experiment(series: str, panel: str, problem: SpanProblem, share: float, d: int, trials: int) -> pd.DataFrame:
    """The simulated error, with the z of its difference to the prediction."""
    runs = simulate(problem, d, trials, seed=round(100 * share))
    error = float(runs.test_error)
    se = float(runs.test_error_se)
    z = (error - float(predict(problem).test_error)) / se
    return simulated(series, [share], [error], [se], trials, panel=panel, z=z, d=d)


draw = partial(draw_curves, xlabel="share of wrong labels", ylabel="test error", panel="panel")


def caption(table: pd.DataFrame) -> str:
    theory = table.query("kind == 'predicted'")
    told = []
    for passed in PASSED:
        limit = breakdown(passed)
        curves = theory[theory["series"] == _name(passed)]
        errors = []
        for rows in ROWS:
            curve = curves[curves["panel"] == f"n = {rows:g} d"]
            errors.append(f"{np.interp(BELOW * limit, curve['x'], curve['y']):.2f}")
        told.append(f"{_name(passed)}: {limit:.2f} ({', '.join(errors)})")
    runs = table.query("kind == 'simulated'")
    return (
        "The test error of ridge regression on generated rows with labels flipped at random, of which a verifier lets "
        "all right ones pass and some of the wrong ones. The error is 1/2 where as many wrong labels pass as right "
        "ones, whatever the number of rows. That share, and for each n the error at nine tenths of it: "
        f"{'; '.join(told)}. As in Feng et al. (2024) the learner breaks down beyond that share, and errs little "
        "before it if rows are many, so that a verifier need not be perfect to move the breakdown; as in El Firdoussi "
        "et al. (2024) the transition is smooth where rows are few. What differs: rows have one Gaussian distribution "
        f"and a linear truth, not two clusters. Points: {runs['n_seeds'].iloc[0]:g} simulated experiments in dimension "
        f"{runs['d'].iloc[0]:g}, at most |z| = {runs['z'].abs().max():.1f} from the limit."
    )
