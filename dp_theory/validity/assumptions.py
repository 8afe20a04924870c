"""A test for each assumption of the Gaussian theory: a statistic, and the probability of one as large if it holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr
from scipy.stats import anderson, chi2, norm

from dp_theory.numerics.checks import Array
from dp_theory.rules import Rule
from dp_theory.validity.view import View

ANGLES, BINS = 8, 21  # directions of the plane that are tested; groups of rows by their margin, one around 0
LARGEST_SQUARE = 13.0  # of A*, beyond which the formula for its p-value ends: at exp(-69)


class Test(NamedTuple):
    """statistic: its name and value, for people. p_value: an upper bound, over all that was tried."""

    statistic: str
    p_value: float


def normal_selector(view: View) -> Test:
    """t is normal: Anderson and Darling's A*² with mean and variance fitted."""
    square = anderson_darling(view.plane[0])
    return Test(f"A*² = {square:.3g}", anderson_p(square))


def normal_truth(view: View) -> Test:
    """g, left out one by one, is normal: as `normal_selector`."""
    square = anderson_darling(view.score)
    return Test(f"A*² = {square:.3g}", anderson_p(square))


def normal_plane(view: View) -> Test:
    """(t, g) are jointly normal: so is every combination (Cramér and Wold); the largest A*² of ANGLES, Bonferroni."""
    if len(view.plane) == 1:
        return normal_selector(view)
    angles = np.pi * (np.arange(ANGLES) + 0.5) / ANGLES
    square = max(anderson_darling(np.cos(angle) * view.plane[0] + np.sin(angle) * view.score) for angle in angles)
    return Test(f"largest A*² = {square:.3g}", min(1.0, ANGLES * anderson_p(square)))


def uniform_flips(view: View) -> Test:
    """y = sign(g − b), flipped whatever g: χ² of labels in BINS groups by v against ε + (1 − 2ε) Φ((v − b)/tan γ).

    Its least value over ε, b, the offset that centring leaves, and tan γ. This is the length of the fitted truth's
    error, of d coordinates: in one sample it is off `view.tangent` by 1/√(2d) of it, the prior's standard deviation.
    """
    order, scatter = np.argsort(view.score), 1 / np.sqrt(len(view.y))
    score, blur = view.score[order], max(view.tangent, scatter)

    def sums(values: Array) -> Array:
        return np.array([group.sum() for group in np.array_split(values, BINS)])

    seen = sums((view.y[order] > 0).astype(float))

    def square(fitted: Array) -> float:
        flips, offset, log_ratio = fitted
        positive = flips + (1 - 2 * flips) * ndtr((score - offset) / (blur * np.exp(log_ratio)))
        variance = np.maximum(sums(positive * (1 - positive)), 0.5)
        return float(((seen - sums(positive)) ** 2 / variance).sum() + 2 * view.dimension * log_ratio**2)

    bounds = [(0.5 / len(view.y), 0.5), (-1.0, 1.0), (-1.0, 1.0)]
    start = np.array([np.clip(view.flips, *bounds[0]), 0.0, 0.0])
    steps = np.array([scatter if start[0] < 0.25 else -scatter, scatter, 1 / np.sqrt(view.dimension)])
    simplex = start + np.vstack([np.zeros(3), np.diag(steps)])  # at its default size, b would hardly move from 0
    value = minimize(square, start, method="Nelder-Mead", bounds=bounds, options={"initial_simplex": simplex}).fun
    return Test(f"χ²/{BINS - 2} = {value / (BINS - 2):.3g}", float(chi2.sf(value, BINS - 2)))


def equal_lengths(view: View) -> Test:
    """|z|² off the plane scatters no more than that of normal rows: a one-sided z of its relative variance.

    Over N it is a leverage, Beta(d/2, (N − d)/2) for normal rows, of relative variance 2(1 − d/N)/d.
    """
    rows, dimension = len(view.y), view.dimension - len(view.plane)
    leverage = np.square(view.off_plane).sum(1)
    normal = 2 * (1 - dimension / rows) / dimension
    ratio = float(leverage.var() / leverage.mean() ** 2) / normal
    z = (ratio - 1) / np.sqrt((2 + 6 * normal) / rows)
    return Test(f"variance {ratio:.3g} × normal", float(norm.sf(z)))


def no_pull(view: View, rules: Iterable[Rule]) -> Test:
    """E[q y z] = 0 off the plane: N|mean|² over its expectation, χ² with a degree of freedom for each direction.

    The sample's own z is orthogonal to t and ζ, and to y where the truth was fitted to it: of q y what these explain is
    taken out, e = q y − p y − b t with p = E[qyζ]/E[yζ]. Then E[e z] = 0 off the plane as the population has it, too.
    """
    z, found = view.off_plane, []
    freedom = view.dimension - len(view.plane)
    for rule in rules:
        rest = np.asarray(rule.keep_probability(view.plane[0]), float) * view.y
        if view.tangent:
            rest = rest - float(rest @ view.plane[-1] / (view.y @ view.plane[-1])) * view.y
        rest = rest - np.linalg.lstsq(view.plane.T, rest)[0] @ view.plane
        if rest.var() > 1e-12:
            total = float(np.square(rest @ z).sum() / np.square(rest).sum())
            found.append((float(chi2.sf(total, freedom)), total / freedom))
    return _worst(found, "χ²/d")


def isotropic_rest(view: View, rules: Iterable[Rule]) -> Test:
    """E[q zzᵀ] = p I off the plane: |mean (q − p) zzᵀ|² over its expectation where q is independent of a normal z."""
    z, found = view.off_plane, []
    fourth = float(np.square(np.square(z).sum(1)).mean())
    dimension = view.dimension - len(view.plane)
    for rule in rules:
        q = np.asarray(rule.keep_probability(view.plane[0]), float)
        q = q - q.mean()
        if q.var() > 1e-12:
            mean = (q[:, None] * z).T @ z / len(q)
            ratio = float(np.square(mean).sum()) / (q.var() * fourth / len(q))
            spread = 2 / np.sqrt(dimension * (dimension + 1.0))
            found.append((float(norm.sf((ratio - 1) / spread)), ratio))
    return _worst(found, "|·|²/expected")


def _worst(found: list[tuple[float, float]], name: str) -> Test:
    """The least p-value of several tests, Bonferroni."""
    if not found:
        return Test("no rule selects", 1.0)
    p, ratio = min(found, key=lambda one: (one[0], -one[1]))
    return Test(f"{name} = {ratio:.3g}", min(1.0, len(found) * p))


def anderson_darling(sample: Array) -> float:
    """A² against a normal with fitted mean and variance, corrected for the size: A²(1 + .75/N + 2.25/N²)."""
    n = len(sample)
    found: Any = anderson(sample, "norm", method="interpolate")  # its own p-values end at .01
    square = float(found.statistic)
    return square * (1 + 0.75 / n + 2.25 / n**2)


def anderson_p(square: float) -> float:
    """P(A*² ≥ square) for fitted mean and variance (D'Agostino and Stephens 1986, table 4.9)."""
    a = min(square, LARGEST_SQUARE)
    if a >= 0.6:
        return float(np.exp(1.2937 - 5.709 * a + 0.0186 * a**2))
    if a >= 0.34:
        return float(np.exp(0.9177 - 4.279 * a - 1.38 * a**2))
    if a >= 0.2:
        return float(1 - np.exp(-8.318 + 42.796 * a - 59.938 * a**2))
    return float(1 - np.exp(-13.436 + 101.14 * a - 223.73 * a**2))
