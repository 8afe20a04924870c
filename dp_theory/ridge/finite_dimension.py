"""Theorem 1 at finite dimension: means to first order in 1/d, and how far single experiments scatter (ours).

The law of the learner's weights at m kept rows (docs/theory/finite-dimension.md) and m ~ Bin(n, p) are averaged over by
the rule of McNamee and Stenger (1967), exact up to degree 5. In that law ridge and moments are per kept row (p = 1),
psi = d/m, ε = y − z·a with z = (x·w_s, x·v). R and K are those of (T5.1).
"""

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dp_theory.numerics.checks import ROUNDING, Array, Float, Real, require, require_whole, sine_of
from dp_theory.outcomes import Prediction
from dp_theory.ridge.theorem1 import blocks_with_moments, fixed_point, limits, outputs_of
from dp_theory.rules import Fourth, Moments

if TYPE_CHECKING:
    from dp_theory.ridge.problem import Problem

# Selector and truth span so many dimensions, which are no columns of B.
SPECIAL_DIRECTIONS = 2

# Products of four of u = (y, s, v), as a multiset: where each stands in the list that `_fourth_moments` makes
_PRODUCTS = ("yyyy", "syyy", "vyyy", "ssyy", "svyy", "vvyy", "sssy", "ssvy", "svvy", "vvvy")
_PRODUCTS += ("ssss", "sssv", "ssvv", "svvv", "vvvv")
_PLACES = np.reshape([_PRODUCTS.index("".join(sorted(four))) for four in product("ysv", repeat=4)], (3, 3, 3, 3))


def require_room(d: float) -> None:
    """More dimensions than selector and truth span."""
    require(
        "d", d, d > SPECIAL_DIRECTIONS, f"be above {SPECIAL_DIRECTIONS}: selector and truth span so many dimensions"
    )


def law_of_weights(moments: Moments, fourth: Fourth, psi: Any, lam: Any, m: Any) -> Array:
    """(a_s, a_v, ln sigma²) at m kept rows (3, 4, cells): a mean, and Cholesky's factor of three standard normals.

    sigma² is log-normal (T5.11); nan at the ridgeless peak.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.broadcast_shapes(*map(np.shape, (*moments, *fourth, psi, lam, m)))
        limit, shift, covariance = fluctuation(moments, fourth, spectral_traces(psi, lam), shape)
        a_s, a_v, log = limit
        more_s, more_v, grown = shift / m
        covariance = covariance / m
        relative = covariance[2, 2]
        log_variance = np.log1p(relative)
        to_log = np.sqrt(log_variance / relative)
        mean_log = np.log1p(np.maximum(grown, 0.0)) + np.minimum(grown, 0.0) - log_variance / 2
        s_s = np.sqrt(covariance[0, 0])
        v_s = covariance[1, 0] / s_s
        log_s = covariance[2, 0] * to_log / s_s
        v_v = np.sqrt(covariance[1, 1] - v_s**2)
        log_v = (covariance[2, 1] * to_log - v_s * log_s) / v_v
        log_log = np.sqrt(np.maximum(log_variance - log_s**2 - log_v**2, 0.0))
        rows = (a_s + more_s, s_s, 0.0, 0.0), (a_v + more_v, v_s, v_v, 0.0), (log + mean_log, log_s, log_v, log_log)
        return np.stack([_stacked(shape, *row) for row in rows])


def fluctuation(
    moments: Moments, fourth: Fourth, traces: "Traces", shape: tuple[int, ...]
) -> tuple[Array, Array, Array]:
    """The limit of (a_s, a_v, ln sigma²), and m times the shifts and covariances of a_s, a_v and sigma²/(its limit)."""
    _, gamma, beta, beta_tilde = moments
    ell, kappa, ell_shift, kappa_shift, rr, rk, kk = traces
    size = _stacked(shape, gamma, 1.0)  # A
    pull = _stacked(shape, beta_tilde, beta)
    k = 1 / (ell + size)
    a = pull * k
    e = ell * a
    q = 1 - (a * (pull + e)).sum(0)  # Q
    one = _without(_fourth_moments(shape, moments, fourth), a)  # E[ε uuu]
    two = _without(one, a)
    three = _without(two, a)
    four = _without(three, a)

    ee = e[:, None] * e
    of_sizes = size * q * np.eye(2).reshape(2, 2, *(1,) * len(shape))
    plane = k[:, None] * k * (two[1:, 1:] - ee + rr * (of_sizes + ee))  # (T5.6)
    held = ell_shift - rr * (size * k).sum(0) - (rr - 1) * size * k
    shift = k * (e * held - (np.einsum("ijj...->ij...", one[1:, 1:, 1:]) * k).sum(1))  # (T5.7)
    squares = np.einsum("ii...->i...", two[1:, 1:]) - e * e + rk * (size * q + e * e)
    scatter = size * np.einsum("ii...->i...", plane)
    grown = kappa_shift + (scatter - 2 * (e * shift + k * squares)).sum(0) / q  # (T5.8)
    moved = (plane * e).sum(1)
    cross = (k * (three[1:] + (2 * rk - 1) * q * e) - 2 * moved) / q  # (T5.9)
    variance = four / q**2 + 2 * kk - 1 - 4 / q * (e * (cross + moved / q)).sum(0)  # (T5.10)
    covariance = np.empty((3, 3, *shape))
    covariance[:2, :2] = plane
    covariance[2, :2] = covariance[:2, 2] = cross
    covariance[2, 2] = variance
    limit = np.concatenate([a, np.log(kappa * q)[None]])
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
    slope = np.where(slope > 0, slope, np.nan)  # without ridge it is 0 at the peak
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


# Cells evaluated at a time: their intermediate arrays stay in the processor's cache.
_BLOCK = 512
_ROOT3 = 3**0.5
# Deviations from the mean within which 95 % of normal numbers lie.
_95_PERCENT = 1.959963984540054
# Times d, where the first order is all that is left.
_NEARER = 1000


def _nodes(off_centre: int) -> Array:
    signs = [x for x in product((-1, 0, 1), repeat=3) if np.abs(x).sum() == off_centre]
    return np.column_stack([np.ones(len(signs)), _ROOT3 * np.array(signs)])


_CENTRE = _nodes(0)
_AXES = _nodes(1)
_EDGES = _nodes(2)
_ALL = np.concatenate([_CENTRE, _AXES, _EDGES])
_WEIGHTS = np.repeat([1 / 3, 1 / 18, 1 / 36], [1, 6, 12])


@dataclass(frozen=True)
class FinitePrediction(Prediction):
    """One experiment of a `Problem` in dimension d with n = round(d/phi) pool rows: means, and how far draws scatter.

    Attributes
    ----------
    test_error, overlap, squared_norm
        Means over experiments.
    test_error_sd, overlap_sd, squared_norm_sd
        Standard deviations of a single experiment.
    certificate, norm_certificate
        Estimates, not bounds, of the relative error of test_error, and of squared_norm and overlap (relative to
        √squared_norm): (T5.12). They are large near the ridgeless peak, and where hardly a row is kept.
    """

    test_error_sd: Real
    overlap_sd: Real
    squared_norm_sd: Real
    norm_certificate: Real
    d: int

    def band(self) -> tuple[Real, Real]:
        """The interval that holds the test error of 95 % of experiments.

        Returns
        -------
        low, high
            Mean ± 1.96 standard deviations, within [0, 1]. Shapes are those of `test_error`.
        """
        half = _95_PERCENT * self.test_error_sd
        return np.maximum(self.test_error - half, 0.0), np.minimum(self.test_error + half, 1.0)


def predict_finite(problem: "Problem", d: int, *, tolerance: float | None = None) -> FinitePrediction:
    """Theorem 1 in dimension d: (T5.11), and (T5.12) for the certificate."""
    require_whole(d=d)
    d = int(d)  # sums of a small type would overflow
    require_room(d)
    shape = problem.shape
    n = np.round(d / np.asarray(problem.phi, float))
    require("phi", problem.phi, n >= 1, f"be below {2 * d} at d = {d}: the pool would be empty")
    limit, mean, deviation = _first_order(problem, d / n, d, tolerance)
    exists = np.isfinite(limit[2].reshape(shape))
    require("phi", problem.phi, exists, "differ from the kept fraction at lam = 0: no mean there")
    keep_fraction, of_limit = limit[3:]
    scale = np.stack([mean[0], np.sqrt(mean[2]), mean[2]])
    _, nearer, _ = _first_order(problem, d / n, d * _NEARER, tolerance)
    linear = limit[:3] + _NEARER * (nearer - limit[:3])  # the plain expansion to first order in 1/d
    next_order = 2 * np.abs((mean - linear) / scale)
    certificate = of_limit + next_order[0]
    shift = (mean[2] - limit[2]) ** 2 / mean[2] / limit[2]
    norm_certificate = of_limit + next_order[1:].max(0) + shift
    kept, lam = (np.broadcast_to(each, shape).ravel() for each in (keep_fraction.reshape(shape) * n, problem.lam))
    mean[2][(lam == 0) & (np.abs(kept - d) <= 1)] = np.inf  # that of the inverse of a Wishart matrix
    outputs = (*mean, keep_fraction, certificate, *deviation, norm_certificate)
    return FinitePrediction(*(values.reshape(shape)[()] for values in outputs), d=d)


def _first_order(problem: "Problem", phi: Real, d: int, tolerance: float | None) -> tuple[Array, Array, Array]:
    outputs = np.empty((11, prod(problem.shape)))
    blocks = blocks_with_moments(problem, _BLOCK, "up_to_fourth", phi)
    for cells, rule, (moments, errors, fourth), rho, of_phi, lam in blocks:
        for place, field in enumerate(limits(rule, moments, errors, rho, of_phi, lam, tolerance)):
            outputs[place, cells] = field
        outputs[5:8, cells], outputs[8:, cells] = scatter(moments, fourth, rho, of_phi, lam, d)
    return outputs[:5], outputs[5:8], outputs[8:]


def mean_error(moments: Moments, fourth: Fourth, rho: Real, psi: Real, lam: Real, m: Real) -> Real:
    """The mean test error at m kept rows, 1/2 at the peak."""
    law = _turned(law_of_weights(moments, fourth, psi, lam, m), rho)
    error = np.tensordot(_WEIGHTS, _outputs(_at_nodes(law, _ALL))[0], 1)
    return np.where(np.isfinite(error), error, 0.5)


def scatter(
    moments: Moments,
    fourth: Fourth,
    rho: Float[Array, " cells"],
    phi: Float[Array, " cells"],
    lam: Float[Array, " cells"],
    d: Real,
) -> tuple[Float[Array, "3 cells"], Float[Array, "3 cells"]]:
    """Means and deviations of single experiments; nan at the peak. d need not be whole."""
    p = moments.p
    n = d / phi
    kept, fourth = moments.per_kept_row(), fourth.per_kept_row(p)
    if np.all(p == 1):  # the number of kept rows is n
        law = _turned(law_of_weights(kept, fourth, phi, lam, n), rho)
        values = _outputs(_at_nodes(law, _ALL))
        weights = _WEIGHTS[:, None]
    else:  # if there are any, it is one more normal variable, and has the nodes 0 and ±√3 too
        some = -np.expm1(n * np.log1p(-np.minimum(p, 1 - ROUNDING)))
        several = p * n / some
        deviation = np.sqrt(np.maximum(several * (1 - p + p * n - several), 0.0))
        count = np.maximum(several + _ROOT3 * np.reshape([0, -1, 1], (3, 1)) * deviation, 1.0)
        law = _turned(law_of_weights(kept, fourth, d / count, lam * n / count, count), rho)
        typical = _at_nodes(law[:, :, 0], np.concatenate([_CENTRE, _EDGES]))
        more_or_fewer = _at_nodes(law[:, :, 1:], _AXES).reshape(3, -1, rho.size)
        values = _outputs(np.concatenate([typical, more_or_fewer], axis=1))
        weights = np.repeat([1 / 3, 1 / 36], [1, 24])
        values = np.concatenate([values, np.broadcast_to([[[0.5]], [[0.0]], [[0.0]]], (3, 1, rho.size))], axis=1)
        weights = np.concatenate([weights[:, None] * some, [1 - some]])
    mean = (weights * values).sum(1)
    return mean, np.sqrt((weights * (values - mean[:, None]) ** 2).sum(1))


def _turned(law: Array, rho: Any) -> Array:
    s, v, log = law
    sine = sine_of(rho)
    return np.stack([rho * s + sine * v, sine * s - rho * v, log + np.zeros(np.shape(rho))])


def _at_nodes(law: Array, nodes: Array) -> Array:
    return (nodes @ law.reshape(3, 4, -1)).reshape(3, len(nodes), *law.shape[2:])


def _outputs(values: Array) -> Array:
    along, across, log = values
    return np.stack(outputs_of(along, across * across + np.exp(log)))
