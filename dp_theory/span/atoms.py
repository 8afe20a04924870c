"""Kept rows as weighted atoms, over which every expectation of the span recipe and of the practice loop is a sum.

An atom is a node of quadrature with a label: a part of the rows that have about the same projections and weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import nested
from dp_theory.span.flips import BoundaryFlips, observed_labels
from dp_theory.span.span_problem import Group, SpanProblem

if TYPE_CHECKING:
    from jaxtyping import Float

MOST_ATOMS = 3e7  # of a group, made block by block
MOST_WEIGHTS = 1 << 20  # different ones of a group, held at once: about 200 MB with three directions
_IN_THE_SPAN = 1e-14  # a labeller with a smaller part off the directions lies in their span


@dataclass(frozen=True)
class Atoms:
    """The kept rows of one group as N weighted atoms: E[F; kept] = Σ_atoms mass·F.

    The projections of a row on the k basis vectors are g = Q t + ζ e + noise orthogonal to both. t holds the r
    coordinates that the rule sees, and ζ is the labeller's own. `mass`, `zeta` and `zeta2` are E[1, ζ, ζ²; the atom];
    `frame` is [Q, e], with e = 0 where the labeller lies in the span of Q.
    """

    y: Float[np.ndarray, " N"]
    q: Float[np.ndarray, " N"]
    t: Float[np.ndarray, "r N"]
    mass: Float[np.ndarray, " N"]
    zeta: Float[np.ndarray, " N"]
    zeta2: Float[np.ndarray, " N"]
    frame: Float[np.ndarray, "k r+1"]

    def mean(self, f: Float[np.ndarray, " N"]) -> float:
        return float(f @ self.mass)

    def linear(self, f: Float[np.ndarray, " N"]) -> Float[np.ndarray, " k"]:
        return self.frame @ np.append(self.t @ (f * self.mass), f @ self.zeta)


def kept_atoms(
    problem: SpanProblem,
    group: Group,
    order: int,
    score: Float[np.ndarray, " coordinates"] | None = None,
    bends: Sequence[tuple[float, float]] = (),
    least: float = 0.0,
) -> Iterator[Atoms]:
    """The atoms of a group with scalar rules, in blocks, since several directions have many. Raises InputError above
    MOST_ATOMS.

    They are nodes of quadrature for what the group's rule sees. ζ is integrated in closed form, or by `BoundaryFlips`.
    For a convex loss, `score` is one more unit vector (k + 1,) to integrate over, with a coordinate off the span, and
    `bends` are places along it where the integrand bends, each with a width. Nodes of less than the share `least` of a
    block's largest mass are left out.
    """
    labeller, along = (vectors @ problem.basis for vectors in problem.directions(group))
    seen = along
    if score is not None:
        labeller = np.append(labeller, 0.0)
        along = np.pad(along, ((0, 0), (0, 1)))
        seen = np.concatenate([along, score[None]])
    axes = _axes(labeller, seen)
    steps = _steps(group, axes, len(along), bends)
    reach = _reach(group, len(along), order)
    rule_axes = min(len(along), len(axes.labeller))  # coordinates that the rule sees: fewer if directions coincide
    made = 0
    for view, mass, _ in nested(*steps, order, reach, end=rule_axes):
        share, weight = _selected(group, axes.seen[: len(along), :rule_axes] @ view)
        kept = (share * weight > 0).any(axis=0) & (mass > least * mass.max())
        mass = mass[kept]
        share = share[:, kept]
        weight = weight[:, kept]
        for t, measure, column in nested(*steps, order, reach, view[:, kept]):
            measure = measure * mass[column]
            if least:
                used = measure > least * measure.max()
                t = t[:, used]
                measure = measure[used]
                column = column[used]
            made += len(measure)
            if made > MOST_ATOMS:
                raise InputError(
                    f"{len(seen)} directions to integrate over at order {order} take more than {MOST_ATOMS:.0e} nodes,"
                    " more than time and memory allow: let the rule see fewer directions"
                )
            labels = observed_labels(group.flip, axes.labeller @ t, axes.kappa, order)
            yield labelled(t, measure, labels, share[:, column], weight[:, column], axes.frame)


class _Axes(NamedTuple):
    """The r orthonormal coordinates of the seen directions, in which nodes are made."""

    frame: Array  # (k, r + 1): the coordinates' directions, and the labeller's own
    seen: Array  # (s, r): the seen directions, a lower triangle
    labeller: Array  # (r,): the labeller's part in the coordinates
    kappa: float  # the length of its own part


def _axes(labeller: Array, seen: Array) -> _Axes:
    frame, triangle = np.linalg.qr(seen.T)
    c = labeller @ frame
    rest = labeller - frame @ c
    rest = rest - frame @ (rest @ frame)  # again: where the labeller nearly lies in the span, the first left eps/kappa
    kappa = float(np.linalg.norm(rest))
    own = rest / kappa if kappa > _IN_THE_SPAN else 0 * rest
    return _Axes(np.column_stack([frame, own]), triangle.T, c, kappa)


class _StepPlanes(NamedTuple):
    """The planes across which the integrand takes a step, as `nested` takes them."""

    planes: Array  # (F, r)
    level: Array  # (F,)
    width: Array  # (F,)


def _steps(group: Group, axes: _Axes, directions: int, bends: Sequence[tuple[float, float]]) -> _StepPlanes:
    """Jumps of the rule, bends along the score, and steps of the labels."""
    planes = [axes.seen[i] for i, _ in group.jumps(directions)]
    level = [at for _, at in group.jumps(directions)]
    width = [0.0] * len(level)
    for at, thickness in bends:
        planes.append(axes.seen[directions])
        level.append(at)
        width.append(thickness)
    of_labels = [(0.0, axes.kappa)]
    if isinstance(group.flip, BoundaryFlips):
        of_labels += group.flip.steps(axes.kappa)
    for at, thickness in of_labels:
        planes.append(axes.labeller)
        level.append(at)
        width.append(thickness)
    return _StepPlanes(np.vstack(planes), np.array(level), np.array(width))


def _reach(group: Group, directions: int, order: int) -> float:
    """How far from 0 nodes are made: it grows with the order, which thus refines the tails' cut too."""
    farthest_jump = max((abs(at) for _, at in group.jumps(directions)), default=0.0)
    return float(np.hypot(8 + order / 16, farthest_jump))


def _selected(group: Group, t: Array) -> tuple[Array, Array]:
    """Share of n and weight, (2, N) each, of kept rows with label 1, then -1."""
    positive = group.select(t, np.full(t.shape[1], 1.0))
    negative = group.select(t, np.full(t.shape[1], -1.0))
    keep = np.stack([positive[0], negative[0]])
    weight = np.stack([positive[1], negative[1]])
    return group.ratio * keep, weight


@dataclass(frozen=True)
class Weighed:
    """The kept rows of a group by their J distinct weights q: all that the square loss needs of them.

    `mass`, `pull` and `second` are E[1, y·(t, ζ), (t, ζ)(t, ζ)ᵀ; q] in the coordinates of `frame`, as in `Atoms`.
    """

    q: Float[np.ndarray, " J"]
    mass: Float[np.ndarray, " J"]
    pull: Float[np.ndarray, "J c"]
    second: Float[np.ndarray, "J c c"]
    frame: Float[np.ndarray, "k c"]

    @classmethod
    def of(cls, blocks: Iterator[Atoms]) -> Weighed:
        """The rows of a group from its atoms. Raises InputError where they have more than MOST_WEIGHTS different
        weights.
        """
        parts: list[tuple[Array, Array]] = []  # weights, and columns of what is summed over each
        held = 0
        frame = np.zeros((0, 0))
        for atoms in blocks:
            frame = atoms.frame
            parts.append(_by_weight(atoms.q, _sums(atoms)))
            held += len(parts[-1][0])
            if held > MOST_WEIGHTS:
                parts = [_merged(parts)]
                held = len(parts[0][0])
            if held > MOST_WEIGHTS:
                raise InputError(
                    f"the rows have more than {MOST_WEIGHTS:.0e} different weights, more than memory allows: let the"
                    " weight see fewer directions, or have steps"
                )
        q, sums = _merged(parts)
        size = frame.shape[1]
        rows, columns = np.triu_indices(size)
        second = np.empty((len(q), size, size))
        second[:, rows, columns] = sums[1 + size :].T
        second[:, columns, rows] = sums[1 + size :].T
        return cls(q, sums[0], sums[1 : 1 + size].T, second, frame)

    def mean(self, f: Float[np.ndarray, " J"]) -> float:
        return float(f @ self.mass)

    def linear(self, f: Float[np.ndarray, " J"]) -> Float[np.ndarray, " k"]:
        return self.frame @ (f @ self.pull)

    def quadratic(self, f: Float[np.ndarray, " J"]) -> Float[np.ndarray, "k k"]:
        """E[f g gᵀ]: the frame's block, and E[f] times the identity off the frame."""
        off = np.eye(len(self.frame)) - self.frame @ self.frame.T  # exactly 0 for a frame of one dimension
        return self.mean(f) * off + self.frame @ np.tensordot(f, self.second, axes=1) @ self.frame.T


def _sums(atoms: Atoms) -> Array:
    """Rows of mass, y·(t, ζ) and the upper triangle of (t, ζ)(t, ζ)ᵀ, each times the atom's mass: (sums, N)."""
    t = atoms.t
    coordinates = len(t)
    weighted = t * atoms.mass
    first = np.concatenate([weighted, atoms.zeta[None]])
    triangle = []
    for i in range(coordinates):
        triangle += [weighted[i] * t[j] for j in range(i, coordinates)]
        triangle.append(t[i] * atoms.zeta)
    return np.stack([atoms.mass, *(atoms.y * first), *triangle, atoms.zeta2])


def _merged(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    weights = np.concatenate([weights for weights, _ in parts], axis=-1)
    sums = np.concatenate([sums for _, sums in parts], axis=-1)
    return _by_weight(weights, sums)


def _by_weight(q: Array, sums: Array) -> tuple[Array, Array]:
    """Distinct weights (J,), and the columns of `sums` (sums, N) added up over each (sums, J)."""
    if len(q) and q.min() == q.max():
        return q[:1], sums.sum(axis=1, keepdims=True)
    weight, at = np.unique(q, return_inverse=True)
    return weight, np.array([np.bincount(at, row, len(weight)) for row in sums], float)


def labelled(
    t: Float[np.ndarray, "r N"],
    measure: Float[np.ndarray, " N"],
    labels: Float[np.ndarray, "2 3 N"],
    share: Float[np.ndarray, "2 N"],
    weight: Float[np.ndarray, "2 N"],
    frame: Float[np.ndarray, "k r+1"],
) -> Atoms:
    """The atoms with y = 1, then those with y = -1, of nodes t with this measure. Atoms without mass or weight are left
    out.

    `labels` are those of `observed_labels`; `share` and `weight` are of the rows kept with either label.
    """
    mass, zeta, zeta2 = (measure * share * labels[:, i] for i in range(3))
    used = (mass > 0) & (weight > 0)
    y = np.repeat([1.0, -1.0], used.sum(axis=1))
    t = np.concatenate([t[:, of_label] for of_label in used], axis=1)
    return Atoms(y, weight[used], t, mass[used], zeta[used], zeta2[used], frame)
