"""How likely a measured curve is at given parameters of the theory: (T9.3) to (T9.11), derived in docs/theory/fit.md.

A point is y_i ~ N(μ_i(z), c v_i). v_i is se_i² or, where that is unknown, y_i², with an estimated c (MEASURED); it is
s_i(z)²/k_i with c = 1 for the k_i experiments of an exact curve (THEORY).

The most likely z are sought by Newton's method in a trust region, from several places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

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


_STARTS = 256  # random places whose deviance is computed
_FEW_STARTS = 32  # as many with practice, whose theory takes longer
_SEARCHED = 12  # of these places, those from which a search starts
_POLISHED = 4  # of these searches, those that are repeated without softening
_SPREAD = 1.5  # standard deviation of z of random places
_SOFTENING = 0.1  # of the first searches
_WINDOWS = 0.8 * np.array([0, 1, -1, 2, -2, 3, -3])  # z of the window that are tried: factors of 3 around 1
_REWEIGHTED = 2  # times; a third moves estimates by less than a hundredth of their standard error
_LEAST_GAIN = 1e-5  # of the deviance, below which a search with practice ends: .001 of an interval's width
_DAMPING = 1e-6  # added to the second derivative, which may be singular
_LONGEST_STEP = 4.0  # in z

Answer = TypeVar("Answer")


def most_likely_exact(
    curve: Curve, free: tuple[str, ...], fixed: dict[str, float]
) -> tuple[Likelihood, Float[Array, " free"]]:
    """The quasi-likelihood of an exact curve, its variance (T9.5) held near the estimate, and its most likely z."""
    likelihood = Likelihood(curve, free, fixed, Variance.THEORY, with_log=True)  # (T9.7)
    z = most_likely(likelihood)
    for _ in range(_REWEIGHTED):
        likelihood = _with_variance_at(curve, free, fixed, z)
        z = most_likely(likelihood, start=z)
    return likelihood, z


def _with_variance_at(
    curve: Curve, free: tuple[str, ...], fixed: dict[str, float], z: Float[Array, " free"]
) -> Likelihood:
    likelihood = Likelihood(curve, free, fixed)
    _, deviation = predict_points(curve, likelihood.values(z[None]))
    se = np.sqrt(variance_of_theory(curve, deviation)[0])
    return replace(likelihood, curve=replace(curve, se=se, exact=False))


def likelihood_about_fit(
    curve: Curve, estimate: Likelihood, z: Float[Array, " free"]
) -> tuple[Likelihood, Float[Array, " free"]]:
    """The deviance (T9.8) about the means at the estimate z, and where it is least."""
    mean, _ = predict_points(curve, estimate.values(z[None]))
    fitted = replace(curve, error=mean[0])
    likelihood = Likelihood(fitted, estimate.free, estimate.fixed, Variance.THEORY)
    return likelihood, most_likely(likelihood, start=z)


def most_likely(likelihood: Likelihood, start: Float[Array, " free"] | None = None) -> Float[Array, " free"]:
    """The z of the least deviance found, from `start` or from several places."""
    if not likelihood.free:
        return np.empty(0)
    if start is not None:
        starts = [start]
    elif likelihood.curve.has_practice:
        starts = [_start_with_practice(likelihood)]
    else:
        softened = replace(likelihood, softening=_SOFTENING)
        places = _random_places(_STARTS, len(likelihood.free))
        best_first = np.argsort(softened.deviances(places))
        starts = _search(softened, places[best_first[:_SEARCHED]])[:_POLISHED]
    return np.clip(_search(likelihood, starts)[0], -WIDE, WIDE)


def _random_places(count: int, free: int) -> Float[Array, "count free"]:
    return np.random.default_rng(0).normal(scale=_SPREAD, size=(count, free))


def _start_with_practice(likelihood: Likelihood) -> Float[Array, " free"]:
    curve = likelihood.curve
    others = ~curve.practised
    without_window = [j for j, name in enumerate(likelihood.free) if name != "window"]
    if others.sum() <= len(without_window):
        places = _random_places(_FEW_STARTS, len(likelihood.free))
    else:
        names = tuple(likelihood.free[j] for j in without_window)
        fixed = {"window": PARAMETERS["window"].assumed} | likelihood.fixed
        place = np.zeros(len(likelihood.free))
        place[without_window] = most_likely(Likelihood(curve.at(others), names, fixed))
        places = np.tile(place, (len(_WINDOWS), 1))
        if "window" in likelihood.free:
            places[:, likelihood.free.index("window")] = _WINDOWS
    return places[np.argmin(likelihood.deviances(places))]


def _search(likelihood: Likelihood, starts: Any) -> list[Float[Array, " free"]]:
    from scipy.optimize import minimize

    has_practice = likelihood.curve.has_practice
    options = {
        "maxiter": 12 if has_practice else 60,
        "gtol": 1e-2 if likelihood.softening else 1e-4,
        "max_trust_radius": _LONGEST_STEP,
    }
    found: list[tuple[float, Array]] = []
    for start in starts:
        at = Evaluations(likelihood)
        result = minimize(
            at.deviance,
            start,
            jac=at.gradient,
            hess=at.curvature,
            method="dogleg" if has_practice else "trust-exact",  # which asks for slopes at rejected places, too
            options=options,
            callback=at.stop_where_little_is_gained if has_practice else None,
        )
        found.append((float(result.fun), result.x))
    return [z for _, z in sorted(found, key=lambda pair: pair[0])]


class Latest(Generic[Answer]):
    """A function of z that remembers its answer at the latest z."""

    def __init__(self, function: Callable[[Array], Answer]) -> None:
        self.function = function
        self.z: Array | None = None
        self.answer: Answer | None = None

    def __call__(self, z: Array) -> Answer:
        if self.answer is None or self.z is None or not np.array_equal(z, self.z):
            self.z = np.array(z)
            self.answer = self.function(self.z)
        return self.answer


class Evaluations:
    """A likelihood that linearises each z once."""

    def __init__(self, likelihood: Likelihood) -> None:
        self.likelihood = likelihood
        self.linearise: Latest[Linearisation] = Latest(likelihood.linearise)

    def deviance(self, z: Float[Array, " free"]) -> float:
        if self.likelihood.curve.has_practice:
            return float(self.likelihood.deviances(z[None])[0])
        return self.linearise(z).deviance

    def gradient(self, z: Float[Array, " free"]) -> Float[Array, " free"]:
        return self.linearise(z).gradient

    def curvature(self, z: Float[Array, " free"]) -> Float[Array, "free free"]:
        """The second derivative of D, near twice the information, without a zero eigenvalue."""
        return 2 * self.linearise(z).information + _DAMPING * np.eye(len(z))

    def expected_gain(self, z: Float[Array, " free"], moving: Any = slice(None)) -> float:
        here = self.linearise(z)
        information = here.information[moving][:, moving]
        return float(np.sum((here.gradient[moving] @ whitening_matrix(information)) ** 2) / 4)

    def stop_where_little_is_gained(self, z: Float[Array, " free"]) -> None:
        """Raises StopIteration, which ends a search of scipy."""
        if self.expected_gain(z) < _LEAST_GAIN:
            raise StopIteration
