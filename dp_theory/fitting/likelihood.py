"""How likely a measured curve is at given parameters of the theory: (T9.3) to (T9.12), derived in docs/theory/fit.md.

A point is y_i ~ N(μ_i(z), c v_i). v_i is se_i² or, where that is unknown, y_i², with an estimated c; it is s_i(z)²/k_i
with c = 1 for the k_i experiments of an exact curve.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.theory import PARAMETERS, predict_points
from dp_theory.numerics.checks import Array, Float

# |z| beyond which a parameter is at the end of its range.
WIDE = 12.0
# Expectation where the theory has no solution, so that a search turns back.
UNSOLVED_ERROR = 0.5
# Standard deviation of an experiment there.
UNSOLVED_DEVIATION = 1.0
# The step of z in finite differences.
_STEP = 1e-4
# Given to every direction of z, so that the region has an end in flat ones.
_MIN_INFORMATION = 0.02


class Linearisation(NamedTuple):
    """The likelihood about one z."""

    deviance: float  # D
    gradient: Float[Array, " free"]  # ∂D/∂z
    information: Float[Array, "free free"]  # I


@dataclass(frozen=True)
class Likelihood:
    """The likelihood of a curve by the free parameters' z."""

    curve: Curve
    free: tuple[str, ...]  # names, in the order of z
    fixed: dict[str, float]  # the other parameters
    with_log: bool = False  # whether the deviance has the term ln v, as in (T9.7)
    # A relative standard deviation that every point is given besides: it widens the valleys of the deviance.
    softening: float = 0.0
    about: dict[str, float] | None = None  # where practice is linear, as `predict_points` takes it

    def values(self, z: Float[Array, "sets free"]) -> dict[str, Float[Array, " sets"]]:
        moved = {name: PARAMETERS[name].from_z(z[:, j]) for j, name in enumerate(self.free)}
        constant = {name: np.full(len(z), value) for name, value in self.fixed.items()}
        return moved | constant

    def values_at(self, z: Float[Array, " free"]) -> dict[str, float]:
        return {name: float(value[0]) for name, value in self.values(z[None]).items()}

    def linearised_at(self, z: Float[Array, " free"]) -> "Likelihood":
        """The same with practice linear about z."""
        return replace(self, about=self.values_at(z))

    def predict(self, points: Curve, z: Float[Array, "sets free"]) -> tuple[Array, Array]:
        return predict_points(points, self.values(z), self.about)

    def deviances(self, z: Float[Array, "sets free"]) -> Float[Array, " sets"]:
        return self.moments(z)[2]

    def moments(self, z: Float[Array, "sets free"]) -> tuple[Array, Array, Array]:
        """Means and variances of the points (sets, points), and deviances (sets,)."""
        curve = self.curve
        mean, deviation = self.predict(curve, z)
        if curve.exact:
            known = np.where(np.isfinite(deviation), deviation, UNSOLVED_DEVIATION)
            variance = known**2 / curve.trials  # (T9.5)
        else:
            variance = np.broadcast_to(curve.assumed_se**2, mean.shape)  # (T9.4)
        variance = variance + (self.softening * curve.error) ** 2
        solved = np.where(np.isfinite(mean), mean, UNSOLVED_ERROR)
        terms = (curve.error - solved) ** 2 / variance  # (T9.6), (T9.8)
        if self.with_log:
            terms = terms + np.log(variance)  # (T9.7)
        return mean, variance, terms.sum(-1)

    def linearise(self, z: Float[Array, " free"]) -> Linearisation:
        mean, variance, deviance = self.linearised_at(z).moments(_stencil(z))
        slope = _differences(mean)
        information = slope.T @ (slope / variance[0][:, None])  # (T9.10)
        if self.with_log:
            log_slope = _differences(np.log(variance))
            information = information + log_slope.T @ log_slope / 2  # (T9.11)
        return Linearisation(float(deviance[0]), _differences(deviance[:, None])[0], information)


def whitening_matrix(information: Float[Array, "free free"]) -> Float[Array, "free free"]:
    """S such that the deviance grows by about |s|² along z = z0 + S s."""
    values, vectors = np.linalg.eigh(information)
    return vectors / np.sqrt(np.maximum(values, 0) + _MIN_INFORMATION)


def _stencil(z: Float[Array, " free"]) -> Float[Array, "sets free"]:
    ahead = _STEP * np.eye(len(z))
    return z + np.vstack([np.zeros(len(z)), ahead, -ahead])


def _differences(values: Float[Array, "sets points"]) -> Float[Array, "points free"]:
    ahead, back = np.split(values[1:], 2)
    return (ahead - back).T / 2 / _STEP


# -- the most likely parameters

# Random places whose deviance is computed.
_STARTS = 256
# The same number with practice, whose theory takes longer.
_FEW_STARTS = 32
# How many of these places a search starts from.
_SEARCHED = 12
# How many of these searches are repeated without softening.
_POLISHED = 4
# Distance in z within which two searches have found one place.
_SAME = 0.5
# Standard deviation of z of random places.
_SPREAD = 1.5
# The softening of the first searches.
_SOFTENING = 0.1
# Values of z of the window that are tried: factors of 3 around 1.
_WINDOWS = 0.8 * np.array([0, 1, -1, 2, -2, 3, -3])
# Times; a third moves estimates by less than a hundredth of their standard error.
_REWEIGHTED = 2
# Added to the second derivative, which may be singular.
_DAMPING = 1e-6
# The longest step of a search, in z.
_MAX_STEP = 4.0


def most_likely_exact(likelihood: Likelihood) -> Float[Array, " free"]:
    """The z of an exact curve: of the quasi-likelihood with the variance (T9.5) held near the estimate."""
    z = most_likely(replace(likelihood, with_log=True))  # (T9.7)
    for _ in range(_REWEIGHTED):
        _, variance, _ = likelihood.moments(z[None])
        weighted = replace(likelihood.curve, se=np.sqrt(variance[0]), exact=False)
        z = most_likely(replace(likelihood, curve=weighted), start=z)
    return z


def most_likely(likelihood: Likelihood, start: Float[Array, " free"] | None = None) -> Float[Array, " free"]:
    """The z of the least deviance found, from `start` or from several places."""
    if not likelihood.free:
        return np.empty(0)
    if start is not None:
        return _search(likelihood, [start])[0]
    if likelihood.curve.has_practice:
        return _search(likelihood, [_start_with_practice(likelihood)])[0]
    softened = replace(likelihood, softening=_SOFTENING)
    places = _random_places(_STARTS, len(likelihood.free))
    best_first = np.argsort(softened.deviances(places))
    searched = _search(softened, places[best_first[:_SEARCHED]])[:_POLISHED]
    distinct: list[Array] = []
    for place in searched:
        if all(np.abs(place - other).max() > _SAME for other in distinct):
            distinct.append(place)
    return _search(likelihood, distinct)[0]


def _random_places(count: int, free: int) -> Float[Array, "count free"]:
    return np.random.default_rng(0).normal(scale=_SPREAD, size=(count, free))


def _start_with_practice(likelihood: Likelihood) -> Float[Array, " free"]:
    curve, free = likelihood.curve, likelihood.free
    others = ~curve.practised
    names = tuple(name for name in free if name != "window")
    if others.sum() <= len(names):
        places = _random_places(_FEW_STARTS, len(free))
    else:
        fixed = {"window": PARAMETERS["window"].assumed} | likelihood.fixed
        place = most_likely(Likelihood(curve.at(others), names, fixed))
        places = np.tile(place, (len(_WINDOWS), 1))
        if "window" in free:
            places = np.insert(places, free.index("window"), _WINDOWS, axis=1)
    return places[np.argmin(likelihood.deviances(places))]


def _search(likelihood: Likelihood, starts: Any) -> list[Float[Array, " free"]]:
    from scipy.optimize import minimize

    options = {"maxiter": 60, "gtol": 1e-2 if likelihood.softening else 1e-4, "max_trust_radius": _MAX_STEP}

    @lru_cache(maxsize=1)  # scipy asks for the parts one by one
    def linearised(z: tuple[float, ...]) -> Linearisation:
        return likelihood.linearise(np.array(z))

    results = [
        minimize(
            lambda z: linearised(tuple(z)).deviance,
            start,
            jac=lambda z: linearised(tuple(z)).gradient,
            # near the second derivative of D, without a zero eigenvalue
            hess=lambda z: 2 * linearised(tuple(z)).information + _DAMPING * np.eye(len(z)),
            method="trust-exact",
            options=options,
        )
        for start in starts
    ]
    return [np.clip(result.x, -WIDE, WIDE) for result in sorted(results, key=attrgetter("fun"))]


# -- the region of likely parameters

# About the fit, as far as the first order reaches.
_FIRST_DRAWS = 2048
_PASSES = 28
# Places that lie farthest in a direction, whose differences.
_ELITE = 24
# The largest factor of a difference of two such places, which is added to a third.
_FARTHEST = 3.0
# How often that is done in each pass.
_DRAWS = 64
# Directions besides those of the parameters.
_OTHER_WAYS = 4


def likely_places(likelihood: Likelihood, best: Float[Array, " free"], allowed: float) -> Float[Array, "places free"]:
    """Draws of the region D(z) − D(best) ≤ allowed (T9.9), most of them where it is farthest, and `best` before them.

    It is differential evolution (Storn and Price 1997) towards each parameter's ends, with the farthest as parents.
    The profile-likelihood interval of a number is its range over the region.
    """
    free = len(best)
    likely = best[None]
    if not free:
        return likely
    rng = np.random.default_rng(0)
    max_deviance = likelihood.deviances(likely) + allowed
    steps = rng.standard_normal((_FIRST_DRAWS, free))
    steps *= rng.uniform(0, 1.3, (_FIRST_DRAWS, 1)) / np.linalg.norm(steps, axis=1, keepdims=True)
    axes = np.sqrt(allowed) * whitening_matrix(likelihood.linearise(best).information)
    places = best + steps @ axes.T
    for _ in range(_PASSES + 1):
        places = np.clip(places, -WIDE, WIDE)
        likely = np.vstack([likely, places[likelihood.deviances(places) <= max_deviance]])
        others = rng.standard_normal((_OTHER_WAYS, free)) / (likely.std(axis=0) + 1e-9)
        children = []
        for way in np.vstack([np.eye(free), -np.eye(free), others]):
            elite = likely[np.argsort(likely @ way)[-_ELITE:]]
            one, two, three = elite[rng.integers(len(elite), size=(3, _DRAWS))]
            children.append(one + rng.uniform(0, _FARTHEST, (_DRAWS, 1)) * (two - three))
        places = np.vstack(children)
    return likely
