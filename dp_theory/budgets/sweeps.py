"""Ways to spend a budget of generated samples, against each other: predicted curves with simulated points on them.

The strategies and axes are those of dp_theory.numerics.costs, at the same kept fraction p and the same ridge lam per
*training* row. Prune and direct are given w_s. With the rule `random`, direct is static by another name, a control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dp_base.errors import InputError
from dp_theory.api import predict
from dp_theory.numerics.checks import (
    LARGEST_D,
    MOST_ROWS,
    numbers,
    require,
    require_magnitude,
    require_numbers,
    require_seed,
    require_size,
    require_some,
)
from dp_theory.numerics.costs import DIRECT_COST, TRAINING_COST, Costs, require_axis, require_costs
from dp_theory.numerics.parallel import run_jobs
from dp_theory.ridge.problem import Problem
from dp_theory.ridge.simulators import law
from dp_theory.ridge.simulators.curves import error_curves, selected_rows
from dp_theory.ridge.simulators.dense import truth
from dp_theory.ridge.simulators.engines import check_engine
from dp_theory.ridge.simulators.trials import CURVES, LAW, check_size, generator, mean_and_se
from dp_theory.rules import RULES, Direct, KeepAll, KeepHard, Random, Rule, make_rule, rule_names

if TYPE_CHECKING:
    import pandas as pd

RULE_NAMES = rule_names("swept")
LINE_POINTS = 121
_AGREE = 1e-6  # relative difference of errors that are the same


@dataclass(frozen=True)
class Line:
    """One curve of the sweep: a strategy with its rule, which keeps p as keep-hard at alpha does, at one alignment."""

    strategy: str
    name: str  # of the rule
    rule: Rule
    alpha: float
    p: float
    rho: float

    @property
    def series(self) -> str:
        """The curve's name in tables and legends."""
        return self.strategy if self.strategy == "static" else f"{self.strategy} {self.name}"

    def problem(self, n: Any, lam: Any, d: int) -> Problem:
        """n samples generated, ridge lam per training row; Theorem 1's lam is per pool row, hence p·lam."""
        if self.strategy == "prune":
            return Problem(self.rule, self.rho, d / n, self.p * lam)
        return Problem(KeepAll() if self.strategy == "static" else Direct(self.rule), self.rho, d / n, lam)

    def axes(self, n: Any, costs: Costs) -> dict[str, Any]:
        """What each axis counts when n samples are generated; random direct draws are plain samples."""
        strategy = "static" if isinstance(self.rule, Random) and self.strategy == "direct" else self.strategy
        return costs.axes(strategy, n, self.p * n if strategy == "prune" else n)


def sweep(
    alpha: float | Sequence[float] = 0.5,
    *,
    rho: float | Sequence[float] = 0.9,
    lam: float | Sequence[float] = 0.01,
    n: float | Sequence[float] | None = None,
    rules: Sequence[str] = RULE_NAMES,
    d: int = 512,
    trials: int = 64,
    engine: str = "law",
    x: str = "generated",
    direct_cost: float = DIRECT_COST,
    training_cost: float = TRAINING_COST,
    seed: int = 0,
    workers: int | None = 1,
    advance: Callable[[int], None] = lambda done: None,
    journal: Path | None = None,
) -> pd.DataFrame:
    """The tidy table of test errors: a predicted line and simulated points per series, for every alpha, rho, lam.

    alpha: keep-hard's threshold; the other rules are matched at its kept fraction p. n: numbers of samples generated
    (by default twelve from d/4 to 16 d). rules: names of RULES. engine: with 'law' the points of a series are
    independent; 'dense' shares rows between the sizes of one trial, so that they are correlated. Trial k of all series
    draws from the same stream. x: the axis that column x counts; costs as in dp_theory.numerics.costs, in plain
    samples. workers, journal: as in dp_theory.numerics.parallel; a cell of the sweep is one trial of one rule at all
    sizes and ridges. advance is called with the number of cells done, of `steps(...)` in all, as the simulation goes.

    Columns: series, kind, x, y (test error), y_low, y_high (± one standard error), n_seeds; strategy, rule, alpha, p,
    rho, lam, d, generated, kept, compute, predicted (theory at the same point), se, z = (y - predicted)/se.

    Raises InputError for parameters outside their domain.
    """
    import pandas as pd

    check_size(d, trials)
    require_size("d", d, 2, LARGEST_D, "w0 lies off w_s")
    check_engine(engine)
    require_axis(x)
    require_seed(seed)
    require_costs(direct=direct_cost, training=training_cost)
    if x == "compute":
        require("direct cost + training cost", direct_cost + training_cost, direct_cost + training_cost > 0,
                "be positive on the axis of compute: else directly drawn rows cost nothing")  # fmt: skip
    costs = Costs(direct=direct_cost, training=training_cost)
    require_numbers(alpha=alpha, rho=rho, lam=lam)
    require_some(alpha=alpha, rho=rho, lam=lam, **{} if n is None else {"n": n})
    sizes = np.unique(np.round(np.geomspace(d / 4, 16 * d, 12) if n is None else numbers("n", n)))
    require_size("n", sizes, 1, MOST_ROWS, "it is the number of samples generated")
    require_magnitude(lam=lam)
    sizes = sizes.astype(int)
    lams = np.unique(lam).astype(float)
    lines = list(_lines(np.unique(alpha), np.unique(rho), rules))
    fine = np.unique(np.r_[np.geomspace(sizes[0], sizes[-1], LINE_POINTS), sizes])

    groups = list(_groups(lines))
    jobs = [(group, sizes, lams, d, engine, seed, trial) for group in groups for trial in range(trials)]
    results = iter(run_jobs(_trial, jobs, workers, advance, journal))
    samples = {}
    for group in groups:
        trialwise = np.array([next(results) for _ in range(trials)])
        samples |= {line: trialwise[:, i] for i, line in enumerate(group)}

    frames = []
    for line, (i, ridge) in product(lines, enumerate(lams)):
        common = {"strategy": line.strategy, "rule": line.name, "alpha": line.alpha, "p": line.p, "rho": line.rho,
                  "lam": ridge, "d": d}  # fmt: skip
        curve, points = (np.asarray(predict(line.problem(at, ridge, d)).test_error) for at in (fine, sizes))
        mean, se = mean_and_se(samples[line][:, :, i], axis=0)
        for kind, at, y, error, count, theory in (
            ("predicted", fine, curve, np.full(fine.shape, np.nan), 0, curve),
            ("simulated", sizes, mean, se, trials, points),
        ):
            bar = np.where(np.isfinite(error), error, np.nan)
            scatter = np.where(bar > 0, bar, np.nan)  # 0 where no trial kept any row
            counted = line.axes(at, costs)
            frames.append(
                pd.DataFrame(
                    {"series": line.series, "kind": kind, "x": counted[x], "y": y, "y_low": y - bar, "y_high": y + bar,
                     "n_seeds": count, **common, **counted, "predicted": theory, "se": error,
                     "z": (y - theory) / scatter}
                )
            )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def steps(alpha: Any, rho: Any, rules: Sequence[str], trials: int) -> int:
    """How many cells `sweep` computes, and reports as progress, for these parameters."""
    return sum(1 for _ in _groups(_lines(np.unique(alpha), np.unique(rho), rules))) * trials


def winners(table: pd.DataFrame) -> pd.DataFrame:
    """Which series has the least predicted error where on the x axis: a row per interval, for every alpha, rho, lam.

    Between the grid's points the curves are interpolated. One series gives way to another only where that is better by
    more than interpolation may be wrong; of those that agree the first is named. Columns alpha, rho, lam, from, to,
    series.
    """
    import pandas as pd

    rows = []
    for (alpha, rho, lam), group in table.query("kind == 'predicted'").groupby(["alpha", "rho", "lam"]):
        curves = {name: curve.sort_values("x") for name, curve in group.groupby("series", sort=False)}
        grid = np.unique(group["x"])
        logs, doubts = np.stack([_logs(curve, grid) for curve in curves.values()], axis=1)
        best = _leaders(logs, doubts)
        starts = np.r_[0, np.flatnonzero(np.diff(best)) + 1]
        for start, end in zip(starts, np.r_[starts[1:], len(grid) - 1], strict=True):
            rows.append({"alpha": alpha, "rho": rho, "lam": lam, "from": grid[start], "to": grid[end],
                         "series": list(curves)[best[start]]})  # fmt: skip
    return pd.DataFrame(rows)


def _logs(curve: pd.DataFrame, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln(error) of a curve on the grid (N,), inf where it is not known, and by how much interpolation may be wrong."""
    from scipy.interpolate import PchipInterpolator

    at = np.log(grid)
    known, places = np.unique(
        np.log(curve["x"].to_numpy(float)), return_index=True
    )  # sizes may differ by rounding only
    values = np.log(curve["y"].to_numpy(float))[places]
    chords = np.interp(at, known, values, left=np.inf, right=np.inf)
    inside = np.isfinite(chords)
    logs, doubts = chords.copy(), np.zeros(len(grid))
    if len(known) > 1:
        logs[inside] = PchipInterpolator(known, values)(at[inside])
        doubts[inside] = np.abs(logs[inside] - chords[inside])  # a cubic is nearer to the curve than to its chords
    return logs, doubts + _AGREE


def _leaders(logs: np.ndarray, doubts: np.ndarray) -> np.ndarray:
    """Which series (N,) leads where, of logs (series, N); the leader stays until another is better beyond doubt."""
    found, leader = [], 0
    for values, doubt in zip(logs.T, doubts.T, strict=True):
        least = int(np.argmin(values))
        if not found or values[leader] > values[least] + doubt[leader] + doubt[least]:
            leader = int(np.flatnonzero(values <= values[least] + doubt + doubt[least])[0])
        found.append(leader)
    return np.array(found)


def noise_check(table: pd.DataFrame) -> dict[str, float]:
    """Whether noise explains the distance of a sweep's points from its lines.

    largest_z: the largest |z|; noise_level: what it stays below in 95 % of sweeps by noise alone (Student t,
    Bonferroni); points: how many there are; largest_se: the largest standard error.
    """
    from scipy.stats import t

    points = table.query("kind == 'simulated'")
    level = t.isf(0.025 / len(points), np.maximum(points["n_seeds"].min() - 1, 1))
    return {"largest_z": float(points["z"].abs().max()), "noise_level": float(level), "points": len(points),
            "largest_se": float(points["se"].max())}  # fmt: skip


def _lines(alphas: np.ndarray, rhos: np.ndarray, rules: Sequence[str]) -> Iterator[Line]:
    for alpha, rho in product(map(float, alphas), map(float, rhos)):
        p = float(KeepHard(alpha).moments(0.0).p)
        for name in rules:
            if name in RULES and p > RULES[name].largest_keep:
                raise InputError(f"alpha = {alpha:g} keeps all rows, as --rule {name} cannot: give a smaller --alpha")
        matched = {name: make_rule(name, keep=p) for name in rules}
        yield Line("static", "keep-all", KeepAll(), alpha, 1.0, rho)
        for strategy in ("prune", "direct"):
            for name, rule in matched.items():
                yield Line(strategy, name, rule, alpha, p, rho)


def _groups(lines: Iterator[Line] | list[Line]) -> Iterator[tuple[Line, ...]]:
    """Lines that can share rows: prune's kept rows are direct draws, a Binomial number of them."""
    shared = dict[tuple, list[Line]]()
    for line in lines:
        shared.setdefault((line.name, line.alpha, line.rho), []).append(line)
    yield from map(tuple, shared.values())


def _trial(
    group: tuple[Line, ...], sizes: np.ndarray, lams: np.ndarray, d: int, engine: str, seed: int, trial: int
) -> np.ndarray:
    """Test errors (lines of the group, sizes, lams) of one experiment."""
    if engine == "law":
        return np.stack([_law_trial(line, sizes, lams, d, seed, trial) for line in group])
    rng = generator(seed, CURVES, trial)
    kept, penalties = [], []
    for line in group:
        pools = rng.binomial(np.diff(sizes, prepend=0), line.p).cumsum() if line.strategy == "prune" else sizes
        kept.append(pools)
        penalties.append(line.p * sizes[:, None] * lams if line.strategy == "prune" else sizes[:, None] * lams)
    rows, w0 = np.concatenate(kept), truth(group[0].rho, d)
    x, y = selected_rows(group[0].rule, group[0].rho, max(rows), d, rng)
    curves = error_curves(x, y, w0, rows, np.concatenate(penalties))[..., 0]
    return np.stack(np.split(curves, len(group)))


def _law_trial(line: Line, sizes: np.ndarray, lams: np.ndarray, d: int, seed: int, trial: int) -> np.ndarray:
    problem = line.problem(1.0, 1.0, d)  # its lam is the factor from a training row's ridge to a pool row's
    return np.stack(
        [
            law.trial(problem.rule, line.rho, int(n), d, problem.lam * lams, generator(seed, LAW, trial, int(n)))[:, 0]
            for n in sizes
        ]
    )
