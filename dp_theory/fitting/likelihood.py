"""How likely a measured curve is at given parameters of the theory: (T9.3) to (T9.11), derived in docs/theory/fit.md.

A point is y_i ~ N(μ_i(z), c v_i). v_i is se_i² or, where that is unknown, y_i², with an estimated c (MEASURED); it is
s_i(z)²/k_i with c = 1 for the k_i experiments of an exact curve (THEORY).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.theory import PARAMETERS, predict_points
from dp_theory.numerics.checks import Array

if TYPE_CHECKING:
    from jaxtyping import Float

WIDE = 12.0  # |z| beyond which a parameter is at the end of its range
UNSOLVED_ERROR = 0.5  # expectation where the theory has no solution, so that a search turns back
UNSOLVED_DEVIATION = 1.0  # standard deviation of an experiment there
_STEP = 1e-4  # of z in finite differences
_LEAST_INFORMATION = 0.02  # given to every direction of z, so that the region has an end in flat ones


class Variance(Enum):
    """What the variance v of the points is."""

    MEASURED = "measured"  # equation (T9.4)
    THEORY = "theory"  # equation (T9.5)


class Linearisation(NamedTuple):
    """The likelihood about one z."""

    deviance: float  # D
    gradient: Float[Array, " free"]  # ∂D/∂z
    information: Float[Array, "free free"]  # I
    mean: Float[Array, " points"]  # μ
    deviation: Float[Array, " points"]  # s


class PointSlopes(NamedTuple):
    """What the theory expects of some points about one z."""

    mean: Float[Array, " points"]  # μ
    slope: Float[Array, "points free"]  # J


@dataclass(frozen=True)
class Likelihood:
    """The likelihood of a curve by the free parameters' z."""

    curve: Curve
    free: tuple[str, ...]  # names, in the order of z
    fixed: dict[str, float]  # the other parameters
    variance: Variance = Variance.MEASURED  # whether v is (T9.4) or (T9.5)
    with_log: bool = False  # whether the deviance has the term ln v, as in (T9.7)
    # A relative standard deviation that every point is given besides: it widens the valleys of the deviance.
    softening: float = 0.0

    def values(self, z: Float[Array, "sets free"]) -> dict[str, Float[Array, " sets"]]:
        moved = {name: PARAMETERS[name].from_z(z[:, j]) for j, name in enumerate(self.free)}
        constant = {name: np.full(len(z), value) for name, value in self.fixed.items()}
        return moved | constant

    def deviances(self, z: Float[Array, "sets free"]) -> Float[Array, " sets"]:
        mean, deviation = predict_points(self.curve, self.values(z))
        return self._deviances(mean, self._variances(deviation))

    def linearise(self, z: Float[Array, " free"], *, one_sided: bool | None = None) -> Linearisation:
        """Finite differences, by default one-sided with practice."""
        if one_sided is None:
            one_sided = self.curve.has_practice
        mean, deviation = predict_points(self.curve, self.values(_stencil(z, one_sided)))
        variance = self._variances(deviation)
        deviance = self._deviances(mean, variance)
        slope = _differences(mean, len(z))
        information = slope.T @ (slope / variance[0][:, None])  # (T9.10)
        if self.with_log:
            log_slope = _differences(np.log(variance), len(z))
            information = information + log_slope.T @ log_slope / 2  # (T9.11)
        gradient = _differences(deviance[:, None], len(z))[0]
        return Linearisation(float(deviance[0]), gradient, information, mean[0], deviation[0])

    def slopes(self, points: Curve, z: Float[Array, " free"], *, one_sided: bool = False) -> PointSlopes:
        mean, _ = predict_points(points, self.values(_stencil(z, one_sided)))
        return PointSlopes(mean[0], _differences(mean, len(z)))

    def _variances(self, deviation: Float[Array, "sets points"]) -> Float[Array, "sets points"]:
        if self.variance is Variance.THEORY:
            variance = variance_of_theory(self.curve, deviation)  # (T9.5)
        else:
            se = np.where(np.isnan(self.curve.se), self.curve.error, self.curve.se)
            variance = np.broadcast_to(se**2, deviation.shape)  # (T9.4)
        return variance + (self.softening * self.curve.error) ** 2

    def _deviances(
        self, mean: Float[Array, "sets points"], variance: Float[Array, "sets points"]
    ) -> Float[Array, " sets"]:
        mean = np.where(np.isfinite(mean), mean, UNSOLVED_ERROR)
        terms = (self.curve.error - mean) ** 2 / variance  # (T9.6), (T9.8)
        if self.with_log:
            terms = terms + np.log(variance)  # (T9.7)
        return terms.sum(-1)


def variance_of_theory(curve: Curve, deviation: Float[Array, "sets points"]) -> Float[Array, "sets points"]:
    """The variance (T9.5), from a single experiment's deviation."""
    return np.where(np.isfinite(deviation), deviation, UNSOLVED_DEVIATION) ** 2 / curve.trials


def whitening_matrix(information: Float[Array, "free free"]) -> Float[Array, "free free"]:
    """S such that the deviance grows by about |s|² along z = z0 + S s."""
    values, vectors = np.linalg.eigh(information)
    return vectors / np.sqrt(np.maximum(values, 0) + _LEAST_INFORMATION)


def _stencil(z: Float[Array, " free"], one_sided: bool) -> Float[Array, "sets free"]:
    ahead = _STEP * np.eye(len(z))
    steps = [np.zeros(len(z)), ahead] if one_sided else [np.zeros(len(z)), ahead, -ahead]
    return z + np.vstack(steps)


def _differences(values: Float[Array, "sets points"], free: int) -> Float[Array, "points free"]:
    centre: Array = values[:1]
    ahead: Array = values[1 : 1 + free]
    back: Array = values[1 + free :]
    if len(back):
        return (ahead - back).T / 2 / _STEP
    return (ahead - centre).T / _STEP
