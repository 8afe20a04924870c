"""Kept rows as weighted atoms, over which every expectation of the span recipe and of the practice loop is a sum."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import nested
from dp_theory.span.flips import BoundaryFlips, observed_labels
from dp_theory.span.span_problem import Group, SpanProblem

MOST_ATOMS = 3e7  # of a group, made block by block
MOST_WEIGHTS = 1 << 20  # different ones of a group, held at once: about 200 MB with three directions


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


def kept_atoms(
    problem: SpanProblem,
    group: Group,
    order: int,
    score: Array | None = None,
    bends: Sequence[tuple[float, float]] = (),
    least: float = 0.0,
) -> Iterator[Atoms]:
    """Atoms of a group with a scalar rule: nodes of the given order for what its rule sees, ζ in closed form.

    `score` (k + 1,): one more unit vector to integrate over, with a coordinate off the span (for a convex loss), along
    which the integrand has `bends`, places with a width each. They come in blocks, since several directions have
    many; nodes of less than `least` times the block's largest weight are left out. Raises InputError where they have
    more than MOST_ATOMS.
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
    jumps = [*((*jump, 0.0) for jump in group.jumps(len(along))), *((len(along), at, width) for at, width in bends)]
    coordinates = triangle.T  # of the seen directions in the frame; lower triangular
    steps = [(0.0, kappa), *(group.flip.steps(kappa) if isinstance(group.flip, BoundaryFlips) else ())]  # along c
    planes = np.vstack([coordinates[[i for i, *_ in jumps]], *[c] * len(steps)])
    level = np.array([at for _, at, _ in jumps] + [level for level, _ in steps])
    width = np.array([width for *_, width in jumps] + [thickness for _, thickness in steps])
    # at the order's own distance, so that refining the order refines the cut of the tails too
    reach = float(np.hypot(8 + order / 16, max((abs(at) for i, at, _ in jumps if i < len(along)), default=0.0)))
    e = rest / kappa if kappa > 1e-14 else 0 * rest
    frame, own = np.column_stack([frame, e]), min(len(along), len(c))  # coordinates that the rule sees
    made = 0
    for view, mass, _ in nested(planes, level, width, order, reach, end=own):
        share, weight = _selected(group, coordinates[: len(along), :own] @ view)
        kept = (share * weight > 0).any(axis=0) & (mass > least * mass.max())
        view, mass, share, weight = view[:, kept], mass[kept], share[:, kept], weight[:, kept]
        for t, measure, column in nested(planes, level, width, order, reach, view):
            measure *= mass[column]
            if least:
                used = measure > least * measure.max()
                t, measure, column = t[:, used], measure[used], column[used]
            made += len(measure)
            if made > MOST_ATOMS:
                raise InputError(
                    f"{len(seen)} directions to integrate over at order {order} take more than {MOST_ATOMS:.0e} nodes,"
                    " more than time and memory allow: let the rule see fewer directions"
                )
            labels = observed_labels(group.flip, c @ t, kappa, order)
            yield labelled(t, measure, labels, share[:, column], weight[:, column], frame)


def _selected(group: Group, t: Array) -> tuple[Array, Array]:
    """Share of n and weight, (2, N) each, of a group's kept rows with projections t (r, N) and label 1, then -1."""
    parts = [group.select(t, np.full(t.shape[1], y)) for y in (1.0, -1.0)]
    keep, weight = (np.stack(part) for part in zip(*parts, strict=True))
    return group.ratio * keep, weight


@dataclass(frozen=True)
class Weighed:
    """The kept rows of a group by their weight: what the square loss needs of them, whatever made them.

    Per distinct weight q: E[1, y(t, ζ), (t, ζ)(t, ζ)ᵀ; q], in the coordinates of `frame`.
    """

    q: Array  # (J,)
    mass: Array  # (J,)
    pull: Array  # (J, r + 1)
    second: Array  # (J, r + 1, r + 1)
    frame: Array  # (k, r + 1)

    @classmethod
    def of(cls, blocks: Iterator[Atoms]) -> "Weighed":
        """From the atoms of a group. Raises InputError where they have more than MOST_WEIGHTS different weights."""
        parts: list[tuple[Array, Array]] = []  # weights, and columns of what is summed over each
        frame, held = np.zeros((0, 0)), 0
        for atoms in blocks:
            frame = atoms.frame
            parts.append(_by_weight(atoms.q, _sums(atoms)))
            held += len(parts[-1][0])
            if held > MOST_WEIGHTS:
                parts = [_by_weight(*(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)))]
                held = len(parts[0][0])
            if held > MOST_WEIGHTS:
                raise InputError(
                    f"the rows have more than {MOST_WEIGHTS:.0e} different weights, more than memory allows: let the"
                    " weight see fewer directions, or have steps"
                )
        q, sums = _by_weight(*(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)))
        size = frame.shape[1]
        rows, columns = np.triu_indices(size)
        second = np.empty((len(q), size, size))
        second[:, rows, columns] = second[:, columns, rows] = sums[1 + size :].T
        return cls(q, sums[0], sums[1 : 1 + size].T, second, frame)

    def mean(self, f: Array) -> float:
        """E[f] for one value of f per weight (J,)."""
        return float(f @ self.mass)

    def linear(self, f: Array) -> Array:
        """E[f y g] (k,)."""
        return self.frame @ (f @ self.pull)

    def quadratic(self, f: Array) -> Array:
        """E[f g gᵀ] (k, k): the frame's block, and E[f] times the identity off the frame."""
        off = np.eye(len(self.frame)) - self.frame @ self.frame.T  # exactly 0 for a frame of one dimension
        return self.mean(f) * off + self.frame @ np.tensordot(f, self.second, axes=1) @ self.frame.T


def _sums(atoms: Atoms) -> Array:
    """Rows of mass, y(t, ζ) and the upper triangle of (t, ζ)(t, ζ)ᵀ, each times the atom's mass (sums, N)."""
    t, mass = atoms.t, atoms.mass
    first = np.concatenate([t * mass, atoms.zeta[None]])
    square = [first[i] * t[j] for i in range(len(t)) for j in range(i, len(t))]
    triangle, entries = [], iter(square)
    for i in range(len(t)):
        triangle += [next(entries) for _ in range(i, len(t))] + [t[i] * atoms.zeta]
    return np.stack([mass, *(atoms.y * first), *triangle, atoms.zeta2])


def _by_weight(q: Array, sums: Array) -> tuple[Array, Array]:
    """Distinct weights (J,), and the columns of `sums` (sums, N) added up over each (sums, J)."""
    if len(q) and q.min() == q.max():
        return q[:1], sums.sum(axis=1, keepdims=True)
    weight, at = np.unique(q, return_inverse=True)
    return weight, np.array([np.bincount(at, row, len(weight)) for row in sums], float)


def labelled(t: Array, measure: Array, labels: Array, share: Array, weight: Array, frame: Array) -> Atoms:
    """The atoms with y = 1, then those with y = -1, of nodes t (r, N) of the given measure (N,); used ones only.

    labels (2, 3, N): E[1, ζ, ζ²; observed label | t], of dp_theory.span.flips.observed_labels. share, weight (2, N): of
    rows kept with that label, and theirs.
    """
    mass, zeta, zeta2 = (measure * share * labels[:, i] for i in range(3))
    used = (mass > 0) & (weight > 0)
    y = np.repeat([1.0, -1.0], used.sum(axis=1))
    t = np.concatenate([t[:, of_label] for of_label in used], axis=1)
    return Atoms(y, weight[used], t, mass[used], zeta[used], zeta2[used], frame)
