"""The region of likely parameters about a fit: profile-likelihood intervals of whatever the theory says, and its ends.

The interval of a number g(θ) is where it can go while the deviance stays within c·q of its least, q the quantile of χ²
with one degree of freedom, or the square of Student's t where c was estimated. For an exact curve the deviance there is
that of the fitted means from θ's, with θ's own v: Σ (μ(θ) - μ̂)²/v(θ). With v of the estimate, the interval would be
narrow just where the dimension came out large. c and v are those of dp_theory.fitting.likelihood.
"""

from __future__ import annotations

import numpy as np

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.likelihood import WIDE, Likelihood, Remembered, whitened
from dp_theory.numerics.checks import Array

_STRIDES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, np.inf)  # away from the best z, to where the end of an interval may be
_AT_END = 3.0  # |z| that counts as an end of a range: its outer twentieth
_OUTSIDE = 0.03  # by which share of what is allowed the end of an interval may miss it
_CONFIRMED = 0.3  # by which share of what is allowed the deviance may differ from it where first order holds
_NEAR, _NEAR_DEAR = 0.005, 0.05  # of the end of an interval, in z, and of its half; with practice, which makes it dear
_NEXT = 1e-6  # in z: nearer to the best no end of an interval is looked for
_SEARCHED, _SEARCHED_DEAR = 30, 8  # steps to where the other parameters are likely
_HOPELESS = 0.1  # of what a search lacks: it ends where the next step would gain less


def first_order(likelihood: Likelihood, allowed: float, points: Curve) -> tuple[Array, Array, Array]:
    """ln of the means of asked points at the best z, and the ends of their intervals to first order (Cramér-Rao)."""
    z = likelihood.best
    state = likelihood.state(z, points)
    slopes = state.slope / state.mean[:, None] @ whitened(state.information)
    half = np.sqrt(allowed) * np.linalg.norm(slopes, axis=1)
    centre = np.log(state.mean)
    return centre, centre - half, centre + half


def interval(likelihood: Likelihood, allowed: float, point: Curve) -> tuple[float, float]:
    """The least and the largest ln of the mean of one asked point, by profile likelihood.

    allowed: by how much the deviance may exceed its least. Neither the curve nor the point is of practice, whose theory
    takes longer: for it `first_order` is.
    """
    from scipy.optimize import minimize

    z0, at = likelihood.best, Remembered(likelihood, point)
    least = at(z0).deviance

    def goal(z: Array) -> tuple[float, Array]:
        state = at(z)
        return float(np.log(state.mean[0])), state.slope[0] / state.mean[0]

    def slack(z: Array) -> float:
        return 1 - (at(z).deviance - least) / allowed

    centre = goal(z0)[0]
    ends = [centre]
    for place in [z0, *_inside(likelihood, least + allowed / 2)]:
        scale = whitened(at(place).information)
        slope = goal(place)[1] @ scale
        reach = float(np.linalg.norm(slope)) * np.sqrt(allowed)
        for sign in (1.0, -1.0) if reach else ():

            def step(
                s: Array, sign: float = sign, place: Array = place, scale: Array = scale, reach: float = reach
            ) -> tuple[float, Array]:
                value, slope = goal(place + scale @ s)
                return sign * (value - centre) / reach, sign * (slope @ scale) / reach

            within = {
                "type": "ineq",
                "fun": lambda s, place=place, scale=scale: slack(place + scale @ s),
                "jac": lambda s, place=place, scale=scale: -(at(place + scale @ s).gradient @ scale) / allowed,
            }
            for share in (0.9, 0.5, 0.2):  # of the way that the first order says; SLSQP may lose its way from afar
                first = -sign * slope / reach * allowed * share
                options = {"maxiter": 40, "ftol": 1e-4}
                found = minimize(step, first, jac=True, method="SLSQP", constraints=[within], options=options).x
                end = place + scale @ found
                ends += [goal(z)[0] for z in (end, place + scale @ first) if slack(z) > -_OUTSIDE]
                if slack(end) > -_OUTSIDE:
                    break
    return min(ends), max(ends)


def limits(likelihood: Likelihood, allowed: float, parameter: int) -> tuple[float, float]:
    """The least and the largest z of a free parameter, by profile likelihood.

    Of a curve with practice, whose theory takes longer, to first order (Cramér-Rao), unless the parameter is at an end
    of its range, where nothing has a slope.
    """
    z = likelihood.best
    if likelihood.curve.practised.any() and abs(z[parameter]) < _AT_END:
        half = np.sqrt(allowed) * float(np.linalg.norm(whitened(likelihood.state(z).information)[parameter]))
        return z[parameter] - half, z[parameter] + half
    low, high = (float(_end(likelihood, allowed, parameter, sign)[parameter]) for sign in (1.0, -1.0))
    return low, high


def outermost(likelihood: Likelihood, allowed: float) -> Array:
    """Places (1 + 2 free, free) of the region: the best z, and those where each parameter is least and largest."""
    pairs = [(j, sign) for j in range(len(likelihood.best)) for sign in (1.0, -1.0)]
    return np.array([likelihood.best, *(_end(likelihood, allowed, j, sign) for j, sign in pairs)])


def _end(likelihood: Likelihood, allowed: float, parameter: int, sign: float) -> Array:
    """The place (free,) of the region where a parameter is least (sign 1) or largest (-1).

    Of a curve with practice, where a search takes long, to first order where the deviance confirms it.
    """
    z0, at = likelihood.best, Remembered(likelihood)
    least = at.deviance(z0)
    starts = [z0]
    if likelihood.curve.practised.any():
        scale = whitened(at(z0).information)
        way = -sign * np.sqrt(allowed) * scale @ scale[parameter] / np.linalg.norm(scale[parameter])
        risen = at.deviance(z0 + way) - least
        if (np.abs(z0 + way) < WIDE).all() and abs(risen - allowed) < _CONFIRMED * allowed:
            return z0 + way * np.sqrt(allowed / risen)
    else:
        starts += _inside(likelihood, least + allowed / 2)
    found = [_profiled(likelihood, start, parameter, sign, least + allowed) for start in starts]
    return min(found, key=lambda place: sign * place[parameter])


def _profiled(likelihood: Likelihood, place: Array, parameter: int, sign: float, deviance: float) -> Array:
    """The place (free,) of at most this deviance where a parameter is least (sign 1) or largest (-1), from one on."""
    at = Remembered(likelihood)
    within = first = float(place[parameter])
    beyond = within
    for stride in _STRIDES:
        beyond = float(np.clip(first - sign * stride, -WIDE, WIDE))
        moved = _lowered(at, place, parameter, beyond, deviance)
        if moved is None:
            break
        place, within = moved, beyond
    near = _NEAR_DEAR if likelihood.curve.practised.any() else _NEAR
    while abs(beyond - within) > max(near * min(1.0, abs(beyond - first)), _NEXT):
        middle = (within + beyond) / 2
        moved = _lowered(at, place, parameter, middle, deviance)
        place, within, beyond = (place, within, middle) if moved is None else (moved, middle, beyond)
    return place


def _lowered(at: Remembered, place: Array, parameter: int, value: float, deviance: float) -> Array | None:
    """The place with a parameter's z held at this value, the others moved until the deviance is as low as that.

    None where it does not get as low.
    """
    from scipy.optimize import minimize

    others, dear = np.arange(len(place)) != parameter, at.likelihood.curve.practised.any()
    lowest = np.where(others, place, value)

    def full(u: Array) -> Array:
        z = np.full(len(place), value)
        z[others] = u
        return z

    def stop(u: Array) -> None:
        nonlocal lowest
        lowest = full(u)
        missing = at.deviance(lowest) - deviance
        if missing <= 0:
            raise StopIteration
        state = at(lowest)
        expected = np.sum((state.gradient[others] @ whitened(state.information[np.ix_(others, others)])) ** 2) / 4
        if expected < _HOPELESS * missing:
            raise StopIteration

    if at.deviance(lowest) > deviance and others.any():
        minimize(
            lambda u: at.deviance(full(u)), place[others], jac=lambda u: at(full(u)).gradient[others],
            hess=lambda u: 2 * at(full(u)).information[np.ix_(others, others)] + 1e-6 * np.eye(others.sum()),
            method="dogleg" if dear else "trust-exact", callback=stop,
            options={"maxiter": _SEARCHED_DEAR if dear else _SEARCHED, "gtol": 1e-2},
        )  # fmt: skip
    return lowest if at.deviance(lowest) <= deviance else None


def _inside(likelihood: Likelihood, deviance: float) -> list[Array]:
    """Places (free,) to search from as well: parameters at an end of their range, where nothing has a slope, moved in.

    Each as far as the deviance stays below the one given.
    """
    places = []
    for j in np.flatnonzero(np.abs(likelihood.best) > _AT_END):
        moved = np.tile(likelihood.best, (64, 1))
        moved[:, j] *= np.linspace(1, 0, 64)
        above = np.flatnonzero(likelihood.deviances(moved) > deviance)
        places.append(moved[above[0] - 1 if above.size else -1])
    return places
