"""How the rows of a loop answer to learners under any convex loss: forces by quasi-random points (ours).

A row of weight c answers to stage s with f_s = −c ℓ'(h_s; y), where its fitted score h_s is the prox of
u_s = θ_s + Σ_{j<s} X_sj f_j, the root of h + X_ss c ℓ'(h; y) = u_s, and θ_s is its score were it in no pool.
E[f_s f_j] is an integral over the scores of all stages up to s: it is taken over points (dp_theory.practice.rows), by

    E[F(f)] = E[F(f̂)] + Σ_points mass·(F(f) − F(f̂))

where f̂ is the answer under a quadratic loss fitted to this one, whose expectation is known (`linear_forces`). So points
sum by what the loss differs from a quadratic one; for the square loss that is nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dp_theory.numerics.checks import Array
from dp_theory.practice.dmft import Forces, Quadratics, geometry, linear_forces
from dp_theory.practice.rows import Points
from dp_theory.span.losses import Loss

Order = tuple[Array, Array, Array]  # a (stages,), C and X (stages, stages)


class Answering(Protocol):
    """What answers to scores with forces: a loss, or the quadratic one in its place."""

    def answer(self, score: Array, y: Array, weight: Array, response: float) -> tuple[Array, Array]:
        """As `Loss.answer`."""
        ...


@dataclass(frozen=True)
class Quadratic:
    """The loss H(m y − h)²/2 with stiffness H and target m."""

    stiffness: float
    target: float

    def answer(self, score: Array, y: Array, weight: Array, response: float) -> tuple[Array, Array]:
        """As `Loss.answer`."""
        stiff = weight * self.stiffness
        bend = stiff / (1 + response * stiff)
        return bend * (self.target * y - score), bend


@dataclass(frozen=True)
class Answers:
    """Forces f (N, solved) by which N points answer to the stages solved so far, and −∂f/∂θ (N, solved, solved), of
    which there is one for all points, (1, solved, solved), where they have the same."""

    force: Array
    bend: Array

    @classmethod
    def none(cls, size: int) -> "Answers":
        """Before any stage."""
        return cls(np.zeros((size, 0)), np.zeros((1, 0, 0)))

    def first(self, size: int) -> "Answers":
        """Of the first `size` points."""
        return Answers(self.force[:size], self.bend[:size])

    def after(self, force: Array, bend: Array) -> "Answers":
        """With one more stage, as `Block.newest` returns them."""
        points, solved = max(len(bend), len(self.bend)), self.force.shape[1]
        more = np.zeros((points, solved + 1, solved + 1))
        more[:, :solved, :solved], more[:, solved] = self.bend, bend
        return Answers(np.column_stack([self.force, force]), more)


@dataclass
class Block:
    """The points of a cohort, and how they answer under the loss and under the quadratic losses in its place."""

    points: Points
    of_loss: Answers
    of_stand_in: Answers

    @classmethod
    def of(cls, points: Points) -> "Block":
        """Before any stage."""
        return cls(points, Answers.none(len(points.y)), Answers.none(len(points.y)))

    def first(self, size: int) -> "Block":
        """Of the first `size` points, or of all if there are fewer."""
        size = min(size, len(self.points.y))
        return Block(self.points.first(size), self.of_loss.first(size), self.of_stand_in.first(size))

    def newest(self, loss: Answering, before: Answers, order: Order) -> tuple[Array, Array, Array]:
        """Forces (N,) of the newest stage, their −∂f/∂θ (N or 1, stages of the cohort), and the scores u (N,)."""
        score, chain, _ = self._scores(before, order)
        force, bend = loss.answer(score, self.points.y, self.points.weight, order[2][-1, -1])
        return force, bend[:, None] * chain, score

    def moments(self, loss: Answering, before: Answers, order: Order, smooth: bool) -> tuple[Array, Array, Array]:
        """Of the newest stage's force f: E[f f_j] and −E[∂f/∂θ_j] (stages of the cohort), E[f (t, ζ)] (2,).

        Where f is not smooth, −∂f/∂θ would jump from point to point: by Stein's lemma it is −fε/σ in the mean, ε the
        normal that is new and σ its share in θ.
        """
        score, chain, own = self._scores(before, order)
        force, bend = loss.answer(score, self.points.y, self.points.weight, order[2][-1, -1])
        place = before.force.shape[1]
        mass = self.points.mass[:, place]
        weighted = mass * force
        slopes = mass * bend if smooth else -weighted * self.points.normals[:, place] / own
        curvature = slopes @ chain if len(chain) > 1 else slopes.sum() * chain[0]
        return np.append(weighted @ before.force, weighted @ force), curvature, weighted @ self.points.view

    def _scores(self, before: Answers, order: Order) -> tuple[Array, Array, float]:
        """Scores u (N,) of the newest stage, ∂u/∂θ (N or 1, stages of the cohort), and the new normal's share in u."""
        a, c, x = order
        cohort, points, s = self.points.cohort, self.points, len(a) - 1
        view, noise, *_ = geometry(cohort.selector, a, c, slice(cohort.first, s + 1))
        factor, acting = np.linalg.cholesky(noise)[-1], x[s, cohort.first : s]
        score = points.view @ view[-1] + points.normals[:, : len(factor)] @ factor + before.force @ acting
        chain = np.append(-np.tensordot(before.bend, acting, axes=(1, 0)), np.ones((len(before.bend), 1)), axis=1)
        return score, chain, float(factor[-1])


def forces(blocks: Sequence[Block], before: Forces, order: Order, loss: Loss, stand_ins: Quadratics) -> Forces:
    """All forces at these order parameters, `before` those on the stages before the newest, which has this loss."""
    a, c, x = order
    s = len(a) - 1
    exact = linear_forces([block.points.cohort for block in blocks], a, c, x, stand_ins)
    gamma, ff, fg = (np.pad(old, (0, 1)) for old in before)
    gamma[s], ff[s], fg[s] = exact.gamma[s], exact.ff[s], exact.fg[s]
    quadratic = Quadratic(stand_ins.stiffness[s], stand_ins.target[s])
    for block in blocks:
        cohort = block.points.cohort
        if not cohort.first <= s < cohort.last:
            continue
        i = slice(cohort.first, s + 1)
        product, curvature, seen = (
            of_loss - of_quadratic
            for of_loss, of_quadratic in zip(
                block.moments(loss, block.of_loss, order, loss.smooth),
                block.moments(quadratic, block.of_stand_in, order, loss.smooth),
                strict=True,
            )
        )
        _, _, g, z_k = geometry(cohort.selector, a, c, i)
        ff[s, i] += product
        gamma[s, i] += curvature
        fg[s] += seen @ g
        if (k := cohort.selector) is not None:
            gamma[s, k] -= (seen @ z_k + curvature @ c[i, k]) / c[k, k]
    ff[:, s] = ff[s]
    return Forces(gamma, ff, fg)


def closest(blocks: Sequence[Block], order: Order, loss: Loss) -> tuple[float, float]:
    """Stiffness and target of the quadratic loss whose slope is closest to this one's, over the rows of the newest
    stage (least squares)."""
    s, columns = len(order[0]) - 1, []
    for block in blocks:
        cohort, points = block.points.cohort, block.points
        if cohort.first <= s < cohort.last:
            force, _, score = block.newest(loss, block.of_loss, order)
            slope, fitted = force / points.weight, score + order[2][s, s] * force
            columns.append(
                np.stack([points.y, -fitted, slope]) * np.sqrt(points.mass[:, s - cohort.first] * points.weight)
            )
    y, fitted, slope = np.concatenate(columns, axis=1)
    (pull, stiffness), *_ = np.linalg.lstsq(np.column_stack([y, fitted]), slope)
    return float(stiffness), float(pull / stiffness)
