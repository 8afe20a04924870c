"""Exact asymptotics of softmax regression on selected rows (ours).

By the symmetry of classes all order parameters are multiples of the centring matrix I − 11ᵀ/K: numbers. With a row left
out, a learner's scores of it are θ = Σ_j a_j g_j + σ z, where g_j are the scores of teacher and selector, z those along
all else; with it they are h, θ's proximal point at δ. With f = e_y − softmax(h), H the curvature at h and E[·] over
kept rows:

    Γ = E[tr H(I + δH)⁻¹]/(K − 1)      c_j = E[f·g_j]/(K − 1)
    m = 1/(λ + Γ)      δ = φm      a_j = m (c_j + Γ a_j)      σ² = φm² E[|f|²]/(K − 1)

For K = 2 this is dp_theory.span.convex with the logistic loss.
"""

from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.multiclass.agreement import disagreement
from dp_theory.multiclass.nodes import Nodes
from dp_theory.multiclass.selection import Selection
from dp_theory.multiclass.sobol import SETS
from dp_theory.multiclass.softmax import bend, cross_entropy, prox
from dp_theory.multiclass.softmax_problem import SoftmaxOutputs, SoftmaxPrediction, SoftmaxProblem
from dp_theory.numerics.checks import Array

LEVELS = (4, 6, 8, 10, 12)  # log2 of the points of a set, taken in turn
TOLERANCE = 2e-3
PRECISION = 1e-9  # of the fixed point
FARTHEST = 50.0  # |ln σ| and |ln δ| from which no solution is looked for
WIDE, STEPS = 1.0, 2  # a ridge at which the root is found from afar, and on the way from there ridges per decade
BLOCK = 1 << 12  # rows at a time: what stays in a processor's cache
_FIELDS = len(fields(SoftmaxOutputs)) + 1  # and the number of points
_NUDGE = 1e-6  # of the unknowns, for derivatives


def predict_softmax(problem: SoftmaxProblem, *, tolerance: float | None = None, seed: int = 0) -> SoftmaxPrediction:
    """Limits of a problem with their standard errors; a function of problem, tolerance and seed.

    tolerance: the largest standard error of the test error, relative to it; by default 2e-3. Raises ConvergenceError
    where the largest number of points misses it, or the fixed point is not found, naming phi, lam and what is missed.
    """
    tolerance = TOLERANCE if tolerance is None else tolerance
    cells = np.reshape([_predict(cell, tolerance, seed) for cell in problem.cells()], (*problem.shape, _FIELDS))
    *outputs, points = (cells[..., i][()] for i in range(_FIELDS))
    kept = problem.selection.keep_fraction(problem.classes)
    keep_fraction, keep_se = float(kept.mean()), float(kept.std() / np.sqrt(max(len(kept) - 1, 1)))
    return SoftmaxPrediction(*outputs, keep_fraction=keep_fraction, keep_fraction_se=keep_se, points=points.astype(int))


@lru_cache(2 * len(LEVELS))  # problems that differ in phi and lam alone share them
def _nodes(classes: int, selection: Selection, rho: float, level: int, seed: int) -> Nodes:
    return Nodes.of(classes, selection, rho, SETS, level, seed)


def _predict(problem: SoftmaxProblem, tolerance: float, seed: int) -> Array:
    """Each output and its standard error, in the order of SoftmaxPrediction, and the number of points."""
    x = jacobian = None
    error = se = np.inf
    for level in LEVELS:
        equations = Equations(problem, _nodes(problem.classes, problem.selection, problem.rho, level, seed))
        x, jacobian = equations.solve() if x is None or jacobian is None else equations.refine(x, jacobian)
        values, ses = equations.outputs(x, jacobian)
        error, se = values[0], ses[0]
        if se <= tolerance * error:
            return np.append(np.column_stack([values, ses]), SETS * 2**level)
    raise ConvergenceError(
        f"phi = {problem.phi:g}, lam = {problem.lam:g}: the test error, {error:.4g}, has the standard error {se:.1e}"
        f" with {SETS * 2 ** LEVELS[-1]} points; tolerance {tolerance:g} asks for less"
    )


class Equations:
    """The fixed point, with expectations over given nodes. Its unknowns are x = (a_1, ..., a_k, ln σ, ln δ)."""

    def __init__(self, problem: SoftmaxProblem, nodes: Nodes) -> None:
        self.problem, self.nodes, self.k = problem, nodes, len(nodes.known)
        self.lam = problem.lam
        self.near: Array | None = None  # the proximal points at the last x

    def solve(self) -> tuple[Array, Array]:
        """The root, and the Jacobian there."""
        lam = self.problem.lam
        count = 2 + int(np.ceil(STEPS * max(0.0, np.log10(WIDE / lam))))
        *_, x = self.path(np.geomspace(max(lam, WIDE), lam, count))
        off = self.excess(x)
        jacobian = np.column_stack([(self.excess(x + step) - off) / _NUDGE for step in _NUDGE * np.eye(len(x))])
        return self.refine(x, jacobian)

    def path(self, ridges: Array) -> Iterator[Array]:
        """The root at each of some ridges, in place of the problem's: by Powell's method from where the last two lead.

        The first must be wide, so that damped iteration comes near its root.
        """
        from scipy.optimize import root

        x = np.append(np.full(self.k, 1e-3), [-1.0, np.log(self.problem.phi)])
        self.lam = ridges[0]
        for _ in range(20):
            x = x + self.excess(x) / 2
        before = x
        for self.lam in ridges:
            before, x = x, root(self.excess, 2 * x - before, method="hybr", options={"xtol": 1e-10}).x
            yield x

    def refine(self, x: Array, jacobian: Array) -> tuple[Array, Array]:
        """Root and Jacobian from those of other nodes, by Broyden's method."""
        off = self.excess(x)
        for _ in range(50):
            if np.abs(off).max() <= PRECISION:
                return x, jacobian
            step = -np.linalg.solve(jacobian, off)
            x, off = x + step, self.excess(x + step)
            jacobian = jacobian + np.outer(off, step) / (step @ step)
        problem = self.problem
        missed = f"the fixed point is missed by {np.abs(off).max():.1e}"
        raise ConvergenceError(f"phi = {problem.phi:g}, lam = {problem.lam:g}, {problem.classes} classes: {missed}")

    def excess(self, x: Array) -> Array:
        """The map's image less x (k + 2,), with expectations over all nodes."""
        return self._image(x, self._moments(x).mean(1)) - x

    def outputs(self, x: Array, jacobian: Array) -> tuple[Array, Array]:
        """Test error, cross-entropy, overlap and squared norm at the root x, and their standard errors.

        Each set by itself would have its root a Newton step away.
        """
        off = (self._image(x, self._moments(x).T) - x).T
        values, each = self._outputs(x), self._outputs((x[:, None] - np.linalg.solve(jacobian, off)).T)
        (cosine, *others), (cosine_se, *ses) = values.mean(-1), each.std(-1, ddof=1) / np.sqrt(SETS)
        high, error, low = (
            disagreement(self.problem.classes, np.clip(cosine + shift, -1, 1)) for shift in (-cosine_se, 0, cosine_se)
        )
        return np.array([error, *others]), np.array([(high - low) / 2, *ses])

    def _outputs(self, x: Array) -> Array:
        """Cosine to the teacher, cross-entropy, overlap, squared norm at x (k + 2,) or (sets, k + 2): (4, sets)."""
        a, sigma = x[..., : self.k].T, np.exp(x[..., self.k])
        squared_norm = (a * a).sum(0) + sigma**2
        unknown = np.sqrt(squared_norm - a[0] ** 2)
        points = len(self.nodes.mass) // SETS
        known, unknown = (np.repeat(np.broadcast_to(scale, SETS), points)[:, None] for scale in (a[0], unknown))
        losses = cross_entropy(known * self.nodes.teacher + unknown * self.nodes.rest)
        return np.array(np.broadcast_arrays(a[0] / np.sqrt(squared_norm), self.nodes.means(losses), a[0], squared_norm))

    def _moments(self, x: Array) -> Array:
        """(c_1, ..., c_k, E|f|²/(K − 1), Γ) of each set: (k + 2, sets)."""
        if not np.abs(x[self.k :]).max() < FARTHEST:
            raise ConvergenceError(
                f"phi = {self.problem.phi:g}, lam = {self.lam:g}: ln σ or ln δ runs away, beyond {FARTHEST:g}"
            )
        sigma, delta = np.exp(x[self.k :])
        near, products = np.empty_like(self.nodes.rest), np.empty((self.k + 2, len(self.nodes.mass)))
        for start in range(0, len(near), BLOCK):
            block = slice(start, start + BLOCK)
            known = self.nodes.known[:, block]
            score = np.einsum("j,jnk->nk", x[: self.k], known) + sigma * self.nodes.rest[block]
            near[block], p, f = prox(score, delta, score if self.near is None else self.near[block])
            products[: self.k, block] = np.einsum("nk,jnk->jn", f, known)
            products[self.k :, block] = np.einsum("nk,nk->n", f, f), bend(p, delta)
        self.near = near
        return self.nodes.means(self.nodes.mass * products) / (self.problem.classes - 1)

    def _image(self, x: Array, moments: Array) -> Array:
        """Where the map sends x, given moments (..., k + 2)."""
        phi, lam, k = self.problem.phi, self.lam, self.k
        pull, force, curvature = moments[..., :k], moments[..., k], moments[..., k + 1]
        m = 1 / (lam + curvature)
        a = m[..., None] * (pull + curvature[..., None] * x[:k])
        return np.concatenate([a, np.log([phi * m**2 * force, phi**2 * m**2]).T / 2], axis=-1)
