"""The theory's parameters, and its error curves: mean and scatter of a `Curve`'s points for many sets of them at once.

The ridge is per *training* row. The theory gives the error E' against the labeller w_g; the labeller's own error, the
floor, is added by geometry:

    cos πE = cos πE' · cos(π·floor)                                                                           (T9.1)
    Var[cos πE] = (cos(π·floor) sin πE')² Var[πE'] + (sin(π·floor) sin πE')²/d                                (T9.2)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
from scipy.special import expit

from dp_theory.fitting.curve import Curve
from dp_theory.loop.groups import Window
from dp_theory.loop.problems import PracticeProblem
from dp_theory.loop.square import solve_loop
from dp_theory.numerics.checks import Array, Bool, Float
from dp_theory.ridge.finite_dimension import scatter
from dp_theory.rules import RULES, Direct, KeepAll, Rule


@dataclass(frozen=True)
class Parameter:
    """An open range, moved freely as z, the logit of its place (or of its logarithm's)."""

    low: float
    high: float
    log: bool
    assumed: float  # value where there are too few points to estimate it

    def from_z(self, z: Any) -> Any:
        return self.at(expit(z))

    def at(self, place: Any) -> Any:
        if self.log:
            return np.exp(np.log(self.low) + np.log(self.high / self.low) * place)
        return self.low + (self.high - self.low) * place

    def place(self, value: Any) -> Any:
        if self.log:
            return np.log(value / self.low) / np.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


# Where points are too few, the last parameters take their assumed values.
PARAMETERS = {
    # Effective dimension d: n/d sets the error.
    "dimension": Parameter(4.0, 1e7, log=True, assumed=100.0),
    # Error of what labels the rows, arccos(w_g·w0)/π.
    "floor": Parameter(0.0, 0.5, log=False, assumed=0.0),
    # Cosine of the selector to what labels the rows.
    "rho": Parameter(0.0, 1.0, log=False, assumed=0.9),
    # Practice keeps rows with |t| < window·tan(πE).
    "window": Parameter(0.02, 50.0, log=True, assumed=1.0),
    # Probability that a label is flipped, whatever its row.
    "flip": Parameter(0.0, 0.5, log=False, assumed=0.0),
    # Ridge lam per training row.
    "ridge": Parameter(1e-5, 1e2, log=True, assumed=0.01),
}

# Rounds of a loop that is solved; a longer loop is solved with as many larger rounds.
MAX_ROUNDS = 14
# Parameters of a loop, whose floor is added afterwards.
OF_PRACTICE = ("dimension", "window", "flip", "ridge")
# Cells evaluated at a time: their intermediate arrays stay in the processor's cache.
_CELLS = 6000
# The step of a parameter's place for the slope of practice.
_STEP = 1e-5


def predict_points(
    curve: Curve, values: Mapping[str, Float[Array, " sets"]], about: Mapping[str, float] | None = None
) -> tuple[Float[Array, "sets points"], Float[Array, "sets points"]]:
    """Mean errors and deviations of single experiments, (sets, points); nan without a solution.

    A loop takes 20 ms. With `about`, one set of parameters, ln E' of practice is linear in their places about it.
    """
    moments = np.full((2, len(values["dimension"]), len(curve)), np.nan)
    is_pruned = curve.selected & (curve.strategy == "prune")
    for rows in (curve.plain, is_pruned, curve.selected & ~is_pruned):
        if rows.any():
            moments[:, :, rows] = _pool_errors(curve, rows, values)
    if curve.has_practice:
        loop = curve.at(curve.practised)
        if about is None:
            sets = zip(*values.values(), strict=True)
            errors = [_practice_errors(loop, dict(zip(values, numbers, strict=True))) for numbers in sets]
        else:
            errors = _practice_near(loop, values, about)
        moments[0][:, curve.practised] = errors
    return with_floor(moments[0], moments[1], values["floor"][:, None], values["dimension"][:, None])


def with_floor(error: Any, deviation: Any, floor: Any, d: Any) -> tuple[Any, Any]:
    """(T9.1) and (T9.2), from the error against the labeller, whose own is `floor`."""
    cos_floor = np.cos(np.pi * floor)
    sin_floor = np.sin(np.pi * floor)
    sin_error = np.sin(np.pi * error)
    cosine = np.cos(np.pi * error) * cos_floor
    deviation_of_cosine = np.hypot(cos_floor * np.pi * deviation, sin_floor / np.sqrt(d)) * sin_error
    return np.arccos(cosine) / np.pi, deviation_of_cosine / np.sqrt(1 - cosine**2) / np.pi


def _pool_errors(
    curve: Curve, rows: Bool[np.ndarray, " points"], values: Mapping[str, Array]
) -> Float[Array, "2 sets rows"]:
    """Errors and deviations of rows of the curve that are all plain, all pruned or all directly drawn."""
    keep = curve.keep[rows]
    size, share = curve.kept[rows], np.ones(len(keep))  # of the pool; ridge per row of it, over that per training row
    rule: Rule = KeepAll()
    if keep[0] < 1:
        rule = RULES[curve.rule].with_keep_fraction(keep)
        if curve.strategy[rows][0] == "prune":
            size, share = curve.generated[rows], keep
        else:
            rule = Direct(rule)
    shape = (len(values["dimension"]), len(keep))
    cells, parts = np.indices(shape).reshape(2, -1), []
    for in_set, in_row in np.array_split(cells, 1 + cells.shape[1] // _CELLS, axis=1):
        dimension, rho, flip, ridge = (values[name][in_set] for name in ("dimension", "rho", "flip", "ridge"))
        rho = np.where(keep[in_row] < 1, rho, 1.0)
        moments, _, fourth = rule.map(itemgetter(in_row)).up_to_fourth(rho)
        of_row = dimension / size[in_row], ridge * share[in_row], dimension
        with np.errstate(all="ignore"):  # nan where there is no solution
            parts.append(np.stack(scatter(moments.flipped(flip), fourth.flipped(flip), rho, *of_row))[:, 0])
    return np.concatenate(parts, axis=1).reshape(2, *shape)


def _practice_near(
    curve: Curve, values: Mapping[str, Float[Array, " sets"]], about: Mapping[str, float]
) -> Float[Array, "sets points"]:
    log_centre = np.log(_practice_errors(curve, about))
    log_error = np.tile(log_centre, (len(values["dimension"]), 1))
    for name in OF_PRACTICE:
        parameter = PARAMETERS[name]
        centre = parameter.place(about[name])
        off = parameter.place(values[name]) - centre
        if off.any():
            step = _STEP if centre < 0.5 else -_STEP
            moved = np.log(_practice_errors(curve, {**about, name: parameter.at(centre + step)}))
            log_error += off[:, None] * (moved - log_centre) / step
    return np.exp(np.minimum(log_error, np.log(0.5)))


def _practice_errors(curve: Curve, values: Mapping[str, float]) -> Float[Array, " points"]:
    errors = np.empty(len(curve))
    for initial, increment in set(zip(curve.initial, curve.increment, strict=True)):
        rows = (curve.initial == initial) & (curve.increment == increment)
        last = curve.kept[rows].max()
        sizes, limits = practice_curve(initial, increment, last, *(values[name] for name in OF_PRACTICE))
        errors[rows] = np.exp(np.interp(np.log(curve.kept[rows]), np.log(sizes), np.log(limits)))
    return errors


@lru_cache(maxsize=4096)  # searches and intervals ask for the same loops
def practice_curve(
    initial: float, increment: float, last: float, d: float, window: float, flip: float, ridge: float
) -> tuple[Float[Array, " stages"], Float[Array, " stages"]]:
    """Pool sizes and errors against the labeller, nan where there is no solution."""
    sizes = pool_sizes(initial, increment, last)
    rounds = [Window(window, float(rows)) for rows in np.diff(sizes) / initial]
    problem = PracticeProblem(d / initial, (ridge * sizes / initial).tolist(), rounds, flip=flip)
    try:
        return sizes, solve_loop(problem).test_error
    except ArithmeticError:  # as a ConvergenceError is
        return sizes, np.full(len(sizes), np.nan)


def pool_sizes(initial: float, increment: float, last: float) -> Float[Array, " stages"]:
    """The pool grows in steps of about `increment`, or in MAX_ROUNDS equal ratios where those are more."""
    rounds = max(int(last > initial), round((last - initial) / increment))
    if rounds <= MAX_ROUNDS:
        return np.linspace(initial, last, rounds + 1)
    return np.geomspace(initial, last, MAX_ROUNDS + 1)
