"""Kept rows as weighted atoms, over which every expectation of the span recipe and of the practice loop is a sum."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from dp_theory.checks import Array
from dp_theory.quadrature import nested, pdf
from dp_theory.span.problem import Group, SpanProblem


@dataclass(frozen=True)
class Atoms:
    """The kept rows of one group as N weighted atoms: E[F; kept] = Σ_atoms mass · F.

    A row's projections on the k directions are g = Q t + ζ e + noise orthogonal to both. t holds the r coordinates that
    the rule sees, ζ is the labeller's own coordinate. mass, zeta, zeta2 are E[1, ζ, ζ²; the atom].
    """

    y: Array  # (N,) observed label
    q: Array  # (N,) weight, positive
    t: Array  # (r, N)
    mass: Array  # (N,)
    zeta: Array  # (N,)
    zeta2: Array  # (N,)
    frame: Array  # (k, r + 1): [Q, e]; e = 0 where the labeller lies in the span of Q

    def mean(self, f: Array) -> float:
        """E[f] for one value of f per atom (N,)."""
        return float(f @ self.mass)

    def linear(self, f: Array) -> Array:
        """E[f g] (k,)."""
        return self.frame @ np.append(self.t @ (f * self.mass), f @ self.zeta)

    def quadratic(self, f: Array) -> Array:
        """E[f g gᵀ] (k, k): the frame's block, and E[f] times the identity off the frame."""
        cross = (self.t @ (f * self.zeta))[:, None]
        inner = np.block([[(self.t * (f * self.mass)) @ self.t.T, cross], [cross.T, f @ self.zeta2]])
        total = self.mean(f)
        return total * np.eye(len(self.frame)) + self.frame @ (inner - total * np.eye(len(inner))) @ self.frame.T


def kept_atoms(problem: SpanProblem, group: Group, order: int, score: Array | None = None) -> Atoms:
    """Atoms of a group with a scalar rule: nodes of the given order for what its rule sees, ζ in closed form.

    `score` (k + 1,): one more unit vector to integrate over, with a coordinate off the span (for a convex loss).
    """
    labeller, along = (vectors @ problem.basis for vectors in problem.directions(group))
    seen = along
    if score is not None:
        labeller, along = np.append(labeller, 0.0), np.pad(along, ((0, 0), (0, 1)))
        seen = np.concatenate([along, score[None]])
    frame, triangle = np.linalg.qr(seen.T)
    c = labeller @ frame
    rest = labeller - frame @ c
    rest = rest - frame @ (rest @ frame)  # again: where the labeller nearly lies in the span, the first left eps/kappa
    kappa = float(np.linalg.norm(rest))
    jumps = group.jumps(len(along))
    coordinates = triangle.T  # of the seen directions in the frame; lower triangular
    t, measure = nested(
        np.vstack([coordinates[[i for i, _ in jumps]], c]),
        np.array([b for _, b in jumps] + [0.0]),
        np.array([0.0] * len(jumps) + [kappa]),
        order,
        # at the order's own distance, so that refining the order refines the cut of the tails too
        reach=np.hypot(8 + order / 16, max((abs(b) for _, b in jumps), default=0.0)),
    )
    e = rest / kappa if kappa > 1e-14 else 0 * rest

    def select(t: Array, y: Array) -> tuple[Array, Array]:
        keep, weight = group.select((coordinates @ t)[: len(along)], y)
        return group.ratio * keep, weight

    return labelled(t, measure, c @ t / max(kappa, 1e-200), group.flip, select, np.column_stack([frame, e]))


def labelled(
    t: Array,
    measure: Array,
    margin: Array,
    flip: float,
    select: Callable[[Array, Array], tuple[Array, Array]],
    frame: Array,
) -> Atoms:
    """The atoms with y = 1, then those with y = -1, of nodes t (r, N) of the given measure (N,); used ones only.

    The true label is sign(b + ζ) with b = margin (N,) and ζ ~ N(0, 1) independent of t, flipped with probability
    `flip`: E[1, ζ, ζ²; true label s | t] = Φ(sb), sφ(b), Φ(sb) - sbφ(b). select(t, y) -> (share kept, weight).
    """
    b = np.clip(margin, -40, 40)  # Φ(-40) = 0 in double precision
    true = np.array([[ndtr(s * b), s * pdf(b), ndtr(s * b) - s * b * pdf(b)] for s in (1, -1)])  # (label, 3, N)
    given = measure * (true + flip * (true[::-1] - true))
    y, t = np.repeat([1.0, -1.0], t.shape[1]), np.tile(t, 2)
    share, q = select(t, y)
    mass, zeta, zeta2 = share * np.concatenate(list(given), axis=1)
    used = (mass > 0) & (q > 0)
    return Atoms(y[used], q[used], t[:, used], mass[used], zeta[used], zeta2[used], frame)
