"""Theorem 1 at finite dimension: means to order 1/d, and how far single experiments scatter (ours).

Given their number m ~ Bin(n, p), the kept rows are independent draws from the selected distribution: what follows is
for such draws, with psi = d/m and a ridge per kept row, and is averaged over m at the end. Conventions of
dp_theory.ridge. Split a row into z = (x·w_s, x·v) and d − 2 anonymous coordinates, B the matrix of these. Given a, the
weights on z, the others solve a ridge regression on the residuals ε = y − z·a, so that with R = (BBᵀ/m + lam)^-1 and
K = d(lam·R)/d lam

    (zᵀRz/m + 1) a = zᵀRy/m        σ² = εᵀKε/m

B is Gaussian and independent of (y, z): R and K are turned at random against (y, z). To first order in 1/m all that
fluctuates is therefore

    T = Σ uuᵀ/m, u = (y, z)               covariance E[uuuu] − TT, Gaussian
    forms in R and K, given their traces  covariance v (T_ac T_bd + T_ad T_bc)/m, v = m tr R²/(tr R)² − 1 and so on
    tr R and tr K                         their bias for real matrices alone (Bai and Silverstein 2004)

and the delta method gives the law of (a, σ²). docs/theory.md has the derivation.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from dp_theory.checks import Array, Real, require, require_whole
from dp_theory.problem import Prediction, Problem
from dp_theory.ridge import fixed_point, predict_theorem1
from dp_theory.rules import Fourth, Moments

_ROOT3 = 3**0.5
_AXES = _ROOT3 * np.hstack([np.eye(3), -np.eye(3)])  # nodes (3, ·) of three standard normals
_EDGES = _ROOT3 * np.array([x for x in product((-1, 0, 1), repeat=3) if np.abs(x).sum() == 2]).T
_CENTRE = np.zeros((3, 1))
_BLOCK = 512  # cells evaluated at a time: their intermediate arrays stay in the processor's cache
SPECIAL = 2  # directions that labels or rules look at: no columns of B


@dataclass(frozen=True)
class FinitePrediction(Prediction):
    """One experiment of a `Problem` in dimension d, n = round(d/phi) pool rows: means, and how far draws scatter.

    test_error, overlap, squared_norm: means over experiments; ..._sd: standard deviations of one. keep_fraction: mean.
    certificate: that of the limit, and the square of the relative shift from it, which estimates the order that is
        left out: large near the ridgeless peak.
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
    shape = problem.shape
    n = np.round(d / np.asarray(problem.phi))
    require("phi", problem.phi, n >= 1, f"be below {2 * d} at d = {d}: the pool would be empty")
    require("d", d, d > SPECIAL, f"be above {SPECIAL}: selector and truth span so many dimensions")
    exact = replace(problem, phi=d / n)
    limit = predict_theorem1(exact, tolerance=tolerance)
    require(
        "phi", problem.phi, np.isfinite(limit.squared_norm), "differ from the kept fraction at lam = 0: no mean there"
    )
    rule = exact.rule.map(lambda value: np.broadcast_to(np.asarray(value, float), shape).ravel())
    rho, phi, lam = (np.broadcast_to(np.asarray(x, float), shape).ravel() for x in (exact.rho, exact.phi, exact.lam))
    mean, deviation = np.empty((2, 3, rho.size))
    for start in range(0, rho.size, _BLOCK):
        cells = slice(start, start + _BLOCK)
        of_block = rule.map(lambda value, cells=cells: value[cells])
        moments, fourth = of_block.moments(rho[cells]), of_block.fourth_moments(rho[cells])
        mean[:, cells], deviation[:, cells] = scatter(moments, fourth, rho[cells], phi[cells], lam[cells], d)
    (error, overlap, squared_norm), deviations = (
        [x.reshape(shape)[()] for x in values] for values in (mean, deviation)
    )
    return FinitePrediction(
        test_error=error,
        overlap=overlap,
        squared_norm=squared_norm,
        keep_fraction=limit.keep_fraction,
        certificate=limit.certificate + (error / limit.test_error - 1) ** 2,
        test_error_sd=deviations[0],
        overlap_sd=deviations[1],
        squared_norm_sd=deviations[2],
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
    error = _outputs(_law(moments, fourth, psi, lam, m), rho, _AXES)[0].mean(0)
    return np.where(np.isfinite(error), error, 0.5)


def scatter(moments: Moments, fourth: Fourth, rho: Array, phi: Array, lam: Array, d: Real) -> tuple[Array, Array]:
    """Means and standard deviations (3, cells) of test error, overlap and squared norm over single experiments.

    From moments per pool row; arguments (cells,), d a number or (cells,), not necessarily whole. nan where
    `predict_finite` would raise.

    The expectation over m and (a, σ²) is by the rule of McNamee and Stenger (1967) for standard normals, exact up to
    degree 5; its nodes have at most two coordinates that are not 0.
    """
    p, n = moments.p, d / phi
    kept = Moments(p / p, *(moment / p for moment in moments[1:]))
    fourth = Fourth(*(moment / p for moment in fourth))
    if np.all(p == 1):
        law = _law(kept, fourth, phi, lam, n)
        parts = ((law, _CENTRE, 1 / 3), (law, _AXES, 1 / 18), (law, _EDGES, 1 / 36))
    else:
        count = p * n + _ROOT3 * np.reshape([-1, 0, 1], (3, 1)) * np.sqrt(p * (1 - p) * n)
        count = np.maximum(count, 1.0)
        few, law, many = zip(*_law(kept, fourth, d / count, lam * n / count, count), strict=True)
        parts = ((law, _CENTRE, 1 / 3), (law, _EDGES, 1 / 36), (few, _AXES, 1 / 36), (many, _AXES, 1 / 36))
    values = [_outputs(law, rho, nodes) for law, nodes, _ in parts]
    weights = np.concatenate([np.full(nodes.shape[1], weight) for _, nodes, weight in parts])
    values = np.concatenate(values, axis=1)
    mean = np.einsum("k,ikc->ic", weights, values)
    return mean, np.sqrt(np.einsum("k,ikc->ic", weights, (values - mean[:, None]) ** 2))


def _law(moments: Moments, fourth: Fourth, psi: Any, lam: Any, m: Any) -> tuple[Any, ...]:
    """The law of (a_s, a_v, σ²) to first order in 1/m: means of a_s, a_v and ln σ², Cholesky's factor by rows.

    Gaussian, but σ² > 0 log-normal. nan at the ridgeless peak, lam = 0 and psi = 1.
    """
    _, gamma, beta, beta_tilde = moments
    with np.errstate(divide="ignore", invalid="ignore"):
        traces = _traces(psi, lam)
        a = (beta_tilde / (traces.ell + gamma), beta / (traces.ell + 1))
        outside, (moved_s, moved_v, grown), covariance = _plane(a, moments, fourth, traces)
        c_ss, c_sv, c_vv, c_so, c_vo, c_oo = (entry / m for entry in covariance)
        relative, grown = c_oo / outside**2, grown / outside / m
        log_variance = np.log1p(relative)  # of a log-normal variable with this relative variance
        to_log = np.sqrt(log_variance / relative) / outside
        f_ss = np.sqrt(c_ss)
        f_vs, f_ls = c_sv / f_ss, c_so * to_log / f_ss
        f_vv = np.sqrt(c_vv - f_vs**2)
        f_lv = (c_vo * to_log - f_vs * f_ls) / f_vv
        f_ll = np.sqrt(np.maximum(log_variance - f_ls**2 - f_lv**2, 0.0))
        mean_log = np.where(grown > 0, np.log1p(np.maximum(grown, 0.0)), grown) - log_variance / 2
        return a[0] + moved_s / m, a[1] + moved_v / m, np.log(outside) + mean_log, f_ss, f_vs, f_vv, f_ls, f_lv, f_ll


def _outputs(law: tuple[Any, ...], rho: Any, nodes: Array) -> Array:
    """Test error, overlap and squared norm (3, nodes, ...) at nodes (3, nodes) of the law."""
    mean_s, mean_v, mean_log, f_ss, f_vs, f_vv, f_ls, f_lv, f_ll = law
    x, y, z = nodes.reshape(3, -1, *(1 for _ in np.shape(mean_log)))
    s, v = mean_s + f_ss * x, mean_v + f_vs * x + f_vv * y
    sine = np.sqrt((1 - rho) * (1 + rho))
    along, across = rho * s + sine * v, sine * s - rho * v
    off = across**2 + np.exp(mean_log + f_ls * x + f_lv * y + f_ll * z)
    return np.stack([np.arctan2(np.sqrt(off), along) / np.pi, along, along**2 + off])


def _traces(psi: Any, lam: Any) -> _Traces:
    """From the quadratic equation of dp_theory.ridge, without cancellation; lam = 0 is the limit."""
    u, slope = fixed_point(1.0, psi, lam)
    ell = lam + u
    both = lam + 1 + psi + slope
    kappa = 2 * psi / (slope * both)
    by_psi = (lam - 1 + psi) / slope  # derivative of slope
    by_columns = 1 / psi - by_psi / slope - (1 + by_psi) / both  # of ln kappa
    return _Traces(
        ell=ell,
        kappa=kappa,
        ell_shift=(ell * kappa + SPECIAL) / slope,
        kappa_shift=(1 - lam * (2 * both - slope) / slope**2) / slope - SPECIAL * by_columns,
        rr=kappa,
        rk=ell * both / (2 * slope**2) - 1,
        kk=(lam * (1 + psi) + (1 - psi) ** 2) * both**2 / (4 * psi * slope**3) - 1,
    )


def _plane(a: Any, moments: Moments, fourth: Fourth, traces: _Traces) -> tuple[Any, tuple, tuple]:
    """σ², and m times the shift and the covariance of (a_s, a_v, σ²); of the latter the lower triangle by rows."""
    _, gamma, beta, beta_tilde = moments
    t4, yt3, yt2v, ytv2, yv3 = fourth
    s, v = a
    kappa, rr, rk, kk = traces.kappa, traces.rr, traces.rk, traces.kk
    pull = (traces.ell * s, traces.ell * v)  # T_sε, T_vε
    size = (gamma, 1.0)  # T_ss, T_vv; T_sv = 0
    stiff = (traces.ell + gamma, traces.ell + 1)
    q = 1 - s * (beta_tilde + pull[0]) - v * (beta + pull[1])  # T_εε
    # E[ε²·] of s², v², sv; E[ε³·] of s, v; E[ε⁴]; E[ε·] of i j², i and j in (s, v)
    squares = (gamma - 2 * (s * yt3 + v * yt2v) + s**2 * t4 + v**2 * gamma,
               1 - 2 * (s * ytv2 + v * yv3) + s**2 * gamma + 3 * v**2,
               2 * s * v * gamma - 2 * (s * yt2v + v * ytv2))  # fmt: skip
    cubes = (beta_tilde - 3 * s * gamma + 3 * (s**2 * yt3 + 2 * s * v * yt2v + v**2 * ytv2)
             - s * (s**2 * t4 + 3 * v**2 * gamma),
             beta - 3 * v + 3 * (s**2 * yt2v + 2 * s * v * ytv2 + v**2 * yv3)
             - 3 * v * (s**2 * gamma + v**2))  # fmt: skip
    fourth_power = (1 - 4 * (s * beta_tilde + v * beta) + 6 * (s**2 * gamma + v**2)
                    - 4 * (s**3 * yt3 + 3 * s * v * (s * yt2v + v * ytv2) + v**3 * yv3)
                    + s**4 * t4 + 3 * v**2 * (2 * s**2 * gamma + v**2))  # fmt: skip
    mixed = ((yt3 - s * t4, ytv2 - s * gamma), (yt2v - v * gamma, yv3 - 3 * v))

    # the equations' right sides at the limit's a, and σ²/kappa there: covariances
    g = [squares[i] + (rr - 1) * pull[i] ** 2 + rr * size[i] * q for i in (0, 1)]
    g_sv = squares[2] + (rr - 1) * pull[0] * pull[1]
    w = fourth_power + (2 * kk - 1) * q**2
    w_g = [cubes[i] + (2 * rk - 1) * q * pull[i] for i in (0, 1)]

    var = [g[i] / stiff[i] ** 2 for i in (0, 1)]
    moved = [  # a, by the shift of tr R, and by the correlation of the equations' left and right sides
        (pull[i] * (traces.ell_shift - (rr - 1) * size[i] / stiff[i])
         - sum((mixed[i][j] + rr * pull[i] * size[j]) / stiff[j] for j in (0, 1))) / stiff[i]
        for i in (0, 1)
    ]  # fmt: skip
    relative = q * traces.kappa_shift
    for i in (0, 1):
        met = squares[i] + (rk - 1) * pull[i] ** 2 + rk * size[i] * q  # covariance of εᵀKz_i with a_i, times stiff
        relative = relative + size[i] * var[i] - 2 * pull[i] * moved[i] - 2 * met / stiff[i]
    c_sv = g_sv / (stiff[0] * stiff[1])
    c_s, c_v = (w_g[i] / stiff[i] for i in (0, 1))  # with σ²/kappa at fixed a
    s_out = kappa * (c_s - 2 * (pull[0] * var[0] + pull[1] * c_sv))
    v_out = kappa * (c_v - 2 * (pull[0] * c_sv + pull[1] * var[1]))
    by_a = pull[0] * (pull[0] * var[0] + 2 * pull[1] * c_sv) + pull[1] ** 2 * var[1]
    out = kappa**2 * (w - 4 * (pull[0] * c_s + pull[1] * c_v) + 4 * by_a)
    return kappa * q, (*moved, kappa * relative), (var[0], c_sv, var[1], s_out, v_out, out)
