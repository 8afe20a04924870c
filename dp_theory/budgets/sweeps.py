"""Ways to spend a budget of generated samples, as curves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from dp_base.errors import InputError
from dp_theory.api import predict
from dp_theory.numerics.checks import (
    MAX_D,
    MAX_ROWS,
    Advance,
    Array,
    Float,
    Int,
    numbers,
    require_memory,
    require_numbers,
    require_ridge,
    require_seed,
    require_size,
    require_some,
    unseen,
)
from dp_theory.numerics.costs import Costs, require_axis
from dp_theory.numerics.parallel import run_jobs
from dp_theory.ridge.problem import Problem
from dp_theory.ridge.simulators import law
from dp_theory.ridge.simulators.dense import (
    LAW,
    check_engine,
    check_size,
    dense_trial,
    generator,
    mean_and_se,
)
from dp_theory.rules import Direct, KeepAll, KeepHard, Random, Rule, listed, make_rule, read_rule, rule_names

if TYPE_CHECKING:
    import pandas as pd

RULE_NAMES = rule_names("swept")
# Sizes of a predicted curve, besides those of the simulated points.
LINE_POINTS = 121
# Numbers of samples, if none are given.
SIZES = 12


@dataclass(frozen=True)
class Line:
    """A curve whose rule keeps the fraction p that keep-hard keeps at `alpha`."""

    strategy: str
    name: str
    rule: Rule
    alpha: float
    p: float
    rho: float

    @property
    def series(self) -> str:
        return self.strategy if self.strategy == "static" else f"{self.strategy} {self.name}"

    def problem(self, n: Any, lam: Any, d: int) -> Problem:
        if self.strategy == "prune":
            return Problem(self.rule, self.rho, d / n, self.p * lam)
        return Problem(KeepAll() if self.strategy == "static" else Direct(self.rule), self.rho, d / n, lam)

    def axes(self, n: Any) -> dict[str, Any]:
        # random direct draws are plain samples
        strategy = "static" if isinstance(self.rule, Random) and self.strategy == "direct" else self.strategy
        return Costs().axes(strategy, n, self.p * n if strategy == "prune" else n)


def sweep(
    alpha: float | Sequence[float] = 0.5,
    *,
    rho: float | Sequence[float] = 0.9,
    lam_per_row: float | Sequence[float] = 0.01,
    n: float | Sequence[float] | None = None,
    rules: str | Sequence[str] = RULE_NAMES,
    d: int = 512,
    trials: int = 64,
    engine: str = "law",
    x: str = "generated",
    seed: int = 0,
    workers: int | None = 1,
    advance: Advance = unseen,
) -> "pd.DataFrame":
    """Predicted lines and simulated points for every strategy and rule, for every alpha, rho and ridge.

    Parameters
    ----------
    alpha
        Threshold of keep-hard. The other rules are matched at its kept fraction p.
    rho
        Cosine between selector and truth, in [-1, 1].
    lam_per_row
        Ridge per training row, at least 0, the same for every strategy.
    n
        Numbers of samples generated, rounded, from 1 to 1e12; by default twelve from d/4 to 16 d.
    rules
        As `make_rule` takes them, without what fixes how much they keep: "keep-hard", ["random", "entropy@kappa=2"].
    d, trials
        The dimension, 2 or more, and experiments for each point. Trial k of all series draws from the same stream.
    engine
        With 'law' the points of a series are independent.
    x
        What the column x counts: 'generated', 'kept' or 'compute'.
    workers
        As in dp_theory.numerics.parallel. A job is one trial of one series at all sizes and ridges.
    advance
        It is called with 1 after each job.

    Returns
    -------
    DataFrame
        A tidy table with columns series, kind, x, y (test error), y_low and y_high (± one standard error), n_seeds;
        strategy, rule, alpha, p, rho, lam (per training row), d; generated, kept, compute; predicted (theory at the
        same point), se, and z = (y - predicted)/se.

    Raises
    ------
    InputError
        For parameters outside their domain, and for rules that cannot keep p.
    MissingError
        Where the dense experiment does not fit into memory.

    Examples
    --------
    >>> from dp_theory import sweep
    >>> table = sweep(0.5, rules=["keep-hard"], n=[64, 256], d=64, trials=4)
    >>> table["series"].unique().tolist()
    ['static', 'prune keep-hard', 'direct keep-hard']
    """
    import pandas as pd

    d = check_size(d, trials)
    require_size("d", d, 2, MAX_D, "w0 lies off w_s")
    check_engine(engine)
    require_seed(seed)
    require_axis(x)
    require_numbers(alpha=alpha, rho=rho)
    numbers_of_rows = numbers("n", np.geomspace(d / 4, 16 * d, SIZES) if n is None else n)
    require_some(alpha=alpha, rho=rho, lam_per_row=lam_per_row, n=numbers_of_rows)
    sizes = np.unique(np.round(numbers_of_rows))
    require_size("n", sizes, 1, MAX_ROWS, "it is the number of samples generated")
    sizes = sizes.astype(int)
    if engine == "dense":
        require_memory(float(sizes[-1]) * d, "a smaller n or d, or the engine law")
    require_ridge(lam_per_row=lam_per_row)
    lams = np.unique(lam_per_row).astype(float)
    rules = listed(rules)
    lines = list(_lines(np.unique(alpha), np.unique(rho), rules))
    drawn = trials * len(lines) * sizes.sum(dtype=float)
    require_size("rows in all", drawn, 0, MAX_ROWS, "give a smaller n, or fewer trials or rules")
    jobs = [(line, sizes, lams, d, engine, seed, trial) for line in lines for trial in range(trials)]
    results = np.reshape(run_jobs(_trial, jobs, workers, advance), (len(lines), trials, len(sizes), len(lams)))

    fine = np.unique(np.r_[np.geomspace(sizes[0], sizes[-1], LINE_POINTS), sizes])
    frames = []
    for (line, errors), (i, ridge) in product(zip(lines, results, strict=True), enumerate(lams)):
        frames += [_frame(line, ridge, d, x, fine), _frame(line, ridge, d, x, sizes, errors[..., i])]
    return pd.concat(frames, ignore_index=True)


def steps(alpha: Any, rho: Any, rules: str | Sequence[str], trials: int) -> int:
    """The number of jobs that `sweep` reports."""
    return len(np.unique(alpha)) * len(np.unique(rho)) * (1 + 2 * len({*listed(rules)})) * trials


# -- lines, and the table ---------------------------------------------------------------------------------------------


def _lines(alphas: np.ndarray, rhos: np.ndarray, rules: Sequence[str]) -> Iterator[Line]:
    for alpha, rho in product(map(float, alphas), map(float, rhos)):
        p = float(KeepHard(alpha).moments(0.0).p)
        matched = {name: _matched(name, p, alpha) for name in rules}
        yield Line("static", "keep-all", KeepAll(), alpha, 1.0, rho)
        for strategy in ("prune", "direct"):
            for name, rule in matched.items():
                yield Line(strategy, name, rule, alpha, p, rho)


def _matched(rule: str, p: float, alpha: float) -> Rule:
    name, _ = read_rule(rule)
    try:
        return make_rule(rule, keep=p)
    except InputError as error:
        of_all = f"all rules of a sweep keep {p:g}, as keep-hard does at alpha = {alpha:g}"
        raise InputError(f"{name} cannot take part: {of_all}; {error}") from None


def _frame(line: Line, lam: float, d: int, x: str, at: np.ndarray, samples: np.ndarray | None = None) -> "pd.DataFrame":
    import pandas as pd

    theory = np.asarray(predict(line.problem(at, lam, d)).test_error)
    y, se = (theory, np.full(at.shape, np.nan)) if samples is None else mean_and_se(samples, axis=0)
    bar = np.where(np.isfinite(se), se, np.nan)  # that of a single trial is infinite
    counted = line.axes(at)
    return pd.DataFrame(
        {
            "series": line.series,
            "kind": "predicted" if samples is None else "simulated",
            "x": counted[x],
            "y": y,
            "y_low": y - bar,
            "y_high": y + bar,
            "n_seeds": 0 if samples is None else len(samples),
            "strategy": line.strategy,
            "rule": line.name,
            "alpha": line.alpha,
            "p": line.p,
            "rho": line.rho,
            "lam": lam,
            "d": d,
            **counted,
            "predicted": theory,
            "se": se,
            "z": (y - theory) / np.where(bar > 0, bar, np.nan),  # 0 where no trial kept any row
        }
    )


# -- experiments ------------------------------------------------------------------------------------------------------


def _trial(
    line: Line,
    sizes: Int[np.ndarray, " sizes"],
    lams: Float[Array, " ridges"],
    d: int,
    engine: str,
    seed: int,
    trial: int,
) -> Float[Array, "sizes ridges"]:
    if engine == "dense":
        return np.array([[dense_trial(line.problem(n, lam, d), d, seed, trial)[0] for lam in lams] for n in sizes])
    problem = line.problem(1.0, 1.0, d)
    ridges = problem.lam * lams  # per pool row
    draws = [(n, generator(seed, LAW, trial, n)) for n in sizes.tolist()]
    return np.array([law.trial(problem.rule, line.rho, n, d, ridges, rng)[:, 0] for n, rng in draws])
