"""Asymptotics of softmax regression on selected rows (ours); docs/theory/softmax.md derives (T6.6) and (T6.7).

A row's loss is ℓ(h; y) = ln Σ_k exp(h_k) - h_y, its curvature H = diag(p) - p pᵀ, and its proximal point h solves h +
δ(p - e_y) = θ (T6.4). Classes are named so that every label is 0. By the symmetry of classes every order parameter is a
number times I - 11ᵀ/K. A row's scores by a learner that has not seen it are θ = Σ_j a_j g_j + σ z, with scores g_j of
the teacher and, where they matter, the selector; δ = φm.
"""

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import helmert
from scipy.special import logsumexp, ndtri

from dp_base.errors import ConvergenceError
from dp_theory.multiclass.selection import SETS, Selection, uniforms
from dp_theory.numerics.checks import Array, Float, sine_of
from dp_theory.numerics.fixed_point import fixed_point
from dp_theory.numerics.quadrature import both_below, panels, pdf
from dp_theory.outcomes import SoftmaxPrediction

if TYPE_CHECKING:
    from dp_theory.multiclass.softmax_problem import SoftmaxProblem


class Nodes(NamedTuple):
    """Quasi-random rows in independent sets of equal size."""

    sets: int
    known: Float[Array, "k rows K"]  # g, and also g' where the selection depends on it
    rest: Float[Array, "rows K"]  # z
    mass: Float[Array, " rows"]  # probability that a row is kept: the mean of mass · F is E[F; kept]
    teacher: Float[Array, "rows K"]  # g of rows that are not selected

    @classmethod
    def of(cls, classes: int, selection: Selection, rho: float, sets: int, log2: int, seed: int) -> "Nodes":
        """g is drawn given that g_0 is the largest; a threshold moves the radius of (g, g'), which decides no class."""
        k = 2 if selection.sees_scores and abs(rho) < 1 else 1  # g' matters, or g alone
        dimensions = classes + k * (classes - 1)
        u = np.concatenate([uniforms(dimensions, log2, seed, number) for number in range(sets)])
        teacher = _largest_first(u[:, :classes])
        others = ndtri(u[:, classes:]).reshape(-1, k, classes - 1) @ helmert(classes)  # g' where k = 2, then z
        known = np.stack([teacher, *np.moveaxis(others, 1, 0)[:-1]])
        scores = np.einsum("j,jnk->nk", (rho, sine_of(rho))[:k], known)
        radius = np.sqrt(np.einsum("jnk,jnk->n", known, known))
        mass, factor = selection.along_rays(scores, radius, k * (classes - 1))

        # The kept fraction is known better than the mean of each set, which is corrected to it.
        means = mass.reshape(sets, -1).mean(1)
        mass = mass * np.repeat(np.resize(selection.keep_fraction(classes), sets) / means, 2**log2)
        return cls(sets, known * factor[:, None], others[:, -1], mass, teacher)

    @property
    def suffice(self) -> bool:
        """Whether each set is worth MIN_ROWS rows of equal mass; else the scatter of sets would say nothing."""
        return self.mass.sum() ** 2 >= MIN_ROWS * SETS * (self.mass**2).sum()

    def means(self, values: Float[Array, "*outputs rows"]) -> Float[Array, "*outputs sets"]:
        return values.reshape(*values.shape[:-1], self.sets, -1).mean(-1)


def _largest_first(u: Array) -> Array:
    largest = u[:, :1] ** (1 / u.shape[1])
    g = ndtri(np.concatenate([largest, u[:, 1:] * largest], axis=1))
    return g - g.mean(1, keepdims=True)


# The largest error of the proximal point's equation, in units of 1 + the largest score.
_PROX_PRECISION = 1e-12
# The most steps of Newton's method for a prox.
_PROX_STEPS = 500


def cross_entropy(h: Float[Array, "*rows K"]) -> Float[Array, "*rows"]:
    """ℓ(h; 0) of each row."""
    return logsumexp(h - h[..., :1], axis=-1)


def prox(score: Float[Array, "rows K"], delta: float, start: Float[Array, "rows K"]) -> tuple[Array, Array, Array]:
    """The proximal points h of rows, p = softmax(h), and f = e_0 - p to full relative precision (rows, K).

    Damped Newton's method: for a step Δ with d = max Δ - min Δ, t = ln(1 + d)/d lowers the objective for certain.
    """
    h = np.ascontiguousarray(start.T)  # classes first: sums over them are then sums of long rows, five times as fast
    theta = np.ascontiguousarray(score.T)
    missed = np.inf
    allowed = _PROX_PRECISION * (1 + np.abs(theta).max())
    for _ in range(_PROX_STEPS):
        p = np.exp(h - h.max(0))
        p /= p.sum(0)
        f = -p
        f[0] = p[1:].sum(0)
        off = theta - h + delta * f
        missed = np.abs(off).max()
        if missed <= allowed:
            return h.T, p.T, f.T
        inverse = 1 / (1 + delta * p)  # of I + δH but for its part of rank one
        u = p * inverse
        step = inverse * off + u * (delta * (u * off).sum(0) / u.sum(0))
        d = step.max(0) - step.min(0) + np.finfo(float).tiny
        h = h + np.log1p(d) / d * step
    raise ConvergenceError(f"softmax prox at delta = {delta:g} is missed by {missed:.1e}")


def bend(p: Float[Array, "rows K"], delta: float) -> Float[Array, " rows"]:
    """tr H(I + δH)⁻¹ = Σu - Σu²/Σu with u = p/(1 + δp) (T6.5)."""
    u = (p / (1 + delta * p)).T
    total = u.sum(0)
    return total - (u * u).sum(0) / total


# Standard deviations over which is integrated.
_REACH = 9.0
_PANELS = 6
# The order of each quadrature.
_ORDER = 16


def disagreement(classes: int, cosine: float) -> float:
    """P(argmax u ≠ argmax v) of K pairs of standard normals, 1 - K E[P(U < u, V < v)^(K - 1)] (T6.9)."""
    half, weights = panels(np.linspace(0.0, _REACH, _PANELS + 1), _ORDER)
    weights = weights * pdf(half)
    t = np.concatenate([-half, half])
    plus = np.sqrt((1 + cosine) / 2) * t[:, None]
    minus = np.sqrt((1 - cosine) / 2) * half  # u - v > 0 suffices, since u and v may change places
    below = both_below(plus + minus, plus - minus, cosine)
    return max(0.0, float(1 - 2 * classes * np.tile(weights, 2) @ below ** (classes - 1) @ weights))


# Log2 of the points of a set, taken in turn.
LEVELS = (4, 6, 8, 10, 12)
# The least effective number of rows of a set, whose masses differ.
MIN_ROWS = 8
# The standard error of the test error that is accepted by default, relative to it.
TOLERANCE = 2e-3
# The tolerance of the fixed point.
PRECISION = 1e-9
# |ln σ| and |ln δ| from which no solution is looked for.
FARTHEST = 50.0
# A ridge at which the root is found without a guess.
WIDE = 1.0
# Ridges per decade, on the way from WIDE to narrower ones.
STEPS = 2
# Rows at a time: what stays in a processor's cache.
BLOCK = 1 << 12
# The step of the unknowns for derivatives.
_NUDGE = 1e-6


_nodes = lru_cache(2 * len(LEVELS))(Nodes.of)


def predict_softmax(problem: "SoftmaxProblem", *, tolerance: float | None = None, seed: int = 0) -> SoftmaxPrediction:
    """The limits, with standard errors by the scatter of sets."""
    tolerance = TOLERANCE if tolerance is None else tolerance
    x, error, se = None, np.inf, np.inf
    for level in LEVELS:
        nodes = _nodes(problem.classes, problem.selection, problem.rho, SETS, level, seed)
        equations = SoftmaxEquations(problem, nodes)
        try:
            x = equations.solve(x)
        except ConvergenceError:  # few rows of a hard selection are nearly separable: more of them have a root
            if level == LEVELS[-1]:
                raise
            continue
        outputs = equations.outputs(x)
        error, se = outputs[0]
        if se <= tolerance * error:
            kept = float(problem.selection.keep_fraction(problem.classes).mean())
            return SoftmaxPrediction(*outputs.ravel(), keep_fraction=kept)
    raise ConvergenceError(
        f"phi = {problem.phi:g}, lam = {problem.lam:g}: the test error, {error:.4g}, has the standard error {se:.1e}"
        f" with {SETS * 2 ** LEVELS[-1]} points; tolerance = {tolerance:g} must be at least {se / error:.2g} there"
    )


class SoftmaxEquations:
    """The fixed point over given nodes in x = (a_1, ..., a_k, ln σ, ln δ), per kept row."""

    def __init__(self, problem: "SoftmaxProblem", nodes: Nodes) -> None:
        self.problem, self.nodes = problem, nodes
        self.share = float(nodes.mass.mean())
        self.phi, self.lam = problem.phi / self.share, problem.lam / self.share
        self.proximal: Float[Array, "rows K"] | None = None  # proximal points of the scores seen last

    def solve(self, start: Float[Array, " unknowns"] | None = None) -> Float[Array, " unknowns"]:
        """The root, from a point nearby or else along ridges that narrow."""
        if not self.nodes.suffice:
            left = f"of {self.nodes.mass.size} points the selection leaves fewer than {MIN_ROWS * SETS}"
            raise ConvergenceError(f"{self.problem.classes} classes: {left}; keep more")
        if start is not None:
            with suppress(ConvergenceError):
                return self._root(start)
        lam = self.lam
        self.proximal = None
        count = 2 + int(np.ceil(STEPS * max(0.0, np.log10(WIDE / lam))))
        before = x = np.array([*[1e-3] * len(self.nodes.known), -1.0, np.log(self.phi)])
        for self.lam in np.geomspace(max(lam, WIDE), lam, count):
            before, x = x, self._root(2 * x - before)
        return x

    def _root(self, start: Array) -> Array:
        def move(x: Array) -> tuple[Array, float]:
            try:
                off = self.excess(x)
            except ConvergenceError:
                return np.zeros_like(x), np.inf
            return off, float(np.abs(off).max())

        x, missed = fixed_point(move, start)
        if not missed <= PRECISION:
            problem = f"phi = {self.problem.phi:g}, lam = {self.problem.lam:g}, {self.problem.classes} classes"
            raise ConvergenceError(f"{problem}: the fixed point is missed by {missed:.1e}")
        return x

    def excess(self, x: Float[Array, " unknowns"]) -> Float[Array, " unknowns"]:
        return self._off(x, self._moments(x).mean(1))

    def outputs(self, x: Float[Array, " unknowns"]) -> Float[Array, "4 2"]:
        """Test error, cross-entropy, overlap and squared norm, each with its standard error by the scatter of the sets
        (T6.10).
        """
        off = self.excess(x)
        jacobian = np.column_stack([(self.excess(x + step) - off) / _NUDGE for step in _NUDGE * np.eye(len(x))])
        off_of_sets = self._off(x, self._moments(x).T)
        x_of_sets = (x[:, None] - np.linalg.solve(jacobian, off_of_sets.T)).T
        cosine, *others = self._outputs(x).mean(-1)
        cosine_se, *ses = self._outputs(x_of_sets).std(-1, ddof=1) / np.sqrt(SETS)
        error, high, low = (
            disagreement(self.problem.classes, np.clip(cosine + off, -1, 1)) for off in (0.0, -cosine_se, cosine_se)
        )
        return np.column_stack([[error, *others], [(high - low) / 2, *ses]])

    def _outputs(self, x: Array) -> Array:
        a, sigma = x[..., :-2].T, np.exp(x[..., -2])
        squared_norm = (a * a).sum(0) + sigma**2
        overlap = a[0]
        beyond = np.sqrt(squared_norm - overlap**2)  # the learner's length off the teacher
        teacher, rest = (part.reshape(SETS, -1, self.problem.classes) for part in (self.nodes.teacher, self.nodes.rest))
        losses = cross_entropy(overlap[..., None, None] * teacher + beyond[..., None, None] * rest).mean(-1)
        return np.array(np.broadcast_arrays(overlap / np.sqrt(squared_norm), losses, overlap, squared_norm))

    def _moments(self, x: Array) -> Array:
        if not np.abs(x[-2:]).max() < FARTHEST:
            raise ConvergenceError(
                f"phi = {self.problem.phi:g}, lam = {self.lam:g}: ln σ or ln δ runs away, beyond {FARTHEST:g}"
            )
        sigma, delta = np.exp(x[-2:])
        nodes = self.nodes
        proximal = np.empty_like(nodes.rest)
        products = np.empty((len(x), len(proximal)))
        for start in range(0, len(proximal), BLOCK):
            block = slice(start, start + BLOCK)
            known = nodes.known[:, block]
            score = np.einsum("j,jnk->nk", x[:-2], known) + sigma * nodes.rest[block]
            proximal[block], p, f = prox(score, delta, score if self.proximal is None else self.proximal[block])
            products[:-2, block] = np.einsum("nk,jnk->jn", f, known)
            products[-2, block] = np.einsum("nk,nk->n", f, f)
            products[-1, block] = bend(p, delta)
        self.proximal = proximal
        return nodes.means(nodes.mass / self.share * products) / (self.problem.classes - 1)

    def _off(self, x: Array, moments: Array) -> Array:
        """By how much the map moves x, whose moments are c_j, E|f|²/(K - 1) and Γ."""
        force, curvature = moments[..., -2], moments[..., -1]
        m = 1 / (self.lam + curvature)
        a = m[..., None] * (moments[..., :-2] + curvature[..., None] * x[:-2])
        return np.concatenate([a, np.log([self.phi * m**2 * force, self.phi**2 * m**2]).T / 2], axis=-1) - x
