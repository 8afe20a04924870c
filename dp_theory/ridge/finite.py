"""Theorem 1 at finite dimension: means to order 1/d, and how far single experiments scatter (ours).

Given their number m ~ Bin(n, p), the kept rows are independent draws from the selected distribution: what follows is
for such draws, with psi = d/m and a ridge per kept row, and is averaged over m at the end. Conventions of
dp_theory.ridge.theorem1. Split a row into z = (x·w_s, x·v) and d − 2 anonymous coordinates, B the matrix of these.
Given a, the weights on z, the others solve a ridge regression on the residuals ε = y − z·a, so that with R = (BBᵀ/m +
lam)^-1 and K = d(lam·R)/d lam

    (zᵀRz/m + 1) a = zᵀRy/m        σ² = εᵀKε/m

B is Gaussian and independent of (y, z): R and K are turned at random against (y, z). To first order in 1/m all that
fluctuates is therefore

    T = Σ uuᵀ/m, u = (y, z)               covariance E[uuuu] − TT, Gaussian
    forms in R and K, given their traces  covariance v (T_ac T_bd + T_ad T_bc)/m, v = m tr R²/(tr R)² − 1 and so on
    tr R and tr K                         their bias for real matrices alone (Bai and Silverstein 2004)

and the delta method gives the law of (a, σ²). docs/theory.md has the derivation.
"""

from dataclasses import dataclass
from itertools import product
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from dp_theory.numerics.checks import Array, Real, require, require_whole
from dp_theory.ridge.problem import Prediction, Problem
from dp_theory.ridge.theorem1 import fixed_point, limits
from dp_theory.rules import Fourth, Moments

_ROOT3 = 3**0.5
_NODES = [np.array([x for x in product((-1, 0, 1), repeat=3) if np.abs(x).sum() == far]) for far in range(3)]
# nodes (·, 4) of three standard normals, behind a 1
_CENTRE, _AXES, _EDGES = (np.column_stack([np.ones(len(x)), _ROOT3 * x]) for x in _NODES)
_ALL, _EVEN = np.concatenate([_CENTRE, _AXES, _EDGES]), np.concatenate([_CENTRE, _EDGES])
_BLOCK = 512  # cells evaluated at a time: their intermediate arrays stay in the processor's cache
SPECIAL = 2  # directions that labels or rules look at: no columns of B


@dataclass(frozen=True)
class FinitePrediction(Prediction):
    """One experiment of a `Problem` in dimension d, n = round(d/phi) pool rows: means, and how far draws scatter.

    test_error, overlap, squared_norm: means over experiments; ..._sd: standard deviations of one. keep_fraction: mean.
    certificate: that of the limit, and three estimates of what is left out: the next order, as the largest square of an
        output's relative shift from the limit (of the overlap: relative to √squared_norm), which is large near the
        ridgeless peak; (d - 2)^-2, the square of the order of each fluctuation over the anonymous coordinates, since in
        few dimensions the shifts that are left may cancel; and the chance (1 - p)^n that no row is kept.
    """

    test_error_sd: Real
    overlap_sd: Real
    squared_norm_sd: Real
    d: int

    def band(self, level: float = 0.95) -> tuple[Real, Real]:
        """Where the test error of one experiment lies with this probability: mean ± z·sd, within [0, 1]."""
        require("level", level, 0 < level < 1, "lie in (0, 1): it is a probability")
        half = ndtri((1 + level) / 2) * self.test_error_sd
        return np.maximum(self.test_error - half, 0.0), np.minimum(self.test_error + half, 1.0)


def predict_finite(problem: Problem, d: int, *, tolerance: float | None = None) -> FinitePrediction:
    """Theorem 1 in dimension d, to first order in 1/d; everything else as in `dp_theory.predict`.

    Raises InputError where d leaves the pool empty, and at the ridgeless peak, where the mean does not exist.
    """
    require_whole(d=d)
    require("d", d, d > SPECIAL, f"be above {SPECIAL}: selector and truth span so many dimensions")
    shape = problem.shape
    n = np.round(d / np.asarray(problem.phi))
    require("phi", problem.phi, n >= 1, f"be below {2 * d} at d = {d}: the pool would be empty")

    def flat(x: Any) -> Array:
        return np.broadcast_to(np.asarray(x, float), shape).reshape(-1)

    rule, *at = problem.rule.map(flat), flat(problem.rho), flat(d / n), flat(problem.lam)
    limit, mean, deviation = (np.empty((rows, at[0].size)) for rows in (5, 3, 3))
    for start in range(0, at[0].size, _BLOCK):
        cells = slice(start, start + _BLOCK)
        of_block, (rho, phi, lam) = rule.map(itemgetter(cells)), (x[cells] for x in at)
        moments, errors, fourth = of_block.up_to_fourth(rho)
        limit[:, cells] = np.broadcast_arrays(rho, *limits(of_block, moments, errors, rho, phi, lam, tolerance))[1:]
        mean[:, cells], deviation[:, cells] = scatter(moments, fourth, rho, phi, lam, d)
    exists = np.isfinite(limit[2].reshape(shape))
    require("phi", problem.phi, exists, "differ from the kept fraction at lam = 0: no mean there")
    shift = (mean - limit[:3]) / np.array([limit[0], np.sqrt(limit[2]), limit[2]])
    certificate = limit[4] + np.square(shift).max(0) + (d - SPECIAL) ** -2.0 + (1 - limit[3]) ** flat(n)
    error, overlap, squared_norm, keep_fraction, certificate, error_sd, overlap_sd, squared_norm_sd = (
        x.reshape(shape)[()] for x in (*mean, limit[3], certificate, *deviation)
    )
    return FinitePrediction(
        test_error=error,
        overlap=overlap,
        squared_norm=squared_norm,
        keep_fraction=keep_fraction,
        certificate=certificate,
        test_error_sd=error_sd,
        overlap_sd=overlap_sd,
        squared_norm_sd=squared_norm_sd,
        d=d,
    )


class _Traces(NamedTuple):
    """What R and K bring."""

    ell: Any  # R is 1/ell on average
    kappa: Any  # tr K/m
    ell_shift: Any  # m times the relative shift of tr R by its bias and by the columns that B lacks
    kappa_shift: Any  # the same of tr K
    rr: Any  # v of two forms in R, of one in R and one in K, of two in K
    rk: Any
    kk: Any


def mean_error(moments: Moments, fourth: Fourth, rho: Real, psi: Real, lam: Real, m: Real) -> Any:
    """The mean test error at m kept rows, psi = d/m and a ridge per kept row, from moments per kept row.

    Everything broadcasts. The same as `predict_finite` to first order, by fewer nodes; 1/2 at the ridgeless peak.
    """
    law = _law(moments, fourth, psi, lam, m)
    along, off = _at_nodes(*_turned(law, rho), _AXES)
    error = (np.arctan2(np.sqrt(off), along) / np.pi).mean(0)
    return np.where(np.isfinite(error), error, 0.5)


def scatter(moments: Moments, fourth: Fourth, rho: Array, phi: Array, lam: Array, d: Real) -> tuple[Array, Array]:
    """Means and standard deviations (3, cells) of test error, overlap and squared norm over single experiments.

    From moments per pool row; arguments (cells,), d a number or (cells,), not necessarily whole. nan where
    `predict_finite` would raise.

    The expectation over m and (a, σ²) is by the rule of McNamee and Stenger (1967) for standard normals, exact up to
    degree 5; its nodes have at most two coordinates that are not 0.
    """
    p, n = moments.p, d / phi
    kept = Moments(1.0, *(moment / p for moment in moments[1:]))
    fourth = Fourth(*(moment / p for moment in fourth))
    if np.all(p == 1):
        parts = [(*_turned(_law(kept, fourth, phi, lam, n), rho), _ALL)]
        weights = np.repeat([1 / 3, 1 / 18, 1 / 36], [1, 6, 12])
    else:
        count = p * n + _ROOT3 * np.reshape([0, -1, 1], (3, 1)) * np.sqrt(p * (1 - p) * n)
        count = np.maximum(count, 1.0)
        terms = _turned(_law(kept, fourth, d / count, lam * n / count, count), rho)
        typical, others = ([x[:, rows] for x in terms] for rows in (0, slice(1, 3)))
        parts = [(*typical, _EVEN), (*others, _AXES)]
        weights = np.repeat([1 / 3, 1 / 36], [1, 24])
    nodes = [[x.reshape(-1, rho.size) for x in _at_nodes(*part)] for part in parts]
    along, off = (np.concatenate(x) for x in zip(*nodes, strict=True))
    mean, deviation = np.empty((2, 3, rho.size))
    for i, values in enumerate((np.arctan2(np.sqrt(off), along) / np.pi, along, along * along + off)):
        mean[i] = weights @ values
        values = values - mean[i]
        deviation[i] = np.sqrt(weights @ (values * values))
    return mean, deviation


def _law(moments: Moments, fourth: Fourth, psi: Any, lam: Any, m: Any) -> tuple[Any, ...]:
    """The law of (a_s, a_v, σ²) to first order in 1/m: means of a_s, a_v and ln σ², Cholesky's factor by rows.

    Gaussian, but σ² > 0 log-normal. nan at the ridgeless peak, lam = 0 and psi = 1.
    """
    _, gamma, beta, beta_tilde = moments
    with np.errstate(divide="ignore", invalid="ignore"):
        traces = _traces(psi, lam)
        a = (beta_tilde / (traces.ell + gamma), beta / (traces.ell + 1))
        outside, moved, covariance = _plane(a, moments, fourth, traces)
        per_row = 1 / m
        (moved_s, moved_v, grown), (c_ss, c_sv, c_vv, c_so, c_vo, c_oo) = (
            [entry * per_row for entry in entries] for entries in (moved, covariance)
        )
        log_variance = np.log1p(c_oo)  # of a log-normal variable with this relative variance
        to_log = np.sqrt(log_variance / c_oo)
        f_ss = np.sqrt(c_ss)
        f_vs, f_ls = c_sv / f_ss, c_so * to_log / f_ss
        f_vv = np.sqrt(c_vv - f_vs * f_vs)
        f_lv = (c_vo * to_log - f_vs * f_ls) / f_vv
        f_ll = np.sqrt(np.maximum(log_variance - f_ls * f_ls - f_lv * f_lv, 0.0))
        mean_log = np.log1p(np.maximum(grown, 0.0)) + np.minimum(grown, 0.0) - log_variance / 2
        return a[0] + moved_s, a[1] + moved_v, np.log(outside) + mean_log, f_ss, f_vs, f_vv, f_ls, f_lv, f_ll


def _turned(law: tuple[Any, ...], rho: Any) -> tuple[Array, Array, Array]:
    """The components along w0 and across, and ln σ²: what each is at 0, and by how much a normal moves it (4, ...)."""
    mean_s, mean_v, mean_log, f_ss, f_vs, f_vv, f_ls, f_lv, f_ll = law
    sine = np.sqrt((1 - rho) * (1 + rho))
    along, across, log = np.zeros((3, 4, *np.broadcast_shapes(np.shape(mean_log), np.shape(rho))))
    for i, (s, v) in enumerate(((mean_s, mean_v), (f_ss, f_vs), (0.0, f_vv))):
        along[i], across[i] = rho * s + sine * v, sine * s - rho * v
    log[0], log[1], log[2], log[3] = mean_log, f_ls, f_lv, f_ll
    return along, across, log


def _at_nodes(along: Array, across: Array, log: Array, nodes: Array) -> tuple[Array, Array]:
    """The component along w0 and the squared norm off it (nodes, ...) at nodes (nodes, 4) of what `_turned` returns."""
    shape = (len(nodes), *along.shape[1:])
    along, across, log = ((nodes @ terms.reshape(4, -1)).reshape(shape) for terms in (along, across, log))
    return along, across * across + np.exp(log)


def _traces(psi: Any, lam: Any) -> _Traces:
    """From the quadratic equation of dp_theory.ridge.theorem1, without cancellation; lam = 0 is the limit."""
    u, slope = fixed_point(1.0, psi, lam)
    ell, inverse = lam + u, 1 / slope
    both = lam + 1 + psi + slope
    share = both * inverse
    kappa = 2 * psi / (slope * both)
    by_psi = (lam - 1 + psi) * inverse  # derivative of slope
    by_columns = 1 / psi - by_psi * inverse - (1 + by_psi) / both  # of ln kappa
    return _Traces(
        ell=ell,
        kappa=kappa,
        ell_shift=(ell * kappa + SPECIAL) * inverse,
        kappa_shift=(1 - lam * (2 * share - 1) * inverse) * inverse - SPECIAL * by_columns,
        rr=kappa,
        rk=ell * share * inverse / 2 - 1,
        kk=(lam * (1 + psi) + (1 - psi) ** 2) * share * share / (4 * psi * slope) - 1,
    )


def _plane(a: Any, moments: Moments, fourth: Fourth, traces: _Traces) -> tuple[Any, tuple, tuple]:
    """σ², and m times the shift and the covariance of (a_s, a_v, σ² over its limit), the lower triangle by rows.

    Moments with ε = y − z·a follow one factor ε at a time; y² = 1, T_sv = 0, and means of odd powers of v alone are 0.
    """
    _, gamma, beta, beta_tilde = moments
    t4, yt3, yt2v, ytv2, yv3 = fourth
    s, v = a
    rr, rk = traces.rr, traces.rk
    pull_s, pull_v = traces.ell * s, traces.ell * v  # E[εs], E[εv]
    e_sss, e_ssv, e_svv, e_vvv = yt3 - s * t4, yt2v - v * gamma, ytv2 - s * gamma, yv3 - 3 * v  # E[εs³], …
    y_ss, y_sv, y_vv = gamma - s * yt3 - v * yt2v, -s * yt2v - v * ytv2, 1 - s * ytv2 - v * yv3  # E[εys²], …
    ee_ss, ee_sv, ee_vv = y_ss - s * e_sss - v * e_ssv, y_sv - s * e_ssv - v * e_svv, y_vv - s * e_svv - v * e_vvv
    ey_s, ey_v = pull_s - s * y_ss - v * y_sv, pull_v - s * y_sv - v * y_vv  # E[ε²ys], E[ε²yv]
    eee_s, eee_v = ey_s - s * ee_ss - v * ee_sv, ey_v - s * ee_sv - v * ee_vv  # E[ε³s], E[ε³v]
    q = 1 - s * (beta_tilde + pull_s) - v * (beta + pull_v)  # E[ε²]
    eeee = q - s * (ey_s + eee_s) - v * (ey_v + eee_v)  # E[ε⁴]

    # the equations' right sides at the limit's a, and σ²/kappa there: covariances
    met_ss, met_vv = ee_ss - pull_s * pull_s, ee_vv - pull_v * pull_v
    size_s, size_v = gamma * q + pull_s * pull_s, q + pull_v * pull_v  # T_ss T_εε + T_sε²
    g_ss, g_vv, g_sv = met_ss + rr * size_s, met_vv + rr * size_v, ee_sv + (rr - 1) * pull_s * pull_v
    twice = (2 * rk - 1) * q
    soft_s, soft_v = 1 / (traces.ell + gamma), 1 / (traces.ell + 1)

    c_ss, c_sv, c_vv = g_ss * soft_s * soft_s, g_sv * soft_s * soft_v, g_vv * soft_v * soft_v
    share_s = gamma * soft_s
    held = traces.ell_shift - rr * (share_s + soft_v)
    moved_s = (pull_s * (held - (rr - 1) * share_s) - e_sss * soft_s - e_svv * soft_v) * soft_s
    moved_v = (pull_v * (held - (rr - 1) * soft_v) - e_ssv * soft_s - e_vvv * soft_v) * soft_v
    both = (met_ss + rk * size_s) * soft_s + (met_vv + rk * size_v) * soft_v  # of εᵀKz with a
    grown = gamma * c_ss + c_vv - 2 * (pull_s * moved_s + pull_v * moved_v + both)
    by_s, by_v = pull_s * c_ss + pull_v * c_sv, pull_s * c_sv + pull_v * c_vv
    c_so = (eee_s + twice * pull_s) * soft_s - 2 * by_s
    c_vo = (eee_v + twice * pull_v) * soft_v - 2 * by_v
    # σ²/kappa at fixed a scatters with `fixed`, and moves with a by −2(pull·a)
    fixed = eeee + (2 * traces.kk - 1) * q * q
    c_oo = fixed - 4 * (pull_s * (c_so + by_s) + pull_v * (c_vo + by_v))
    unit = 1 / q
    return (
        traces.kappa * q,
        (moved_s, moved_v, traces.kappa_shift + grown * unit),
        (c_ss, c_sv, c_vv, c_so * unit, c_vo * unit, c_oo * unit * unit),
    )
