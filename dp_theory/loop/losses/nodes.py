"""Means of forces by quadrature, for the first stage: along the rule's score t, and then along the learner's own."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from dp_theory.loop.groups import IN_THE_SPAN, PlacedRows, observed_labels, score_axes, softness
from dp_theory.loop.integrals import select_both
from dp_theory.loop.losses.loss import Loss
from dp_theory.loop.square import Newest
from dp_theory.numerics.checks import Array, Float
from dp_theory.numerics.quadrature import panels, pdf

# Mass of a node, over the largest: the tails of two coordinates are many.
_NEGLIGIBLE = 1e-14
# Thickness from which a step is as smooth as the normal density.
_BLURRED = 1.0
# Panel edges around a smooth step, in units of its thickness.
_STEP_EDGES = np.array([-7.0, 0.0, 7.0])
# A line whose slope along a coordinate is smaller does not cut it.
_PARALLEL = 1e-14
# Steps thicker than this part of the slope along t leave no kink in the inner integral where they cross.
_KINK = 0.5
# Panels end here: they resolve the normal density.
_CENTRE = 3.0


class Steps(NamedTuple):
    """Lines normal·(t, s) = level, across which an integrand steps, of this thickness."""

    normal: Float[Array, "F 2"]
    level: Float[Array, " F"]
    width: Float[Array, " F"]

    def with_crossings(self) -> "Steps":
        """Where two lines cross along s, the inner integral has a kink in t: one line more."""
        normal, level, width = self
        pairs = list(combinations(np.flatnonzero(np.abs(normal[:, 1]) > _PARALLEL), 2))
        f, g = np.array(pairs, int).reshape(-1, 2).T
        slope = normal[:, 1]
        crossing = normal[f, 0] / slope[f] - normal[g, 0] / slope[g]
        thickness = np.hypot(width[f] / slope[f], width[g] / slope[g])
        sharp = thickness < _KINK * np.abs(crossing)
        met = (level[f] / slope[f] - level[g] / slope[g])[sharp]
        lines = np.column_stack([crossing[sharp], np.zeros(len(met))])
        return Steps(np.vstack([normal, lines]), np.append(level, met), np.append(width, thickness[sharp]))


def _nodes_between(
    slope: Array, level: Float[Array, "F N"], width: Array, order: int, reach: float
) -> tuple[Array, Array]:
    """Nodes of a standard normal and their weights (N, nodes), where N integrands step at level/slope."""
    crossing = np.abs(slope) > _PARALLEL
    crossing[crossing] = width[crossing] / np.abs(slope[crossing]) < _BLURRED
    scale = width[crossing] / np.abs(slope[crossing])
    steps = np.unique(_STEP_EDGES * np.any(scale > 0))  # sharp steps need no edges around them
    met = level[crossing] / slope[crossing, None]
    cuts = (met.T[..., None] + scale[:, None] * steps).reshape(level.shape[1], -1)
    fixed = np.broadcast_to([-reach, -_CENTRE, _CENTRE, reach], (len(cuts), 4))
    s, weight = panels(np.sort(np.clip(np.concatenate([fixed, cuts], axis=1), -reach, reach)), order)
    return s, weight * pdf(s)


class Atoms(NamedTuple):
    """N nodes with a label: E[F; kept] = Σ_atoms mass·F. A row is frame·(t, s, ζ) and noise off these.

    `moments` are E[1, ζ, ζ²; the atom], of which the first is its mass.
    """

    y: Float[Array, " N"]
    weight: Float[Array, " N"]
    t: Float[Array, "2 N"]
    moments: Float[Array, "3 N"]
    frame: Float[Array, "k 3"]

    def linear(self, f: Float[Array, " N"]) -> Float[Array, " k"]:
        mass, zeta, _ = self.moments
        return self.frame @ np.append(self.t @ (f * mass), f @ zeta)


def scored_atoms(
    placed: PlacedRows, order: int, score: Float[Array, " coordinates"], bends: Sequence[tuple[float, float]]
) -> Iterator[Atoms]:
    """Nodes along t and the unit vector `score` (k + 1,), with a coordinate off the span, for both labels.

    `bends` are places along the score, with widths.
    """
    along, zeta = np.vstack([placed.frame, np.zeros(2)]).T
    labeller = placed.slope * along + placed.kappa * zeta
    seen, *of_score = score_axes(score, along)  # s is the score's own coordinate off t
    of_label = labeller @ seen
    rest = labeller - seen @ of_label
    rest = rest - seen @ (rest @ seen)
    kappa = float(np.linalg.norm(rest))
    frame = np.column_stack([seen, rest / kappa if kappa > IN_THE_SPAN else 0 * rest])

    jumps = placed.rows.jumps()
    lines = [((1.0, 0.0), at, 0.0) for at in jumps]
    lines += [(tuple(of_score), at, width) for at, width in bends]
    lines += [(tuple(of_label), 0.0, width) for width in {kappa, softness(placed.flip, kappa)}]
    steps = Steps(*map(np.array, zip(*lines, strict=True))).with_crossings()
    # how far out nodes go; it grows with the order, which thus refines the tails' cut too
    reach = float(np.hypot(8 + order / 16, max(map(abs, jumps), default=0.0)))
    blurred = np.hypot(steps.width, steps.normal[:, 1])
    (t,), (mass,) = _nodes_between(steps.normal[:, 0], steps.level[:, None], blurred, order, reach)
    share, weight = select_both(placed.rows, t)
    kept = (share * weight > 0).any(axis=0) & (mass > _NEGLIGIBLE * mass.max())
    t, mass, share, weight = t[kept], mass[kept], share[:, kept], weight[:, kept]
    level = steps.level[:, None] - steps.normal[:, :1] * t
    s, inner = _nodes_between(steps.normal[:, 1], level, steps.width, order, reach)
    measure = mass[:, None] * inner
    row, column = np.nonzero(measure > _NEGLIGIBLE * measure.max())
    at = np.stack([t[row], s[row, column]])
    labels = observed_labels(placed.flip, of_label @ at, kappa)
    for y, share_of, weight_of, label in zip((1.0, -1.0), share[:, row], weight[:, row], labels, strict=True):
        moments = measure[row, column] * share_of * label
        used = (moments[0] > 0) & (weight_of > 0)
        yield Atoms(np.full(used.sum(), y), weight_of[used], at[:, used], moments[:, used], frame)


def node_means(initial: Sequence[PlacedRows], loss: Loss, order: int, newest: Newest) -> Newest:
    """Means of forces over nodes, for the first stage."""
    *a, variance, response = newest
    score = np.append(a, np.sqrt(variance))
    length = float(np.linalg.norm(score))
    bends = [(at / length, width / length) for at, width in loss.bends(response)]
    pull, force, bend = np.zeros(len(score)), 0.0, 0.0
    for placed in initial:
        share = placed.rows.candidates_at(1.0)
        for atoms in scored_atoms(placed, order, score / length, bends):
            f, of_row = loss.answer(score @ atoms.frame[:, :-1] @ atoms.t, atoms.y, atoms.weight, response)
            pull += share * atoms.linear(f)
            force += share * float(f * f @ atoms.moments[0])
            bend += share * float(of_row @ atoms.moments[0])
    return np.append(pull[: len(a)], [force, bend])
