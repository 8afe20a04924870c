"""Likelihood of a curve under the theory, and its maximum.

A point's mean error y over k experiments is normal about the theory's mean μ(θ) with variance

    v       the theory's own variance of an experiment, over k, at the estimate (exact curves;
    dp_theory.ridge.finite) c·se²   else; c = 1, or χ²/(points - parameters) where that is more: what theory and se
    do not explain c·y²    where no se is known

deviance(θ) = Σ (y - μ)²/v. Of an exact curve it is quasi-likelihood: v follows from the estimate, and takes no part
in it. With v(θ) and ln v in the deviance, v would shrink to the residuals, which scatter less than the points by as
much as the parameters have taken: dimensions come out larger and flips smaller by half a standard error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.parameters import PARAMETERS
from dp_theory.fitting.theory import predict_points
from dp_theory.numerics.checks import Array

_STEP = 1e-4  # of differences, in z
WIDE = 12.0  # |z| beyond which a number is at the end of its range
_STARTS, _FEW_STARTS, _SEARCHED, _POLISHED = 256, 32, 12, 4  # places looked at, those searched from, and to the end
_WINDOWS = 0.8 * np.array([0, 1, -1, 2, -2, 3, -3])  # z where only the window is sought: factors of 3 around 1
_SOFT = 0.1
_REWEIGHTED = 2  # times; a third moves estimates by less than a hundredth of their standard error
_GAIN = 1e-5  # of the deviance that ends a search with practice; 0.001 of an interval's width
_FLAT = 0.02  # information that every direction is given when the region is searched, so that flat ones have an end


class State(NamedTuple):
    """At one z: the deviance, means of the points (points,), and what they change by with z."""

    deviance: float
    gradient: Array  # (free,)
    information: Array  # (free, free), half the expected second derivative of the deviance
    mean: Array  # (points,)
    slope: Array  # (points, free)
    deviation: Array  # (points,), of single experiments


@dataclass(frozen=True)
class Likelihood:
    """Of a curve, in the free parameters' z (free,); the others have their `fixed` values.

    logarithm: whether ln v counts, where v moves with z: that of an exact curve. start: z where the search begins.
    soft: a relative deviation that every point is given besides. It widens the valleys in which the search begins.
    """

    curve: Curve
    free: tuple[str, ...]
    fixed: dict[str, float]
    logarithm: bool = True
    start: Array | None = None
    soft: float = 0.0

    @classmethod
    def quasi(cls, curve: Curve, free: tuple[str, ...], fixed: dict[str, float]) -> Likelihood:
        """Of an exact curve, its points' standard errors known: those at the estimate, from the most likely z on."""
        likelihood = cls(curve, free, fixed)
        for _ in range(_REWEIGHTED):
            z = likelihood.best
            _, deviation = predict_points(curve, likelihood.values(z[None]))
            weighted = replace(curve, se=np.sqrt(_scatter(curve, deviation)[0]), exact=False)
            likelihood = cls(weighted, free, fixed, start=z)
        return likelihood

    @classmethod
    def about(cls, estimate: Likelihood, curve: Curve) -> Likelihood:
        """Of an exact curve's fitted means, in place of what was measured: 0 at the estimate, its least."""
        mean, _ = predict_points(curve, estimate.values(estimate.best[None]))
        fitted = replace(curve, error=mean[0])
        return cls(fitted, estimate.free, estimate.fixed, logarithm=False, start=estimate.best)

    def values(self, z: Array) -> dict[str, Array]:
        """All parameters (sets,) at z (sets, free)."""
        moved = {name: PARAMETERS[name].value(z[:, j]) for j, name in enumerate(self.free)}
        return moved | {name: np.full(len(z), value) for name, value in self.fixed.items()}

    def deviances(self, z: Array) -> Array:
        """The deviance at each z (sets, free)."""
        return self._deviances(*predict_points(self.curve, self.values(z)))

    def state(self, z: Array, asked: Curve | None = None) -> State:
        """Everything at z, of the curve's points; mean, slope and deviation of the `asked` points instead."""
        ahead = _STEP * np.eye(len(z))
        practised = self.curve.practised.any() or (asked is not None and asked.practised.any())
        steps = np.vstack([np.zeros(len(z)), ahead, *([] if practised else [-ahead])])  # practice takes longer
        mean, deviation = predict_points(self.curve, self.values(z + steps))
        deviance = self._deviances(mean, deviation)
        variance = self._variance(deviation)
        slope = _difference(mean, len(z))
        information = slope.T @ (slope / variance[0][:, None])
        if self.curve.exact and self.logarithm:
            growth = _difference(np.log(variance), len(z))
            information = information + growth.T @ growth / 2
        if asked is not None:
            mean, deviation = predict_points(asked, self.values(z + steps))
            slope = _difference(mean, len(z))
        return State(
            float(deviance[0]), _difference(deviance[:, None], len(z))[0], information, mean[0], slope, deviation[0]
        )

    def _variance(self, deviation: Array) -> Array:
        if self.curve.exact:
            variance = _scatter(self.curve, deviation)
        else:
            known = np.where(np.isnan(self.curve.se), self.curve.error, self.curve.se)
            variance = np.broadcast_to(known**2, deviation.shape)
        return variance + (self.soft * self.curve.error) ** 2

    def _deviances(self, mean: Array, deviation: Array) -> Array:
        mean, variance = np.where(np.isfinite(mean), mean, 0.5), self._variance(deviation)
        terms = (self.curve.error - mean) ** 2 / variance
        return (terms + np.log(variance) if self.curve.exact and self.logarithm else terms).sum(-1)

    @cached_property
    def best(self) -> Array:
        """z (free,) of the least deviance that several searches find."""
        from scipy.optimize import minimize

        if not self.free:
            return np.empty(0)
        starts, practised = self._starts(), self.curve.practised.any()
        for soft, kept in ((0.0, 1),) if practised or self.start is not None else ((_SOFT, _POLISHED), (0.0, 1)):
            likelihood, found = replace(self, soft=soft), []
            options = {"maxiter": 12 if practised else 60, "gtol": 1e-2 if soft else 1e-4, "max_trust_radius": 4.0}
            for start in starts:
                at = Remembered(likelihood)
                result = minimize(
                    at.deviance, start, jac=lambda z, at=at: at(z).gradient,
                    hess=lambda z, at=at: 2 * at(z).information + 1e-6 * np.eye(len(z)),
                    method="dogleg" if practised else "trust-exact",  # which needs slopes at rejected places, too
                    options=options, callback=at.stop if practised else None,
                )  # fmt: skip
                found.append((float(result.fun), result.x))
            starts = [z for _, z in sorted(found, key=lambda pair: pair[0])[:kept]]
        return np.clip(starts[0], -WIDE, WIDE)

    def _starts(self) -> Array:
        """Where to search from (searches, free). With practice, whose theory takes longer, one place: from the rest."""
        if self.start is not None:
            return self.start[None]
        rng = np.random.default_rng(0)
        others = ~self.curve.practised
        if others.all():
            starts = rng.normal(scale=1.5, size=(_STARTS, len(self.free)))
            return starts[np.argsort(replace(self, soft=_SOFT).deviances(starts))[:_SEARCHED]]
        rest = [j for j, name in enumerate(self.free) if name != "window"]
        if others.sum() <= len(rest):
            starts = rng.normal(scale=1.5, size=(_FEW_STARTS, len(self.free)))
        else:  # the rest says where, but for the window
            windows = np.array(_WINDOWS if "window" in self.free else [0.0])
            starts = np.zeros((len(windows), len(self.free)))
            starts[:, [j for j in range(len(self.free)) if j not in rest]] = windows[:, None]
            known = {"window": PARAMETERS["window"].assumed} | self.fixed
            part = Likelihood(self.curve.at(others), tuple(self.free[j] for j in rest), known)
            starts[:, rest] = part.best
        return starts[[np.argmin(self.deviances(starts))]]


class Remembered:
    """`Likelihood.state` of the latest z, of the curve or of the asked points."""

    def __init__(self, likelihood: Likelihood, asked: Curve | None = None) -> None:
        self.likelihood, self.asked = likelihood, asked
        self.z, self.state = None, None

    def __call__(self, z: Array) -> State:
        """The state at z."""
        if self.z is None or not np.array_equal(z, self.z):
            self.z, self.state = np.array(z), self.likelihood.state(z, self.asked)
        assert self.state is not None
        return self.state

    def deviance(self, z: Array) -> float:
        """The deviance alone, without slopes where practice makes them dear: a search asks there before it goes."""
        if self.likelihood.curve.practised.any():
            return float(self.likelihood.deviances(z[None])[0])  # its loop is remembered
        return self(z).deviance

    def stop(self, z: Array) -> None:
        """End a search from where the next step would gain next to nothing."""
        state = self(z)
        if np.sum((state.gradient @ whitened(state.information)) ** 2) / 4 < _GAIN:
            raise StopIteration


def _scatter(curve: Curve, deviation: Array) -> Array:
    """Variances of an exact curve's points, for experiments with this deviation (sets, points)."""
    return np.where(np.isfinite(deviation), deviation, 1.0) ** 2 / curve.trials


def _difference(values: Array, free: int) -> Array:
    """Slopes (points, free) of values (1 + steps, points), a step ahead along each axis, and then perhaps one back."""
    centre, ahead, back = values[:1], values[1 : 1 + free], values[1 + free :]
    return ((ahead - back).T / 2 if len(back) else (ahead - centre).T) / _STEP


def whitened(information: Array) -> Array:
    """S (free, free) such that with z - z0 = S s the deviance grows by about |s|²."""
    values, vectors = np.linalg.eigh(information)
    return vectors / np.sqrt(np.maximum(values, 0) + _FLAT)
