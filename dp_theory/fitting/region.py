"""The region of likely parameters about a fit: D(z) − D(z0) ≤ A = c q² (T9.9), with a quantile q.

The profile-likelihood interval of a number is its range over the region, to first order (T9.12), which is 0 at an end
of a parameter's range. With practice, which takes long, (T9.12) is used wherever the deviance confirms it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.likelihood import WIDE, Evaluations, Latest, Likelihood, whitening_matrix
from dp_theory.numerics.checks import Array

if TYPE_CHECKING:
    from jaxtyping import Float

LEAST = 1.0  # direction of a search for the least value of a parameter
LARGEST = -1.0  # and for the largest
AT_END = 3.0  # |z| that counts as an end of a range: its outer twentieth

# Profiles of a parameter.
_STRIDES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, np.inf)  # in z, away from the best, until the region is left
_PRECISION = 0.005  # of the end of an interval, in z, and relative to its distance from the start
_PRECISION_WITH_PRACTICE = 0.05
_CLOSEST = 1e-6  # in z: ends are not told from the start any closer
_STEPS = 30  # of the search in which the other parameters become likely
_STEPS_WITH_PRACTICE = 8
_HOPELESS = 0.1  # that search ends where the next step would gain less than this share of what is missing
_CONFIRMED = 0.3  # the deviance confirms the first order where it differs from A by less than this share of A

# Intervals of predictions.
_SHARES = (0.9, 0.5, 0.2)  # of the way of the first order, from where the end is searched; from afar it may be missed
_MISSED = 0.03  # by which share of A the end of an interval may lie outside the region
_INNER_PLACES = 64  # that are tried between the end of a range and its middle


@dataclass(frozen=True)
class Region:
    """The region of likely parameters."""

    likelihood: Likelihood  # the likelihood whose deviance is D
    best: Float[Array, " free"]  # z0, where the deviance is least
    allowed: float  # A, by how much the deviance may exceed its least

    def first_order(
        self, points: Curve
    ) -> tuple[Float[Array, " points"], Float[Array, " points"], Float[Array, " points"]]:
        """ln of the expected errors at the best z, and the ends of their intervals by (T9.12)."""
        one_sided = self.likelihood.curve.has_practice or points.has_practice
        information = self.likelihood.linearise(self.best, one_sided=one_sided).information
        expected = self.likelihood.slopes(points, self.best, one_sided=one_sided)
        whitened = expected.slope / expected.mean[:, None] @ whitening_matrix(information)
        half = np.sqrt(self.allowed) * np.linalg.norm(whitened, axis=1)
        centre = np.log(expected.mean)
        return centre, centre - half, centre + half

    def interval(self, point: Curve) -> tuple[float, float]:
        search = _IntervalSearch(self, point)
        ends = [search.centre]
        for start in [self.best, *self._inner_starts()]:
            ends += search.ends_from(start, 1.0)
            ends += search.ends_from(start, -1.0)
        return min(ends), max(ends)

    def limits(self, parameter: int) -> tuple[float, float]:
        if self.likelihood.curve.has_practice and abs(self.best[parameter]) < AT_END:
            information = self.likelihood.linearise(self.best).information
            half = np.sqrt(self.allowed) * float(np.linalg.norm(whitening_matrix(information)[parameter]))
            return self.best[parameter] - half, self.best[parameter] + half
        least = float(self._end(parameter, LEAST)[parameter])
        largest = float(self._end(parameter, LARGEST)[parameter])
        return least, largest

    def outermost(self, advance: Callable[[int], None]) -> Float[Array, "places free"]:
        places = [self.best]
        for parameter in range(len(self.best)):
            for direction in (LEAST, LARGEST):
                places.append(self._end(parameter, direction))
                advance(1)
        return np.array(places)

    def _end(self, parameter: int, direction: float) -> Float[Array, " free"]:
        at = Evaluations(self.likelihood)
        least = at.deviance(self.best)
        if self.likelihood.curve.has_practice:
            place = self._confirmed_end(at, least, parameter, direction)
            if place is not None:
                return place
            starts = [self.best]
        else:
            starts = [self.best, *self._inner_starts()]
        profile = _Profile(at, parameter, direction, least + self.allowed)
        ends = [profile.end_from(start) for start in starts]
        return min(ends, key=lambda place: direction * place[parameter])

    def _confirmed_end(
        self, at: Evaluations, least: float, parameter: int, direction: float
    ) -> Float[Array, " free"] | None:
        """The end by (T9.12), scaled to deviance A, or None far from that."""
        scale = whitening_matrix(at.linearise(self.best).information)
        way = -direction * np.sqrt(self.allowed) * scale @ scale[parameter] / np.linalg.norm(scale[parameter])
        risen = at.deviance(self.best + way) - least
        is_within_range = (np.abs(self.best + way) < WIDE).all()
        if is_within_range and abs(risen - self.allowed) < _CONFIRMED * self.allowed:
            return self.best + way * np.sqrt(self.allowed / risen)
        return None

    def _inner_starts(self) -> list[Float[Array, " free"]]:
        most = Evaluations(self.likelihood).deviance(self.best) + self.allowed / 2
        starts = []
        for j in np.flatnonzero(np.abs(self.best) > AT_END):
            moved = np.tile(self.best, (_INNER_PLACES, 1))
            moved[:, j] *= np.linspace(1, 0, _INNER_PLACES)
            above = np.flatnonzero(self.likelihood.deviances(moved) > most)
            last = above[0] - 1 if above.size else -1
            starts.append(moved[last])
        return starts


class _IntervalSearch:
    def __init__(self, region: Region, point: Curve) -> None:
        likelihood = region.likelihood
        self.allowed = region.allowed
        self.at = Evaluations(likelihood)
        self.expected = Latest(lambda z: likelihood.slopes(point, z))
        self.least = self.at.deviance(region.best)
        self.centre = self.value(region.best)

    def value(self, z: Array) -> float:
        return float(np.log(self.expected(z).mean[0]))

    def slope(self, z: Array) -> Array:
        return self.expected(z).slope[0] / self.expected(z).mean[0]

    def room(self, z: Array) -> float:
        return 1 - (self.at.deviance(z) - self.least) / self.allowed

    def is_allowed(self, z: Array) -> bool:
        return self.room(z) > -_MISSED

    def ends_from(self, place: Array, direction: float) -> list[float]:
        """Values of g in one direction: 1 is down, -1 is up."""
        from scipy.optimize import minimize

        scale = whitening_matrix(self.at.linearise(place).information)
        whitened = self.slope(place) @ scale
        reach = float(np.linalg.norm(whitened)) * np.sqrt(self.allowed)
        if not reach:
            return []

        def goal(s: Array) -> tuple[float, Array]:
            z = place + scale @ s
            return direction * (self.value(z) - self.centre) / reach, direction * (self.slope(z) @ scale) / reach

        def room(s: Array) -> float:
            return self.room(place + scale @ s)

        def room_slope(s: Array) -> Array:
            return -(self.at.gradient(place + scale @ s) @ scale) / self.allowed

        inside = {"type": "ineq", "fun": room, "jac": room_slope}
        options = {"maxiter": 40, "ftol": 1e-4}
        ends = []
        for share in _SHARES:
            first = -direction * whitened / reach * self.allowed * share
            found = minimize(goal, first, jac=True, method="SLSQP", constraints=[inside], options=options).x
            end = place + scale @ found
            ends += [self.value(z) for z in (end, place + scale @ first) if self.is_allowed(z)]
            if self.is_allowed(end):
                break
        return ends


class _Profile:
    def __init__(self, at: Evaluations, parameter: int, direction: float, most: float) -> None:
        self.at = at
        self.parameter = parameter
        self.direction = direction
        self.most = most
        self.has_practice = at.likelihood.curve.has_practice

    def end_from(self, place: Array) -> Array:
        start = float(place[self.parameter])
        within = start
        beyond = start
        for stride in _STRIDES:
            beyond = float(np.clip(start - self.direction * stride, -WIDE, WIDE))
            moved = self.made_likely(place, beyond)
            if moved is None:
                break
            place = moved
            within = beyond
        precision = _PRECISION_WITH_PRACTICE if self.has_practice else _PRECISION
        while abs(beyond - within) > max(precision * min(1.0, abs(beyond - start)), _CLOSEST):
            middle = (within + beyond) / 2
            moved = self.made_likely(place, middle)
            if moved is None:
                beyond = middle
            else:
                place = moved
                within = middle
        return place

    def made_likely(self, place: Array, value: float) -> Array | None:
        others = np.arange(len(place)) != self.parameter
        held = np.where(others, place, value)
        if self.at.deviance(held) > self.most and others.any():
            held = self._descended(held, others)
        return held if self.at.deviance(held) <= self.most else None

    def _descended(self, place: Array, others: NDArray[np.bool_]) -> Array:
        from scipy.optimize import minimize

        def full(u: Array) -> Array:
            z = place.copy()
            z[others] = u
            return z

        def stop_where_inside_or_hopeless(u: Array) -> None:
            z = full(u)
            missing = self.at.deviance(z) - self.most
            if missing <= 0 or self.at.expected_gain(z, others) < _HOPELESS * missing:
                raise StopIteration

        result = minimize(
            lambda u: self.at.deviance(full(u)),
            place[others],
            jac=lambda u: self.at.gradient(full(u))[others],
            hess=lambda u: self.at.curvature(full(u))[np.ix_(others, others)],
            method="dogleg" if self.has_practice else "trust-exact",
            callback=stop_where_inside_or_hopeless,
            options={"maxiter": _STEPS_WITH_PRACTICE if self.has_practice else _STEPS, "gtol": 1e-2},
        )
        return full(result.x)
