"""How the learner's weights fluctuate at m kept rows, to first order in 1/m (ours).

Conventions are those of dp_theory.ridge.theorem1, but with psi = d/m, a ridge lam per kept row, and moments per kept
row (p = 1). Write a row as z = (s, v) = (x·w_s, x·v) and d − 2 anonymous coordinates, and let B be the matrix of these
for all rows. Given a, the weights on z, the other weights solve a ridge regression on the residuals ε = y − z·a. With
R = (BBᵀ/m + lam)^-1 and K = d(lam·R)/d lam, therefore (T5.1),

    (zᵀRz/m + 1) a = zᵀRy/m        sigma² = εᵀKε/m

B is Gaussian and independent of (y, z). So R and K are turned at random against (y, z), and to first order only three
things fluctuate:

    T = Σ uuᵀ/m with u = (y, s, v)        is Gaussian, with covariance E[uuuu] − TT
    forms in R and K, given their traces  have covariance v·(T_ac T_bd + T_ad T_bc)/m, where v = m tr R²/(tr R)² − 1
                                          for two forms in R, and alike for the others
    tr R and tr K                         are shifted by their bias for real matrices (Bai and Silverstein 2004), and
                                          because B has d − 2 columns only

The delta method then gives the law of (a, sigma²), (T5.6) to (T5.10). docs/theory/finite-dimension.md derives it.

In the code, `ell` is L: R is 1/L on average. Indices s, v and o stand for a_s, a_v and sigma² (outside the plane).
"""

from typing import Any, NamedTuple

import numpy as np

from dp_theory.ridge.theorem1 import fixed_point
from dp_theory.rules import Fourth, Moments

SPECIAL_DIRECTIONS = 2  # selector and truth span so many dimensions, which are no columns of B


class WeightsLaw(NamedTuple):
    """The law of (a_s, a_v, ln sigma²) to first order in 1/m: Gaussian, with sigma² > 0 log-normal.

    With three independent standard normals n1, n2, n3,

        a_s = mean_s + s1·n1
        a_v = mean_v + v1·n1 + v2·n2
        ln sigma² = mean_log + log1·n1 + log2·n2 + log3·n3
    """

    mean_s: Any
    mean_v: Any
    mean_log: Any
    s1: Any
    v1: Any
    v2: Any
    log1: Any
    log2: Any
    log3: Any


def law_of_weights(moments: Moments, fourth: Fourth, psi: Any, lam: Any, m: Any) -> WeightsLaw:
    """The law of (a_s, a_v, sigma²) at m kept rows. All arguments broadcast.

    nan at the ridgeless peak, lam = 0 and psi = 1.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        fluctuation = _fluctuation(moments, fourth, _traces(psi, lam))
        per_row = 1 / m
        c_ss = fluctuation.c_ss * per_row
        c_sv = fluctuation.c_sv * per_row
        c_vv = fluctuation.c_vv * per_row
        c_so = fluctuation.c_so * per_row
        c_vo = fluctuation.c_vo * per_row
        c_oo = fluctuation.c_oo * per_row
        grown = fluctuation.shift_o * per_row

        # a log-normal variable with the relative variance c_oo, and what its logarithm has of the covariances
        log_variance = np.log1p(c_oo)
        to_log = np.sqrt(log_variance / c_oo)
        mean_log = np.log1p(np.maximum(grown, 0.0)) + np.minimum(grown, 0.0) - log_variance / 2

        # Cholesky's factor
        s1 = np.sqrt(c_ss)
        v1 = c_sv / s1
        log1 = c_so * to_log / s1
        v2 = np.sqrt(c_vv - v1 * v1)
        log2 = (c_vo * to_log - v1 * log1) / v2
        log3 = np.sqrt(np.maximum(log_variance - log1 * log1 - log2 * log2, 0.0))
        return WeightsLaw(
            mean_s=fluctuation.a_s + fluctuation.shift_s * per_row,
            mean_v=fluctuation.a_v + fluctuation.shift_v * per_row,
            mean_log=np.log(fluctuation.outside) + mean_log,
            s1=s1,
            v1=v1,
            v2=v2,
            log1=log1,
            log2=log2,
            log3=log3,
        )


class _Traces(NamedTuple):
    """What R and K contribute: (T5.3) to (T5.5)."""

    ell: Any  # R is 1/ell on average
    kappa: Any  # tr K/m
    ell_shift: Any  # m times the relative shift of tr R, by its bias and by the columns that B lacks
    kappa_shift: Any  # the same of tr K
    rr: Any  # v of two forms in R
    rk: Any  # v of one form in R and one in K
    kk: Any  # v of two forms in K


def _traces(psi: Any, lam: Any) -> _Traces:
    """From the quadratic equation of dp_theory.ridge.theorem1, without cancellation. lam = 0 is the limit."""
    u, slope = fixed_point(1.0, psi, lam)
    ell = lam + u
    inverse = 1 / slope
    both = lam + 1 + psi + slope
    share = both * inverse
    kappa = 2 * psi / (slope * both)
    slope_by_psi = (lam - 1 + psi) * inverse
    log_kappa_by_columns = 1 / psi - slope_by_psi * inverse - (1 + slope_by_psi) / both
    return _Traces(
        ell=ell,
        kappa=kappa,
        ell_shift=(ell * kappa + SPECIAL_DIRECTIONS) * inverse,
        kappa_shift=(1 - lam * (2 * share - 1) * inverse) * inverse - SPECIAL_DIRECTIONS * log_kappa_by_columns,
        rr=kappa,
        rk=ell * share * inverse / 2 - 1,
        kk=(lam * (1 + psi) + (1 - psi) ** 2) * share * share / (4 * psi * slope) - 1,
    )


class _Residuals(NamedTuple):
    """Moments with the residual ε = y − s·a_s − v·a_v at the limit's a: e2_sv is E[ε² s v]."""

    e1_s: Any
    e1_v: Any
    e1_sss: Any
    e1_ssv: Any
    e1_svv: Any
    e1_vvv: Any
    e2: Any
    e2_ss: Any
    e2_sv: Any
    e2_vv: Any
    e3_s: Any
    e3_v: Any
    e4: Any


def _residuals(moments: Moments, fourth: Fourth, a_s: Any, a_v: Any, ell: Any) -> _Residuals:
    """Each moment follows from those with one factor ε less."""
    _, gamma, beta, beta_tilde = moments
    t4, yt3, yt2v, ytv2, yv3 = fourth
    e1_s = ell * a_s
    e1_v = ell * a_v
    e1_sss = yt3 - a_s * t4
    e1_ssv = yt2v - a_v * gamma
    e1_svv = ytv2 - a_s * gamma
    e1_vvv = yv3 - 3 * a_v
    e1_yss = gamma - a_s * yt3 - a_v * yt2v
    e1_ysv = -a_s * yt2v - a_v * ytv2
    e1_yvv = 1 - a_s * ytv2 - a_v * yv3
    e2_ss = e1_yss - a_s * e1_sss - a_v * e1_ssv
    e2_sv = e1_ysv - a_s * e1_ssv - a_v * e1_svv
    e2_vv = e1_yvv - a_s * e1_svv - a_v * e1_vvv
    e2_ys = e1_s - a_s * e1_yss - a_v * e1_ysv
    e2_yv = e1_v - a_s * e1_ysv - a_v * e1_yvv
    e3_s = e2_ys - a_s * e2_ss - a_v * e2_sv
    e3_v = e2_yv - a_s * e2_sv - a_v * e2_vv
    e2 = 1 - a_s * (beta_tilde + e1_s) - a_v * (beta + e1_v)
    e4 = e2 - a_s * (e2_ys + e3_s) - a_v * (e2_yv + e3_v)
    return _Residuals(
        e1_s=e1_s,
        e1_v=e1_v,
        e1_sss=e1_sss,
        e1_ssv=e1_ssv,
        e1_svv=e1_svv,
        e1_vvv=e1_vvv,
        e2=e2,
        e2_ss=e2_ss,
        e2_sv=e2_sv,
        e2_vv=e2_vv,
        e3_s=e3_s,
        e3_v=e3_v,
        e4=e4,
    )


class _InPlane(NamedTuple):
    """m times the shifts of (a_s, a_v) from the limit (T5.7), and m times their covariance (T5.6)."""

    shift_s: Any
    shift_v: Any
    c_ss: Any
    c_sv: Any
    c_vv: Any


def _in_plane(e: _Residuals, gamma: Any, traces: _Traces) -> _InPlane:
    """The delta method for a, which solves (zᵀRz/m + 1) a = zᵀRy/m."""
    rr = traces.rr
    soft_s = 1 / (traces.ell + gamma)  # inverse of the equations' matrix, which is diagonal on average
    soft_v = 1 / (traces.ell + 1)
    g_ss, g_vv = _right_sides(e, gamma, rr)
    g_sv = e.e2_sv + (rr - 1) * e.e1_s * e.e1_v
    share_s = gamma * soft_s
    held = traces.ell_shift - rr * (share_s + soft_v)
    return _InPlane(
        shift_s=(e.e1_s * (held - (rr - 1) * share_s) - e.e1_sss * soft_s - e.e1_svv * soft_v) * soft_s,
        shift_v=(e.e1_v * (held - (rr - 1) * soft_v) - e.e1_ssv * soft_s - e.e1_vvv * soft_v) * soft_v,
        c_ss=g_ss * soft_s * soft_s,
        c_sv=g_sv * soft_s * soft_v,
        c_vv=g_vv * soft_v * soft_v,
    )


def _right_sides(e: _Residuals, gamma: Any, v: Any) -> tuple[Any, Any]:
    """m times the covariance of two forms in (ε, s), and of two in (ε, v), at the limit's a."""
    from_t_s = e.e2_ss - e.e1_s * e.e1_s
    from_t_v = e.e2_vv - e.e1_v * e.e1_v
    size_s = gamma * e.e2 + e.e1_s * e.e1_s
    size_v = e.e2 + e.e1_v * e.e1_v
    return from_t_s + v * size_s, from_t_v + v * size_v


class _Fluctuation(NamedTuple):
    a_s: Any
    a_v: Any
    outside: Any  # sigma²
    shift_s: Any
    shift_v: Any
    shift_o: Any
    c_ss: Any
    c_sv: Any
    c_vv: Any
    c_so: Any
    c_vo: Any
    c_oo: Any


def _fluctuation(moments: Moments, fourth: Fourth, traces: _Traces) -> _Fluctuation:
    """The delta method for a, and then for sigma² = εᵀKε/m, which depends on a: (T5.8) to (T5.10)."""
    _, gamma, beta, beta_tilde = moments
    soft_s = 1 / (traces.ell + gamma)
    soft_v = 1 / (traces.ell + 1)
    a_s = beta_tilde / (traces.ell + gamma)
    a_v = beta / (traces.ell + 1)
    e = _residuals(moments, fourth, a_s, a_v, traces.ell)
    plane = _in_plane(e, gamma, traces)

    # sigma²/kappa is E[ε²] in the limit, and shifts with a and by the covariance of εᵀKz with a
    k_ss, k_vv = _right_sides(e, gamma, traces.rk)
    with_a = k_ss * soft_s + k_vv * soft_v
    from_variance = gamma * plane.c_ss + plane.c_vv
    grown = from_variance - 2 * (e.e1_s * plane.shift_s + e.e1_v * plane.shift_v + with_a)

    # it scatters with `fixed` at fixed a, and moves with a by −2(E[εs], E[εv])·a
    by_s = e.e1_s * plane.c_ss + e.e1_v * plane.c_sv
    by_v = e.e1_s * plane.c_sv + e.e1_v * plane.c_vv
    twice = (2 * traces.rk - 1) * e.e2
    c_so = (e.e3_s + twice * e.e1_s) * soft_s - 2 * by_s
    c_vo = (e.e3_v + twice * e.e1_v) * soft_v - 2 * by_v
    fixed = e.e4 + (2 * traces.kk - 1) * e.e2 * e.e2
    c_oo = fixed - 4 * (e.e1_s * (c_so + by_s) + e.e1_v * (c_vo + by_v))
    relative = 1 / e.e2
    return _Fluctuation(
        a_s=a_s,
        a_v=a_v,
        outside=traces.kappa * e.e2,
        shift_s=plane.shift_s,
        shift_v=plane.shift_v,
        shift_o=traces.kappa_shift + grown * relative,
        c_ss=plane.c_ss,
        c_sv=plane.c_sv,
        c_vv=plane.c_vv,
        c_so=c_so * relative,
        c_vo=c_vo * relative,
        c_oo=c_oo * relative * relative,
    )
