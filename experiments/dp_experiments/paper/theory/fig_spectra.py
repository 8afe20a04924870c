"""Scaling exponents where spectrum and truth fall as power laws: static data, pruned data and practice (ours)."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import predicted, simulated

from dp_theory import Group, KeepHard, PracticeProblem, SpanProblem, Window, predict, simulate

NUMBERS = ("predicted", "simulated")

LAWS = ((1.5, 2.0), (1.2, 3.0))  # exponents of the capacity a and of the source b
D = 2000  # eigenvalues
FIRST = 32  # training rows, which double
DOUBLINGS = 6
SIMULATED = (128, 1024)
LAMS = 10.0 ** np.arange(-5, 0.6, 0.5)  # ridges, where eigenvalue i is i^-a
KEEPS = (0.1, 0.2, 0.4, 0.7)  # of a pool that is pruned
KAPPAS = (0.6, 1.0, 1.5, 2.5)  # windows of practice
SCHEDULES = tuple(product((1.0, 0.3, 0.1, 0.03), (0.5, 1.0, 1.5)))  # ridge of the first pool, and how fast it falls
LAST = 3  # doublings over which the caption takes slopes

Problem = SpanProblem | PracticeProblem


def compute(quick: bool) -> pd.DataFrame:
    """Tidy. A panel for each pair of exponents; x are training rows, y is the test error."""
    laws = LAWS[:1] if quick else LAWS
    trials = 3 if quick else 12
    rows = [FIRST * 2**k for k in range(4 if quick else DOUBLINGS + 1)]
    parts = []
    for capacity, source in laws:
        panel = f"a = {capacity:g}, b = {source:g}"
        index = np.arange(1, D + 1.0)
        spectrum = index**-capacity
        truth = np.sqrt(index**-source / spectrum)
        for series, problems in (
            ("static", [_static(spectrum, truth, n) for n in rows]),
            ("pruned by the truth", [_pruned(spectrum, truth, n) for n in rows]),
            ("practice", [_practised(spectrum, truth, rows[: k + 1]) for k in range(len(rows))]),
        ):
            best = [_best(candidates) for candidates in problems]
            parts.append(predicted(series, rows, [error for error, _ in best], panel=panel))
            for n, (error, problem) in zip(rows, best, strict=True):
                if n in SIMULATED:
                    parts.append(_experiment(series, panel, n, error, problem, trials))
    return pd.concat(parts, ignore_index=True)


def _static(spectrum: np.ndarray, truth: np.ndarray, n: int) -> Iterator[SpanProblem]:
    """Plain rows, with each of the ridges."""
    for lam in LAMS:
        yield SpanProblem(truth, [Group()], D / n, lam, spectrum)


def _pruned(spectrum: np.ndarray, truth: np.ndarray, n: int) -> Iterator[SpanProblem]:
    """As many rows that are left of a larger pool, those nearest the truth's own boundary."""
    for keep, lam in product(KEEPS, LAMS):
        hard = Group(along=truth, keep=KeepHard.with_keep_fraction(keep))
        yield SpanProblem(truth, [hard], D / n * keep, lam * keep, spectrum)


def _practised(spectrum: np.ndarray, truth: np.ndarray, pools: Sequence[int]) -> Iterator[PracticeProblem]:
    """Rounds as large as the pool before them, near the newest learner's boundary."""
    sizes = np.asarray(pools) / FIRST
    for kappa, (first, fall) in product(KAPPAS, SCHEDULES):
        lam = first * sizes ** (1 - fall)
        rounds = [Window(kappa, kept=float(size)) for size in sizes[:-1]]
        yield PracticeProblem(D / FIRST, lam.tolist(), rounds, spectrum=spectrum, truth=truth)


def _best(problems: Iterator[SpanProblem] | Iterator[PracticeProblem]) -> tuple[float, Problem]:
    """The least last error of several problems, and the problem that has it."""
    found = [(_last(predict(problem).test_error), problem) for problem in problems]
    return min(found, key=lambda pair: pair[0])


def _last(errors: np.ndarray) -> float:
    return float(np.ravel(errors)[-1])


def _experiment(series: str, panel: str, n: int, expected: float, problem: Problem, trials: int) -> pd.DataFrame:
    """The simulated error, with the z of its difference to the prediction."""
    runs = simulate(problem, None, trials, seed=n)
    error = _last(runs.test_error)
    se = _last(runs.test_error_se)
    return simulated(series, [n], [error], [se], trials, panel=panel, z=(error - expected) / se, d=D)


draw = partial(draw_curves, xlabel="training rows", ylabel="test error", logx=True, logy=True, panel="panel")


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """How fast the predicted errors fall over the last doublings: a row for each panel, a column for each series."""
    found = {}
    for panel, rows in table.query("kind == 'predicted'").groupby("panel", sort=False):
        curves = rows.pivot_table(index="x", columns="series", values="y", sort=False).iloc[-LAST - 1 :]
        found[panel] = np.log(curves.iloc[-1] / curves.iloc[0]) / np.log(curves.index[-1] / curves.index[0])
    return pd.DataFrame(found).T


def caption(table: pd.DataFrame) -> str:
    told = [
        f"{panel}: {', '.join(f'{name} n^{slope:.2f}' for name, slope in row.items())}"
        for panel, row in slopes(table).iterrows()
    ]
    runs = table.query("kind == 'simulated'")
    return (
        "The test error of ridge regression where the covariance has eigenvalues i^−a, and the truth has variance i^−b "
        "in the i-th direction; ridges, kept fraction and window at their best for each number of rows. Over the last "
        f"{LAST} doublings the error falls by {'; '.join(told)}. Static data must average the labels' own noise away, "
        "which gives n^−(b−1)/(2b); rows near the boundary have less of it, and without any it would be n^−(b−1)/2, if "
        f"b − 1 < 2a. Points: {runs['n_seeds'].iloc[0]:g} simulated experiments in dimension {D}, at most |z| = "
        f"{runs['z'].abs().max():.1f} from theory, which is a limit: with few rows and b = 3 a handful of directions "
        "hold most of the truth."
    )
