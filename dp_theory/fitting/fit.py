"""`fit`: what a measured curve says of the theory's parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import chdtrc, ndtri, stdtrit

from dp_base.errors import InputError
from dp_theory.fitting.curve import Curve, require_table
from dp_theory.fitting.likelihood import (
    Likelihood,
    likely_places,
    most_likely,
    most_likely_exact,
)
from dp_theory.fitting.theory import PARAMETERS
from dp_theory.numerics.checks import Array, Float, require, require_kind, require_number

if TYPE_CHECKING:
    import pandas as pd

# Of intervals.
LEVEL = 0.95
# Begins the reason why a parameter has no value.
NOT_IDENTIFIED = "not identified"
# What is said of an interval, by whether it ends where the range does: below, above.
_NOTES = {
    (False, False): "",
    (True, False): "bounded from above only",
    (False, True): "bounded from below only",
    (True, True): f"{NOT_IDENTIFIED}: any value fits",
}
# |z| of an interval's end that counts as the end of the range: its outer percent.
_AT_END = 4.6


@dataclass(frozen=True, eq=False)
class Fit:
    """The theory fitted to a curve, by maximum likelihood or quasi-likelihood (dp_theory.fitting.likelihood).

    Attributes
    ----------
    curve
        What was fitted.
    likelihood
        The likelihood about the fit, which intervals are taken from.
    best
        The free parameters' z at its maximum.
    values
        Every parameter's number, an assumed one where the curve cannot determine it.
    why_fixed
        Why a parameter was not estimated, for each that was not.
    chi_square
        The squared residuals over their variance, summed.
    freedom
        Points that are left after the free parameters.
    excess
        c, the variance of the points over what is known of it; 1 where theory leaves nothing unexplained.
    """

    curve: Curve
    likelihood: Likelihood
    best: Float[Array, " free"]
    values: dict[str, float]
    why_fixed: dict[str, str]
    chi_square: float
    freedom: int
    excess: float

    def parameters(self) -> "pd.DataFrame":
        """The estimates of all parameters, with their profile-likelihood intervals of 95 %.

        Returns
        -------
        pd.DataFrame
            Columns parameter, value, low, high and note, a row for each of PARAMETERS. `low` and `high` are nan for a
            parameter that was not estimated. `note` says what the curve does not determine. An interval that ends where
            the range does is bounded on one side only; on both, the parameter is not identified: any value fits, or
            none where chi-square rejects the theory.
        """
        import pandas as pd

        columns = ["parameter", "value", "low", "high", "note"]
        return pd.DataFrame([(name, *self._estimate(name)) for name in PARAMETERS], columns=columns)

    def limits(self, name: str) -> tuple[float, float]:
        """The ends of a parameter's profile-likelihood interval, or of its range."""
        if name in self.why_fixed:
            return self.values[name], self.values[name]
        parameter = PARAMETERS[name]
        z = self.likely[:, self.likelihood.free.index(name)]
        return (
            parameter.low if z.min() < -_AT_END else float(parameter.from_z(z.min())),
            parameter.high if z.max() > _AT_END else float(parameter.from_z(z.max())),
        )

    def outermost(self) -> Float[Array, "places free"]:
        """z of the fit, and where each parameter is at an end of its interval."""
        z = self.likely
        return z[[0, *z.argmin(axis=0), *z.argmax(axis=0)]]

    def predict(self, points: Curve | Mapping[str, Any]) -> "pd.DataFrame":
        """What the theory expects at other points.

        Parameters
        ----------
        points
            A `Curve`, or the columns of one, whose errors may be left out.

        Returns
        -------
        pd.DataFrame
            Columns strategy, kept, generated, error, low and high, a row for each point. `low` and `high` are the
            profile-likelihood interval of 95 % of the expected error.

        Raises
        ------
        InputError
            Where a point needs a parameter that the curve does not determine: `rho` for selected rows, `window` for
            practice.
        """
        if not isinstance(points, Curve):
            require_table("points", points)
            points = Curve.of({"error": 0.5, **points}, rule=self.curve.rule)
        for name, rows, what in (("rho", points.selected, "a pruned point"), ("window", points.practised, "practice")):
            if rows.any() and self.why_fixed.get(name, "").startswith(NOT_IDENTIFIED):
                remedy = f"fit it with {what}, or {name} = a number in `fixed`"
                raise InputError(f"the curve says nothing of {name}: {remedy}")
        return self.bands(points)

    def bands(self, points: Curve) -> "pd.DataFrame":
        """What `predict` answers, by assumed values of what the curve does not determine."""
        import pandas as pd

        expected, _ = self.likelihood.predict(points, self.likely)
        return pd.DataFrame(
            {
                "strategy": points.strategy,
                "kept": points.kept,
                "generated": points.generated,
                "error": expected[0],
                "low": np.nanmin(expected, axis=0),
                "high": np.nanmax(expected, axis=0),
            }
        )

    def _estimate(self, name: str) -> tuple[float, float, float, str]:
        if name in self.why_fixed:
            low = high = np.nan
            note = self.why_fixed[name]
        else:
            low, high = self.limits(name)
            note = _NOTES[low == PARAMETERS[name].low, high == PARAMETERS[name].high]
            # The probability that noise alone is as far off.
            chance = chdtrc(self.freedom, self.chi_square) if self.curve.knows_scatter else 1.0
            if note == _NOTES[True, True] and chance < 1 - LEVEL:
                note = f"{NOT_IDENTIFIED}: no value fits with what is assumed"
        value = np.nan if note.startswith(NOT_IDENTIFIED) else self.values[name]
        return value, low, high, note

    @cached_property
    def likely(self) -> Float[Array, "places free"]:
        """Student's t, where the scatter was estimated, says how far they reach."""
        is_estimated = self.excess != 1 or not self.curve.knows_scatter
        end = (1 + LEVEL) / 2
        deviations = stdtrit(self.freedom, end) if is_estimated else ndtri(end)
        return likely_places(self.likelihood, self.best, self.excess * deviations**2)


def fit(curve: Curve, fixed: Mapping[str, float] | None = None) -> Fit:
    """The parameters of the theory that a measured curve is most likely under.

    Parameters that no point depends on are not estimated. Where points are few, the last ones of PARAMETERS take their
    assumed values.

    Parameters
    ----------
    curve
        At least 2 different points if standard errors are known or the curve is exact, else 3.
    fixed
        Values of parameters that are known, by name of PARAMETERS. A `floor` of 0 says that the truth labels the rows.

    Returns
    -------
    Fit
        The estimates, with what they are certain to.

    Raises
    ------
    InputError
        For what is no curve, too few points, an unknown parameter in `fixed`, or a value outside its range.

    References
    ----------
    dp_theory.fitting.likelihood, (T9.3) to (T9.11).
    """
    require_kind("curve", curve, Curve, "a Curve, as by Curve.of(table)")
    fixed, fixed_values = fixed or {}, {}
    require_kind("fixed", fixed, Mapping, "a dict of numbers by their names in PARAMETERS")
    for name, value in fixed.items():
        if name not in PARAMETERS:
            raise InputError(f"unknown parameter '{name}' is fixed: one of {', '.join(PARAMETERS)}")
        require_number(**{name: value})
        low, high = PARAMETERS[name].low, PARAMETERS[name].high
        require(name, value, low <= value <= high, f"lie in [{low:g}, {high:g}]")
        fixed_values[name] = float(value)
    why_fixed = {}
    if not curve.selected.any():
        why_fixed["rho"] = f"{NOT_IDENTIFIED}: no point with selected rows"
    if not (curve.practised & (curve.kept > curve.initial)).any():
        why_fixed["window"] = f"{NOT_IDENTIFIED}: no point with a round of practice"
    why_fixed |= dict.fromkeys(fixed_values, "fixed")
    wanted = [name for name in PARAMETERS if name not in why_fixed]
    # the number of different points less one, and less one more for the scatter
    spare = 1 if curve.knows_scatter else 2
    kinds = np.where((curve.keep == 1) & (curve.kept == curve.initial), "static", curve.strategy)  # what is plain
    shares = np.round(np.log(curve.keep), 12)  # which tables give by their quotient, too
    max_free = len(set(zip(kinds, curve.kept, shares, strict=True))) - spare
    if max_free < 1:
        raise InputError(f"a curve of {len(curve)} point(s) is too short to fit: it needs {1 + spare} different ones")
    why_fixed |= dict.fromkeys(wanted[max_free:], "assumed: too few points to estimate it")
    known = {name: fixed_values.get(name, PARAMETERS[name].assumed) for name in why_fixed}
    likelihood = Likelihood(curve, tuple(wanted[:max_free]), known)
    best = most_likely_exact(likelihood) if curve.exact else most_likely(likelihood)
    values = likelihood.values_at(best)
    (chi_square,) = likelihood.deviances(best[None]).tolist()
    freedom = len(curve) - len(likelihood.free)
    if curve.exact:
        excess = 1.0
        mean, _ = likelihood.predict(curve, best[None])
        likelihood = replace(likelihood, curve=replace(curve, error=mean[0]))  # (T9.8)
    else:
        excess = chi_square / max(freedom, 1)
        if curve.knows_scatter:
            excess = max(1.0, excess)
    return Fit(curve, likelihood.linearised_at(best), best, values, why_fixed, chi_square, freedom, excess)
