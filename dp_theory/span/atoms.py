"""The kept rows of a group as weighted atoms."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from dp_theory.checks import Array
from dp_theory.quadrature import nested, pdf
from dp_theory.span.problem import Group, SpanProblem


@dataclass(frozen=True)
class Atoms:
    """The kept rows of one group as weighted atoms: E[F; kept] = Σ_atoms mass · F.

    Given an atom the direction vector g of the row is Q t + ζ e + (noise orthogonal to both): t are the coordinates
    that the rule sees and ζ is the labeller's own. `mass`, `zeta`, `zeta2` are E[1, ζ, ζ²; the atom].
    """

    y: Array  # (N,) observed label
    q: Array  # (N,) weight, positive
    t: Array  # (r, N)
    mass: Array
    zeta: Array
    zeta2: Array
    frame: Array  # (k, r + 1): [Q, e]; e = 0 where the labeller lies in the span of Q

    def mean(self, f: Array) -> float:
        """E[f] for one value of f per atom."""
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
    """Atoms of a group: nodes of the given order for what its rule sees, the labeller's remainder ζ in closed form.

    y0 = sign(c·t + κζ) given t, hence E[1, ζ, ζ²; y0 = s | t] = Φ(sb), s φ(b), Φ(sb) − sb φ(b) with b = c·t/κ.
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
    kappa = float(np.linalg.norm(rest))
    jumps = group.jumps(len(along))
    coordinates = triangle.T  # of the seen directions in the frame; lower triangular
    t, weight = nested(
        np.vstack([coordinates[[i for i, _ in jumps]], c]),
        np.array([b for _, b in jumps] + [0.0]),
        np.array([0.0] * len(jumps) + [kappa]),
        order,
        # at the order's own distance, so that refining the order refines the cut of the tails too
        reach=np.hypot(8 + order / 16, max((abs(b) for _, b in jumps), default=0.0)),
    )
    b = np.clip(c @ t / max(kappa, 1e-200), -40, 40)  # Φ(−40) = 0 in double precision
    agree, differ = ((ndtr(s * b), s * pdf(b), ndtr(s * b) - s * b * pdf(b)) for s in (1, -1))  # y0 = 1, −1
    mass, zeta, zeta2 = (
        np.concatenate([weight * (p + group.flip * (m - p)), weight * (m + group.flip * (p - m))])  # y = 1, −1
        for p, m in zip(agree, differ, strict=True)
    )
    y, t = np.repeat([1.0, -1.0], t.shape[1]), np.tile(t, 2)
    keep, q = group.select((coordinates @ t)[: len(along)], y)
    share = group.ratio * keep
    used = (share * mass > 0) & (q > 0)
    e = rest / kappa if kappa > 1e-14 else 0 * rest
    mass, zeta, zeta2 = ((share * moment)[used] for moment in (mass, zeta, zeta2))
    return Atoms(y[used], q[used], t[:, used], mass, zeta, zeta2, np.column_stack([frame, e]))
