"""How the learner's weights fluctuate at m kept rows, to first order in 1/m (ours): docs/theory/finite-dimension.md.

Ridge and moments are per kept row (p = 1), psi = d/m, ε = y − z·a with z = (x·w_s, x·v). R and K are those of (T5.1).
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np

from dp_theory.numerics.checks import Array
from dp_theory.ridge.theorem1 import fixed_point
from dp_theory.rules import Fourth, Moments

SPECIAL_DIRECTIONS = 2  # selector and truth span so many dimensions, which are no columns of B

# Products of four of u = (y, s, v), as a multiset: where each stands in the list that `_fourth_moments` makes
_PRODUCTS = ("yyyy", "syyy", "vyyy", "ssyy", "svyy", "vvyy", "sssy", "ssvy", "svvy", "vvvy")
_PRODUCTS += ("ssss", "sssv", "ssvv", "svvv", "vvvv")
_PLACES = np.reshape([_PRODUCTS.index("".join(sorted(four))) for four in product("ysv", repeat=4)], (3, 3, 3, 3))


class WeightsLaw(NamedTuple):
    """(a_s, a_v, ln sigma²) to first order: mean + factor·n with three standard normals n."""

    mean: Array  # (3, cells)
    factor: Array  # Cholesky's (3, 3, cells), lower triangular


def law_of_weights(moments: Moments, fourth: Fourth, psi: Any, lam: Any, m: Any) -> WeightsLaw:
    """The law at m kept rows. sigma² is log-normal (T5.11); nan at the ridgeless peak."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.broadcast_shapes(*map(np.shape, (*moments, *fourth, psi, lam, m)))
        limit, shift, covariance = fluctuation(moments, fourth, spectral_traces(psi, lam), shape)
        covariance = covariance / m
        relative = covariance[2, 2]
        grown = shift[2] / m
        log_variance = np.log1p(relative)
        to_log = np.sqrt(log_variance / relative)
        mean_log = np.log1p(np.maximum(grown, 0.0)) + np.minimum(grown, 0.0) - log_variance / 2
        factor = np.zeros_like(covariance)
        factor[0, 0] = np.sqrt(covariance[0, 0])
        factor[1, 0] = covariance[1, 0] / factor[0, 0]
        factor[2, 0] = covariance[2, 0] * to_log / factor[0, 0]
        factor[1, 1] = np.sqrt(covariance[1, 1] - factor[1, 0] ** 2)
        factor[2, 1] = (covariance[2, 1] * to_log - factor[1, 0] * factor[2, 0]) / factor[1, 1]
        factor[2, 2] = np.sqrt(np.maximum(log_variance - factor[2, 0] ** 2 - factor[2, 1] ** 2, 0.0))
        return WeightsLaw(limit + np.concatenate([shift[:2] / m, mean_log[None]]), factor)


def fluctuation(moments: Moments, fourth: Fourth, traces: Traces, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """The limit of (a_s, a_v, ln sigma²), and m times the shifts and covariances of a_s, a_v and sigma²/(its limit)."""
    _, gamma, beta, beta_tilde = moments
    size = _stacked(shape, gamma, 1.0)  # A
    pull = _stacked(shape, beta_tilde, beta)
    k = 1 / (traces.ell + size)
    a = pull * k
    e = traces.ell * a
    q = 1 - (a * (pull + e)).sum(0)  # Q
    one = _without(_fourth_moments(shape, moments, fourth), a)  # E[ε uuu]
    two = _without(one, a)
    three = _without(two, a)
    four = _without(three, a)

    ee = e[:, None] * e
    of_sizes = size * q * np.eye(2).reshape(2, 2, *(1,) * len(shape))
    plane = k[:, None] * k * (two[1:, 1:] - ee + traces.rr * (of_sizes + ee))  # (T5.6)
    held = traces.ell_shift - traces.rr * (size * k).sum(0) - (traces.rr - 1) * size * k
    shift = k * (e * held - (np.einsum("ijj...->ij...", one[1:, 1:, 1:]) * k).sum(1))  # (T5.7)
    squares = np.einsum("ii...->i...", two[1:, 1:]) - e * e + traces.rk * (size * q + e * e)
    scatter = size * np.einsum("ii...->i...", plane)
    grown = traces.kappa_shift + (scatter - 2 * (e * shift + k * squares)).sum(0) / q  # (T5.8)
    moved = (plane * e).sum(1)
    cross = (k * (three[1:] + (2 * traces.rk - 1) * q * e) - 2 * moved) / q  # (T5.9)
    variance = four / q**2 + 2 * traces.kk - 1 - 4 / q * (e * (cross + moved / q)).sum(0)  # (T5.10)
    covariance = np.empty((3, 3, *shape))
    covariance[:2, :2] = plane
    covariance[2, :2] = covariance[:2, 2] = cross
    covariance[2, 2] = variance
    limit = np.concatenate([a, np.log(traces.kappa * q)[None]])
    return limit, np.concatenate([shift, grown[None]]), covariance


def _stacked(shape: tuple[int, ...], *values: Any) -> Array:
    stacked = np.empty((len(values), *shape))
    for place, value in enumerate(values):
        stacked[place] = value
    return stacked


def _fourth_moments(shape: tuple[int, ...], moments: Moments, fourth: Fourth) -> Array:
    """E[uuuu] (3, 3, 3, 3, cells)."""
    _, gamma, beta, beta_tilde = moments
    t4, yt3, yt2v, ytv2, yv3 = fourth
    even = (1.0, beta_tilde, beta, gamma, 0.0, 1.0)  # y² = 1
    return _stacked(shape, *even, yt3, yt2v, ytv2, yv3, t4, 0.0, gamma, 0.0, 3.0)[_PLACES]


def _without(moments: Array, a: Array) -> Array:
    return moments[0] - a[0] * moments[1] - a[1] * moments[2]


class Traces(NamedTuple):
    """What R and K contribute: (T5.3) to (T5.5)."""

    ell: Any  # R is 1/ell on average
    kappa: Any  # tr K/m
    ell_shift: Any  # m times the relative shift of tr R, by its bias and by the columns that B lacks
    kappa_shift: Any  # the same of tr K
    rr: Any  # v of two forms in R
    rk: Any  # v of one form in R and one in K
    kk: Any  # v of two forms in K


def spectral_traces(psi: Any, lam: Any) -> Traces:
    """Without cancellation; lam = 0 is the limit."""
    u, slope = fixed_point(1.0, psi, lam)
    ell = lam + u
    inverse = 1 / slope
    both = lam + 1 + psi + slope
    share = both * inverse
    kappa = 2 * psi / (slope * both)
    slope_by_psi = (lam - 1 + psi) * inverse
    log_kappa_by_columns = 1 / psi - slope_by_psi * inverse - (1 + slope_by_psi) / both
    return Traces(
        ell=ell,
        kappa=kappa,
        ell_shift=(ell * kappa + SPECIAL_DIRECTIONS) * inverse,
        kappa_shift=(1 - lam * (2 * share - 1) * inverse) * inverse - SPECIAL_DIRECTIONS * log_kappa_by_columns,
        rr=kappa,
        rk=ell * share * inverse / 2 - 1,
        kk=(lam * (1 + psi) + (1 - psi) ** 2) * share * share / (4 * psi * slope) - 1,
    )
