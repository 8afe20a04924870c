"""Theorem 1 at finite dimension: means to first order in 1/d, and how far single experiments scatter (ours).

The kept rows, given their number m ~ Bin(n, p), are independent draws, and dp_theory.ridge.first_order has the law of
the weights. This module averages over that law and over m, by the rule of McNamee and Stenger (1967) for normals, which
is exact up to degree 5. Its nodes have at most two coordinates that are not 0, and these are ±√3.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from dp_theory.numerics.checks import Array, Real, require, require_whole
from dp_theory.ridge.first_order import SPECIAL_DIRECTIONS, WeightsLaw, law_of_weights
from dp_theory.ridge.problem import Prediction, Problem
from dp_theory.ridge.theorem1 import limits
from dp_theory.rules import Fourth, Moments

if TYPE_CHECKING:
    from jaxtyping import Float

_BLOCK = 512  # cells evaluated at a time: their intermediate arrays stay in the processor's cache
_ROOT3 = 3**0.5


def _nodes(off_centre: int) -> Array:
    """Nodes (nodes, 4) for three standard normals of which so many are not 0, each behind a 1."""
    signs = [x for x in product((-1, 0, 1), repeat=3) if np.abs(x).sum() == off_centre]
    return np.column_stack([np.ones(len(signs)), _ROOT3 * np.array(signs)])


_CENTRE = _nodes(0)
_AXES = _nodes(1)
_EDGES = _nodes(2)


@dataclass(frozen=True)
class FinitePrediction(Prediction):
    """One experiment of a `Problem` in dimension d with n = round(d/phi) pool rows: means, and how far draws scatter.

    Attributes
    ----------
    test_error, overlap, squared_norm
        Means over experiments.
    test_error_sd, overlap_sd, squared_norm_sd
        Standard deviations of a single experiment.
    keep_fraction
        Mean kept fraction.
    certificate
        That of the limit, and three estimates of what is left out. The first is the next order, as the largest square
        of an output's relative shift from the limit (of the overlap, relative to √squared_norm), or of the variance of
        ln sigma² if that is larger. It is large near the ridgeless peak. The second is (d - 2)^-2, the square of the
        order of each fluctuation over the anonymous coordinates: in few dimensions the shifts that are left may cancel.
        The third is the chance (1 - p)^n that no row is kept.
    d
        Dimension.
    """

    test_error_sd: Real
    overlap_sd: Real
    squared_norm_sd: Real
    d: int

    def band(self, level: float = 0.95) -> tuple[Real, Real]:
        """The interval that holds the test error of one experiment with this probability.

        Parameters
        ----------
        level
            The probability, in (0, 1).

        Returns
        -------
        low, high
            Mean ± z standard deviations, within [0, 1]. Shapes are those of `test_error`.

        Raises
        ------
        InputError
            For a level outside (0, 1).
        """
        require("level", level, 0 < level < 1, "lie in (0, 1): it is a probability")
        half = ndtri((1 + level) / 2) * self.test_error_sd
        return np.maximum(self.test_error - half, 0.0), np.minimum(self.test_error + half, 1.0)


def predict_finite(problem: Problem, d: int, *, tolerance: float | None = None) -> FinitePrediction:
    """Theorem 1 in dimension d, to first order in 1/d: (T5.11), and (T5.12) for the certificate.

    Raises InputError where d leaves the pool empty, at the ridgeless peak, and where nothing is kept; ConvergenceError
    where the moments miss `tolerance`.
    """
    require_whole(d=d)
    must = f"be above {SPECIAL_DIRECTIONS}: selector and truth span so many dimensions"
    require("d", d, d > SPECIAL_DIRECTIONS, must)
    shape = problem.shape
    n = np.round(d / np.asarray(problem.phi))
    require("phi", problem.phi, n >= 1, f"be below {2 * d} at d = {d}: the pool would be empty")

    def flat(x: Any) -> Array:
        return np.broadcast_to(np.asarray(x, float), shape).reshape(-1)

    rule = problem.rule.map(flat)
    rho = flat(problem.rho)
    phi = flat(d / n)
    lam = flat(problem.lam)
    limit = np.empty((5, rho.size))
    mean = np.empty((3, rho.size))
    deviation = np.empty((3, rho.size))
    log_variance = np.empty(rho.size)
    for start in range(0, rho.size, _BLOCK):
        cells = slice(start, start + _BLOCK)
        here = itemgetter(cells)
        rule_here = rule.map(here)
        moments, errors, fourth = rule_here.up_to_fourth(rho[cells])
        found = limits(rule_here, moments, errors, rho[cells], phi[cells], lam[cells], tolerance)
        limit[:, cells] = np.broadcast_arrays(rho[cells], *found)[1:]
        mean[:, cells], deviation[:, cells] = scatter(moments, fourth, rho[cells], phi[cells], lam[cells], d)
        log_variance[cells] = _log_variance(moments, fourth, phi[cells], lam[cells], d)
    exists = np.isfinite(limit[2].reshape(shape))
    require("phi", problem.phi, exists, "differ from the kept fraction at lam = 0: no mean there")
    shift = (mean - limit[:3]) / np.array([limit[0], np.sqrt(limit[2]), limit[2]])
    keep_fraction = limit[3]
    next_order = np.square(np.vstack([shift, log_variance])).max(0)
    certificate = limit[4] + next_order + (d - SPECIAL_DIRECTIONS) ** -2.0 + (1 - keep_fraction) ** flat(n)

    def shaped(values: Array) -> Real:
        return values.reshape(shape)[()]

    return FinitePrediction(
        test_error=shaped(mean[0]),
        overlap=shaped(mean[1]),
        squared_norm=shaped(mean[2]),
        keep_fraction=shaped(keep_fraction),
        certificate=shaped(certificate),
        test_error_sd=shaped(deviation[0]),
        overlap_sd=shaped(deviation[1]),
        squared_norm_sd=shaped(deviation[2]),
        d=d,
    )


def mean_error(moments: Moments, fourth: Fourth, rho: Real, psi: Real, lam: Real, m: Real) -> Real:
    """The mean test error at m kept rows, from moments and ridge per kept row; 1/2 at the ridgeless peak. As
    `predict_finite`, with fewer nodes.
    """
    along, off = _at_nodes(_turned(law_of_weights(moments, fourth, psi, lam, m), rho), _AXES)
    error = (np.arctan2(np.sqrt(off), along) / np.pi).mean(0)
    return np.where(np.isfinite(error), error, 0.5)


def scatter(
    moments: Moments,
    fourth: Fourth,
    rho: Float[np.ndarray, " cells"],
    phi: Float[np.ndarray, " cells"],
    lam: Float[np.ndarray, " cells"],
    d: Real,
) -> tuple[Float[np.ndarray, "3 cells"], Float[np.ndarray, "3 cells"]]:
    """Means and standard deviations over single experiments of test error, overlap and squared norm; nan where
    `predict_finite` would raise.

    Moments and lam are per pool row, and d need not be whole.
    """
    p = moments.p
    n = d / phi
    kept, fourth = _per_kept_row(moments, fourth)
    if np.all(p == 1):  # the number of kept rows is n
        terms = _turned(law_of_weights(kept, fourth, phi, lam, n), rho)
        parts = [_at_nodes(terms, np.concatenate([_CENTRE, _AXES, _EDGES]))]
        weights = np.repeat([1 / 3, 1 / 18, 1 / 36], [1, 6, 12])
    else:  # it is one more normal variable, and has the nodes 0 and ±√3 too
        count = p * n + _ROOT3 * np.reshape([0, -1, 1], (3, 1)) * np.sqrt(p * (1 - p) * n)
        count = np.maximum(count, 1.0)
        terms = _turned(law_of_weights(kept, fourth, d / count, lam * n / count, count), rho)
        typical = _Turned(*(x[:, 0] for x in terms))
        more_or_fewer = _Turned(*(x[:, 1:] for x in terms))
        parts = [_at_nodes(typical, np.concatenate([_CENTRE, _EDGES])), _at_nodes(more_or_fewer, _AXES)]
        weights = np.repeat([1 / 3, 1 / 36], [1, 24])
    along = np.concatenate([part[0].reshape(-1, rho.size) for part in parts])
    off = np.concatenate([part[1].reshape(-1, rho.size) for part in parts])
    mean = np.empty((3, rho.size))
    deviation = np.empty((3, rho.size))
    for i, values in enumerate((np.arctan2(np.sqrt(off), along) / np.pi, along, along * along + off)):
        mean[i] = weights @ values
        centred = values - mean[i]
        deviation[i] = np.sqrt(weights @ (centred * centred))
    return mean, deviation


def _log_variance(
    moments: Moments,
    fourth: Fourth,
    phi: Float[np.ndarray, " cells"],
    lam: Float[np.ndarray, " cells"],
    d: int,
) -> Float[np.ndarray, " cells"]:
    m = moments.p * d / phi
    law = law_of_weights(*_per_kept_row(moments, fourth), d / m, lam / moments.p, m)
    return law.log1**2 + law.log2**2 + law.log3**2


def _per_kept_row(moments: Moments, fourth: Fourth) -> tuple[Moments, Fourth]:
    p = moments.p
    return Moments(1.0, *(moment / p for moment in moments[1:])), Fourth(*(moment / p for moment in fourth))


class _Turned(NamedTuple):
    """The law of the weights in the coordinates of the truth."""

    along: Array  # component along w0
    across: Array  # component in the plane across w0
    log: Array  # ln sigma²


def _turned(law: WeightsLaw, rho: Any) -> _Turned:
    sine = np.sqrt((1 - rho) * (1 + rho))
    shape = np.broadcast_shapes(np.shape(law.mean_log), np.shape(rho))
    along = np.zeros((4, *shape))
    across = np.zeros((4, *shape))
    log = np.zeros((4, *shape))
    for i, (s, v) in enumerate([(law.mean_s, law.mean_v), (law.s1, law.v1), (0.0, law.v2)]):
        along[i] = rho * s + sine * v
        across[i] = sine * s - rho * v
    log[0] = law.mean_log
    log[1] = law.log1
    log[2] = law.log2
    log[3] = law.log3
    return _Turned(along, across, log)


def _at_nodes(terms: _Turned, nodes: Array) -> tuple[Array, Array]:
    shape = (len(nodes), *terms.along.shape[1:])
    along, across, log = ((nodes @ x.reshape(4, -1)).reshape(shape) for x in terms)
    return along, across * across + np.exp(log)
