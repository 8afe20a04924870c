"""How large the rounds of practice should be: each a constant times the one before, for a budget of samples (ours)."""

from collections.abc import Sequence
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import predicted, simulated
from joblib import cpu_count

from dp_base.workers import in_parallel
from dp_theory import BoundaryFlips, PracticeProblem, Window, predict, simulate

PHI = 0.5
ROUNDS = 8
TOTAL = 8.0  # rows that all rounds add, in first pools
RATIOS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0)
SIMULATED = (0.7, 1.0, 1.5)
KAPPAS = (0.25, 0.5, 1.0, 1.5)
LAMS = (0.003, 0.01, 0.03, 0.1, 0.3)
WRONG = 0.032
EXACT = "exact labels"
NOISY = f"{100 * WRONG:g} % of plain labels wrong"


def compute(quick: bool) -> pd.DataFrame:
    ratios = SIMULATED if quick else RATIOS
    flips = {EXACT: 0.0} if quick else {EXACT: 0.0, NOISY: BoundaryFlips.of_share(WRONG)}
    kappas = KAPPAS[1:3] if quick else KAPPAS
    d, trials = (100, 10) if quick else (400, 30)
    curves = list(product(flips, ratios))
    best = in_parallel(cpu_count(), _best_loop, [(ratio, flips[series], kappas) for series, ratio in curves])
    parts = []
    for (series, ratio), (error, problem) in zip(curves, best, strict=True):
        parts.append(predicted(series, [ratio], [100 * error]))
        if series == EXACT and ratio in SIMULATED:
            runs = simulate(problem, d, trials, seed=round(100 * ratio))
            seen, se = float(runs.test_error[-1]), float(runs.test_error_se[-1])
            z = (seen - error) / se
            parts.append(simulated(series, [ratio], [100 * seen], [100 * se], trials, z=z, d=d))
    return pd.concat(parts, ignore_index=True)


def _best_loop(ratio: float, flip: float | BoundaryFlips, kappas: Sequence[float]) -> tuple[float, PracticeProblem]:
    """The least last error, and its loop."""
    problems = [PracticeProblem(PHI, lam, _rounds(ratio, kappa), flip=flip) for kappa in kappas for lam in LAMS]
    errors = [float(np.asarray(predict(problem).test_error)[-1]) for problem in problems]
    best = int(np.argmin(errors))
    return errors[best], problems[best]


def _rounds(ratio: float, kappa: float) -> list[Window]:
    """The rounds, each of which asks for rows near the boundary of its learner."""
    sizes = ratio ** np.arange(ROUNDS)
    return [Window(kappa, kept=float(size)) for size in TOTAL * sizes / sizes.sum()]


draw = partial(draw_curves, xlabel="size of a round over the one before", ylabel="test error (%)", logx=True, logy=True)


def caption(table: pd.DataFrame) -> str:
    theory = table.query("kind == 'predicted'")
    best = []
    for series in theory["series"].unique():
        curve = theory.query("series == @series").set_index("x")["y"]
        best.append(f"{series}: least at {curve.idxmin():g}, {curve.min() / curve[1.0]:.2f} times that of equal rounds")
    runs = table.query("kind == 'simulated'")
    return (
        f"The last test error of practice in {ROUNDS} rounds that add {TOTAL:g} first pools together, each round a "
        f"constant times the one before; φ = {PHI:g}, windows and ridge at their best. {'; '.join(best)}. Rounds that "
        f"grow are worse than equal ones. Points: {runs['n_seeds'].iloc[0]:g} simulated experiments in dimension "
        f"{runs['d'].iloc[0]:g}, at most |z| = {runs['z'].abs().max():.1f} from theory."
    )
