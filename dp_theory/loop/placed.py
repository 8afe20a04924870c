"""Kept rows as weighted nodes, and by weight: all that the equations need of them.

Nodes have coordinates of their own: t (r,), of the directions that the rule sees, and ζ, the labeller's own. A rule
that sees nothing is shown its labeller's score.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from dp_base.errors import InputError
from dp_theory.loop.groups import BoundaryFlips, Flips, observed_labels, softness
from dp_theory.numerics.checks import Array, Float
from dp_theory.numerics.quadrature import nested, panels, pdf, refined
from dp_theory.rules import KeepAll, Rule

MOST_NODES = 3e7  # of a group, made block by block
MOST_WEIGHTS = 1 << 20  # different ones of a group, held at once: about 200 MB with three directions
_LOST = 1e-3  # an angle between labeller and selector of which the cosine, which closed forms take, has lost digits
_IN_THE_SPAN = 1e-14  # a labeller with a smaller part off the directions lies in their span

_DENSITY_EDGES = (0, 1, 2, 3, 5, 7, 10)  # of |t|: panels between these resolve the density, below 1e-22 beyond
_TAIL_EDGES = np.array([1, 3, 9, 27])  # beyond the farthest jump, in units of the density's length there
_LABEL_EDGES = np.array([1, 3, 9])  # edges around the labeller's boundary, in units of the width of its step in t
_SMALL_SCALES = (1e-8, 1e-6, 1e-4, 1e-2)  # |t| of features of functions at the selector's boundary that are looked for
_LEAST_SLOPE = 0.1  # of the labeller along t over its own part, below which labels are smooth in t


@dataclass(frozen=True, eq=False)
class PlacedRows:
    """Rows with a scalar rule, in the coordinates of the span."""

    rows: Any  # Group or Addition
    flip: Flips
    labeller: Float[Array, " k"]  # unit vectors
    seen: Float[Array, "r k"]
    _kept: "dict[int, Kept]" = field(default_factory=dict, init=False, repr=False)

    @property
    def needs_quadrature(self) -> bool:
        nearly_one = isinstance(self.rows.keep, Rule) and _IN_THE_SPAN < self.axes.kappa < _LOST
        with_rule = self.rows.has_functions or isinstance(self.flip, BoundaryFlips) or nearly_one
        return self.rows.moments is None and with_rule

    @cached_property
    def axes(self) -> "Axes":
        return Axes.of(self.labeller, self.seen)

    def kept(self, order: int) -> "Kept":
        """`kept_rows`, remembered."""
        if order not in self._kept:
            self._kept[order] = kept_rows(self, order)
        return self._kept[order]


class Kept(NamedTuple):
    """The kept rows by their J distinct weights, per candidate: E[1, y x, x xᵀ; weight], x = (t, ζ, …) in `frame`."""

    weight: Float[Array, " J"]
    mass: Float[Array, " J"]
    linear: Float[Array, "J k"]
    second: Float[Array, "J k k"]
    frame: Float[Array, "k k"]
    error: float = 0.0


def kept_rows(placed: PlacedRows, order: int) -> Kept:
    """Quadrature of this order stands in where no closed form is known."""
    axes, error = placed.axes, 0.0
    if placed.rows.moments is not None:
        weight = mass = np.ones(1)
        linear, second = (moment[None] for moment in placed.rows.moments)
    elif placed.needs_quadrature:
        weight, sums = _summed(atoms_of(placed, order))
        size = len(axes.labeller) + 1
        mass, linear, second = sums[0], sums[1 : 1 + size].T, sums[1 + size :].T.reshape(-1, size, size)
    else:
        axes = Axes.of(placed.labeller, placed.seen[:1])
        weight, (p, gamma, beta, beta_tilde), error = _closed(placed, float(np.clip(axes.labeller[0], -1, 1)))
        mass, linear, second = np.array([p]), np.array([[beta_tilde, beta]]), np.array([[[gamma, 0.0], [0.0, p]]])
    # without the labeller's own coordinate where it has none, and with all others
    frame = axes.frame if axes.frame[:, -1].any() else axes.frame[:, :-1]
    k, columns = frame.shape
    linear, second = linear[:, :columns], second[:, :columns, :columns]
    if columns < k:
        frame = np.column_stack([frame, np.linalg.qr(frame, mode="complete")[0][:, columns:]])
        linear = np.pad(linear, ((0, 0), (0, k - columns)))
        plain = mass[:, None, None] * np.eye(k)
        plain[:, :columns, :columns] = second
        second = plain
    return Kept(weight, mass, linear, second, frame, error)


def _closed(placed: PlacedRows, cosine: float) -> tuple[Array, list[float], float]:
    """The weight, `Moments` and their error: at most one direction, one weight, and flips of one probability."""
    rows, flip = placed.rows, placed.flip
    assert not isinstance(flip, BoundaryFlips), "these are integrated"
    (share,), weight = rows.select(np.zeros((1, 1)), np.ones(1))
    rule, share = (rows.keep, 1.0) if isinstance(rows.keep, Rule) else (KeepAll(), float(share))
    moments, errors = rule.moments_with_errors(cosine)
    found = [share * float(moment) * (weight[0] > 0) for moment in moments]
    return weight, [*found[:2], *((1 - 2 * flip) * moment for moment in found[2:])], float(max(errors))


# -- the coordinates of nodes -----------------------------------------------------------------------------------------


class Axes(NamedTuple):
    """The r orthonormal coordinates of the seen directions, in which nodes are made."""

    frame: Float[Array, "k axes"]  # the coordinates' directions, and the labeller's own, 0 if it has none
    seen: Float[Array, "s r"]  # the seen directions, a lower triangle
    labeller: Float[Array, " r"]  # the labeller's part in the coordinates
    kappa: float  # the length of its own part

    @classmethod
    def of(cls, labeller: Float[Array, " k"], seen: Float[Array, "s k"]) -> "Axes":
        frame, triangle = np.linalg.qr(seen.T)
        signs = np.where(np.diag(triangle) < 0, -1.0, 1.0)
        frame, triangle = frame * signs, triangle[: len(signs)] * signs[:, None]
        c = labeller @ frame
        rest = labeller - frame @ c
        rest = rest - frame @ (rest @ frame)  # again: if the labeller nearly lies in the span, the first left eps/kappa
        kappa = float(np.linalg.norm(rest))
        own = rest / kappa if kappa > _IN_THE_SPAN else 0 * rest
        return cls(np.column_stack([frame, own]), triangle.T, c, kappa)


# -- atoms ------------------------------------------------------------------------------------------------------------


class Atoms(NamedTuple):
    """N nodes with a label: E[F; kept] = Σ_atoms mass·F.

    A row is frame·(t, ζ) + noise orthogonal to it. `moments` are E[1, ζ, ζ²; the atom], of which the first is its mass.
    """

    y: Float[Array, " N"]
    q: Float[Array, " N"]
    t: Float[Array, "r N"]
    moments: tuple[Array, ...]  # (N,) each
    frame: Float[Array, "k axes"]

    def linear(self, f: Float[Array, " N"]) -> Float[Array, " k"]:
        mass, zeta, _ = self.moments
        return self.frame @ np.append(self.t @ (f * mass), f @ zeta)


def atoms_of(placed: PlacedRows, order: int) -> Iterator[Atoms]:
    """The atoms come in blocks, since several directions have many."""
    if len(placed.seen) > 1:
        yield from scored_atoms(placed, order)
        return
    axes = placed.axes
    t, measure, labels = score_nodes(placed, order)
    share, weight = _selected(placed, axes.seen * t)
    yield _labelled(t[None], measure, labels, share, weight, axes.frame)


def scored_atoms(
    placed: PlacedRows,
    order: int,
    score: Float[Array, " coordinates"] | None = None,
    bends: Sequence[tuple[float, float]] = (),
    least: float = 0.0,
) -> Iterator[Atoms]:
    """Nested quadrature, for a convex loss also along `score` (k + 1,), with a coordinate off the span.

    `bends` are places along it, with widths. Masses below `least` of a block's largest are left out.
    """
    labeller, along = placed.labeller, placed.seen
    seen = along
    if score is not None:
        labeller = np.append(labeller, 0.0)
        along = np.pad(along, ((0, 0), (0, 1)))
        seen = np.concatenate([along, score[None]])
    axes = Axes.of(labeller, seen)
    steps = _steps(placed, axes, bends)
    # how far out nodes go; it grows with the order, which thus refines the tails' cut too
    reach = float(np.hypot(8 + order / 16, max((abs(at) for _, at in placed.rows.jumps()), default=0.0)))
    rule_axes = min(len(along), len(axes.labeller))  # coordinates that the rule sees: fewer if directions coincide
    made = 0
    for view, mass, _ in nested(*steps, order, reach, end=rule_axes):
        share, weight = _selected(placed, axes.seen[: len(along), :rule_axes] @ view)
        kept = (share * weight > 0).any(axis=0) & (mass > least * mass.max())
        mass, share, weight = mass[kept], share[:, kept], weight[:, kept]
        for t, measure, column in nested(*steps, order, reach, view[:, kept]):
            measure = measure * mass[column]
            if least:
                used = measure > least * measure.max()
                t, measure, column = t[:, used], measure[used], column[used]
            made += len(measure)
            if made > MOST_NODES:
                raise InputError(
                    f"{len(seen)} directions to integrate over at order {order} take more than {MOST_NODES:.0e} nodes,"
                    " more than time and memory allow: let the rule see fewer directions"
                )
            labels = observed_labels(placed.flip, axes.labeller @ t, axes.kappa)
            yield _labelled(t, measure, labels, share[:, column], weight[:, column], axes.frame)


def _steps(placed: PlacedRows, axes: Axes, bends: Sequence[tuple[float, float]]) -> tuple[Array, Array, Array]:
    steps = [(axes.seen[i], at, 0.0) for i, at in placed.rows.jumps()]
    steps += [(axes.seen[-1], at, width) for at, width in bends]
    steps += [(axes.labeller, 0.0, width) for width in {axes.kappa, softness(placed.flip, axes.kappa)}]
    planes, level, width = zip(*steps, strict=True)
    return np.vstack(planes), np.array(level), np.array(width)


def _selected(placed: PlacedRows, t: Array) -> Array:
    return np.stack([placed.rows.select(t, np.full(t.shape[1], y)) for y in (1.0, -1.0)], axis=1)


def _labelled(t: Array, measure: Array, labels: Array, share: Array, weight: Array, frame: Array) -> Atoms:
    moments = (measure * share)[:, None] * labels
    used = (moments[:, 0] > 0) & (weight > 0)
    y = np.repeat([1.0, -1.0], used.sum(axis=1))
    t = np.concatenate([t[:, of_label] for of_label in used], axis=1)
    return Atoms(y, weight[used], t, tuple(part[used] for part in moments.swapaxes(0, 1)), frame)


# -- nodes of one score -----------------------------------------------------------------------------------------------


def score_nodes(
    placed: PlacedRows, order: int
) -> tuple[Float[Array, " nodes"], Float[Array, " nodes"], Float[Array, "2 3 nodes"]]:
    """Nodes of t, their weights, and E[1, ζ, ζ²; observed label is y | t] for y = 1 and y = -1."""
    axes = placed.axes
    t, weights = panels(panel_edges(placed, order), order)
    return t, weights * pdf(t), observed_labels(placed.flip, axes.labeller[0] * t, axes.kappa)


def panel_edges(placed: PlacedRows, order: int) -> Float[Array, " edges"]:
    """Panels on which keep or weight is a function are refined until `order` nodes resolve it."""
    slope, blur = float(placed.axes.labeller[0]), placed.axes.kappa
    jumps = [abs(at) for _, at in placed.rows.jumps()]
    farthest = max(jumps, default=0.0)
    cuts: list[float] = [*_DENSITY_EDGES, *jumps]
    if farthest > _DENSITY_EDGES[-3]:
        cuts += (farthest + _TAIL_EDGES / farthest).tolist()
    for width in (blur, softness(placed.flip, blur)):
        cuts += (_LABEL_EDGES * width / max(abs(slope), _LEAST_SLOPE * width)).tolist()
    functions = placed.rows.has_functions
    if functions:
        cuts += _SMALL_SCALES
    half = np.clip(cuts, 0, max(_DENSITY_EDGES[-1], farthest + _TAIL_EDGES[-1] / max(farthest, 1.0)))
    edges = np.unique(np.append(-half, half))
    return refined(edges, lambda t: pdf(t) * _integrands(placed, t), order) if functions else edges


def _integrands(placed: PlacedRows, t: Array) -> Array:
    keep, weight = _selected(placed, placed.axes.seen * t)
    return np.stack([keep, keep * weight, keep * weight / (1 + weight)]).reshape(-1, len(t))


# -- sums by weight ---------------------------------------------------------------------------------------------------


def _summed(blocks: Iterator[Atoms]) -> tuple[Array, Array]:
    parts: list[tuple[Array, Array]] = []
    for atoms in blocks:
        parts.append(_by_weight(atoms.q, _sums(atoms)))
        if sum(len(weights) for weights, _ in parts) > MOST_WEIGHTS:
            parts = [_merged(parts)]
        if len(parts[0][0]) > MOST_WEIGHTS:
            raise InputError(
                f"the rows have more than {MOST_WEIGHTS:.0e} different weights, more than memory allows: let the"
                " weight see fewer directions, or have steps"
            )
    return _merged(parts)


def _sums(atoms: Atoms) -> Array:
    """E[1, y x, x xᵀ; the atom] for x = (t, ζ), row by row."""
    t, (mass, zeta, zeta2) = atoms.t, atoms.moments
    r = len(t)
    second = np.empty((r + 1, r + 1, len(mass)))
    second[:r, :r] = t[:, None] * t * mass
    second[r] = second[:, r] = np.vstack([t * zeta, zeta2])
    return np.concatenate([mass[None], atoms.y * np.vstack([t * mass, zeta]), second.reshape((r + 1) ** 2, len(mass))])


def _merged(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    weights, sums = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    return _by_weight(weights, sums)


def _by_weight(q: Array, sums: Array) -> tuple[Array, Array]:
    if len(q) and q.min() == q.max():
        return q[:1], sums.sum(axis=1, keepdims=True)
    weight, at = np.unique(q, return_inverse=True)
    return weight, np.array([np.bincount(at, row, len(weight)) for row in sums], float)


# -- cohorts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cohort:
    """The rows of one round in units of n, which train the stages first ≤ s < last; `selector` chose them."""

    placed: PlacedRows
    kept: Kept
    candidates: float
    selector: int | None
    first: int
    last: int

    @classmethod
    def of(cls, placed: PlacedRows, kept: Kept, selector: int | None, first: int, last: int) -> "Cohort":
        size = placed.rows.candidates_at(float(kept.mass.sum()))
        scaled = kept._replace(mass=size * kept.mass, linear=size * kept.linear, second=size * kept.second)
        return cls(placed, scaled, size, selector, first, last)
