"""`fit`: what a measured curve says of the theory's parameters, and what follows for other sizes of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri, stdtrit

from dp_base.errors import InputError
from dp_theory.fitting.curve import Curve
from dp_theory.fitting.likelihood import Likelihood
from dp_theory.fitting.parameters import PARAMETERS
from dp_theory.fitting.region import first_order, interval, limits, outermost
from dp_theory.fitting.theory import predict_points
from dp_theory.numerics.checks import require, require_number

if TYPE_CHECKING:
    import pandas as pd

_ENDS = 4.6  # |z| there: the outer percent of a range


@dataclass(frozen=True)
class Fit:
    """The theory fitted to a curve by maximum likelihood, or quasi-likelihood (see dp_theory.fitting.likelihood).

    values: every parameter's number; those that the curve cannot speak of have an assumed one. excess: c, the variance
    of points over what is known of them; 1 where nothing is left unexplained. chi_square, freedom: of the points that
    are left after the free parameters.
    """

    curve: Curve
    likelihood: Likelihood
    values: dict[str, float]
    why_fixed: dict[str, str]
    chi_square: float
    freedom: int
    excess: float

    def parameters(self, level: float = 0.95) -> pd.DataFrame:
        """A row per parameter: parameter, value, low, high, note.

        low and high are ends of its profile-likelihood interval, nan where it is not estimated. note says what the
        curve does not determine: a parameter whose interval ends where its range does is bounded on one side only, or
        not identified at all, and then has no value.
        """
        import pandas as pd

        rows = []
        for name, parameter in PARAMETERS.items():
            if name in self.why_fixed:
                unknown = self.why_fixed[name].startswith("not identified")
                rows.append((name, np.nan if unknown else self.values[name], np.nan, np.nan, self.why_fixed[name]))
                continue
            low, high = self.limits(name, level)
            down, up = low == parameter.low, high == parameter.high
            value, note = self.values[name], ""
            if down and up:
                value, note = np.nan, "not identified: any value fits"
            elif down or up:
                note = "bounded from above only" if down else "bounded from below only"
            rows.append((name, value, low, high, note))
        return pd.DataFrame(rows, columns=["parameter", "value", "low", "high", "note"])

    def limits(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Ends of a parameter's profile-likelihood interval, or of its range; its value where it is not estimated."""
        if name in self.why_fixed:
            return self.values[name], self.values[name]
        parameter = PARAMETERS[name]
        low, high = limits(self.likelihood, self._allowed(level), self.likelihood.free.index(name))
        return (
            parameter.low if low < -_ENDS else float(parameter.value(low)),
            parameter.high if high > _ENDS else float(parameter.value(high)),
        )

    def outermost(self, level: float = 0.95) -> dict[str, Any]:
        """All parameters (places,): of the fit, and with each free one at an end of its interval, the rest refitted."""
        return self.likelihood.values(outermost(self.likelihood, self._allowed(level)))

    def predict(self, points: Curve | Mapping[str, Any], level: float = 0.95) -> pd.DataFrame:
        """What the theory expects at other points: strategy, kept, generated, error, low, high, new_low, new_high.

        points: a `Curve`, or its columns; their errors do not matter and may be left out. low and high are the
        profile-likelihood interval of the mean error, new_low and new_high that of a mean over `trials` experiments
        that scatter as those of the curve do. Raises InputError where a point needs a parameter that the curve does not
        determine: the selector's rho, practice's window.
        """
        if not isinstance(points, Curve):
            points = Curve.of({"error": 0.5, **points}, rule=self.curve.rule)
        self._check_known(points)
        table = self.bands(points, level)
        mean, low, high = (table[name].to_numpy() for name in ("error", "low", "high"))
        deviation = predict_points(points, {name: np.array([value]) for name, value in self.values.items()})[1][0]
        scatter = self._scatter(points, mean, deviation) * self._quantile(level)
        return table.assign(
            new_low=mean * np.exp(-np.hypot(np.log(mean / low), scatter)),
            new_high=mean * np.exp(np.minimum(np.hypot(np.log(high / mean), scatter), -np.log(mean))),  # no more than 1
        )

    def bands(self, points: Curve, level: float = 0.95) -> pd.DataFrame:
        """The columns of `predict` but the last two. Where the curve has no practice, practice takes the window 1.

        Practice has intervals to first order (Cramér-Rao): its theory takes too long for a profile. They are too narrow
        where a parameter is at an end of its range, so that `forecast` asks the `outermost` places, too.
        """
        import pandas as pd

        allowed = self._allowed(level)
        if points.practised.any() or self.curve.practised.any():
            ends = np.exp(first_order(self.likelihood, allowed, points))
        else:
            mean, _ = predict_points(points, {name: np.array([value]) for name, value in self.values.items()})
            each = [np.exp(interval(self.likelihood, allowed, points.at([i]))) for i in range(len(points))]
            ends = np.vstack([mean, np.transpose(each)])
        columns = dict(zip(("error", "low", "high"), ends, strict=True))
        return pd.DataFrame(
            {"strategy": points.strategy, "kept": points.kept, "generated": points.generated, **columns}
        )

    def _allowed(self, level: float) -> float:
        """By how much the deviance may exceed its least within an interval of this level."""
        require_number(level=level)
        require("level", level, 0 < level < 1, "lie in (0, 1): it is a probability")
        return self.excess * self._quantile(level) ** 2

    def _quantile(self, level: float) -> float:
        """Of a deviation in units of its standard one: Student's where that was estimated, else the normal's."""
        estimated = self.excess != 1 or (np.isnan(self.curve.se).all() and not self.curve.exact)
        return float(stdtrit(self.freedom, (1 + level) / 2) if estimated else ndtri((1 + level) / 2))

    def _scatter(self, points: Curve, mean: Any, deviation: Any) -> Any:
        """Relative standard deviation of a new measurement at the points (points,)."""
        if self.curve.exact:
            return np.where(np.isfinite(deviation), deviation, 0.0) / np.sqrt(points.trials) / mean
        known = np.where(np.isnan(self.curve.se), self.curve.error, self.curve.se) / self.curve.error
        return np.sqrt(self.excess) * np.median(known)

    def _check_known(self, points: Curve) -> None:
        for rows, name, what in (
            (points.selected, "rho", "a pruned point, or rho"), (points.practised, "window", "practice, or window"),
        ):  # fmt: skip
            if rows.any() and self.why_fixed.get(name, "").startswith("not identified"):
                raise InputError(f"the curve says nothing of {name}: fit it with {what} = a number in `fixed`")


def fit(curve: Curve, fixed: Mapping[str, float] | None = None) -> Fit:
    """The theory's parameters that a measured curve is most likely under.

    curve: at least 3 points. fixed: parameters that are known, by name (see dp_theory.fitting.PARAMETERS); 0 for floor
    says that the truth labels the rows. Parameters that no point depends on are not estimated; where points are few,
    the last ones of PARAMETERS take their assumed values. Raises InputError for too few points and for unknown or
    impossible fixed values.
    """
    given = dict(fixed or {})
    for name, value in given.items():
        if name not in PARAMETERS:
            raise InputError(f"unknown parameter '{name}' is fixed: one of {', '.join(PARAMETERS)}")
        require_number(**{name: value})
        low, high = PARAMETERS[name].low, PARAMETERS[name].high
        require(name, value, low <= value <= high, f"lie in [{low:g}, {high:g}]")
    silent = {}
    if not curve.selected.any():
        silent["rho"] = "not identified: no point with selected rows"
    if not (curve.practised & (curve.kept > curve.initial)).any():
        silent["window"] = "not identified: no point with a round of practice"
    why = {name: text for name, text in silent.items() if name not in given} | dict.fromkeys(given, "fixed")
    wanted = [name for name in PARAMETERS if name not in why]
    spare = 1 if curve.exact or not np.isnan(curve.se).any() else 2  # the scatter is estimated, too
    most = len({(s, k, p) for s, k, p in zip(curve.strategy, curve.kept, curve.keep, strict=True)}) - spare
    if most < 1:
        raise InputError(f"a curve of {len(curve)} points is too short to fit: it needs {1 + spare} different ones")
    why |= dict.fromkeys(wanted[most:], "assumed: too few points to estimate it")
    free = tuple(wanted[:most])
    known = {name: float(given.get(name, PARAMETERS[name].assumed)) for name in why}
    likelihood = (Likelihood.quasi if curve.exact else Likelihood)(curve, free, known)
    values = {name: float(x[0]) for name, x in likelihood.values(likelihood.best[None]).items()}
    state = likelihood.state(likelihood.best)
    freedom = len(curve) - len(free)
    if curve.exact:
        chi_square = float(np.sum((curve.error - state.mean) ** 2 / state.deviation**2 * curve.trials))
        return Fit(curve, Likelihood.about(likelihood, curve), values, why, chi_square, freedom, 1.0)
    chi_square = state.deviance
    excess = chi_square / max(freedom, 1)
    return Fit(curve, likelihood, values, why, chi_square, freedom, excess if spare == 2 else max(1.0, excess))
