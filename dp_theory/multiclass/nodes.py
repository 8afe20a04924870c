"""Nodes of expectations over selected rows, in the coordinates that matter to K classes.

Scores are g (K,) under the teacher, s = ρ g + √(1 - ρ²) g' under the selector, and z elsewhere, all centred. The row's
class, argmax g, is named 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import helmert
from scipy.special import ndtri

from dp_theory.multiclass.hardness import uniforms
from dp_theory.multiclass.selection import Selection
from dp_theory.numerics.checks import Array

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Nodes:
    """Quasi-random rows in independent sets of equal size."""

    sets: int
    known: Float[Array, "k rows K"]  # g, and also g' where the selection depends on it
    rest: Float[Array, "rows K"]  # z
    mass: Float[Array, " rows"]  # probability that a row is kept: the mean of mass · F is E[F; kept]
    teacher: Float[Array, "rows K"]  # g of rows that are not selected

    @classmethod
    def of(cls, classes: int, selection: Selection, rho: float, sets: int, log2: int, seed: int) -> Nodes:
        """g is drawn given that g_0 is the largest; a threshold moves the radius of (g, g'), which decides no class."""
        k = 2 if selection.sees_scores and abs(rho) < 1 else 1  # g' matters, or g alone
        dimensions = classes + k * (classes - 1)
        u = np.concatenate([uniforms(dimensions, log2, seed, number) for number in range(sets)])
        teacher = _largest_first(u[:, :classes])
        others = ndtri(u[:, classes:]).reshape(-1, k, classes - 1) @ helmert(classes)  # g' where k = 2, then z
        known = np.stack([teacher, *np.moveaxis(others, 1, 0)[:-1]])
        rest = others[:, -1]

        weights = (rho, np.sqrt((1 - rho) * (1 + rho)))[:k]
        scores = np.einsum("j,jnk->nk", weights, known)
        radius = np.sqrt(np.einsum("jnk,jnk->n", known, known))
        mass, factor = selection.along_rays(scores, radius, k * (classes - 1))

        # The kept fraction is known better than the mean of each set, which is corrected to it.
        fractions = np.resize(selection.keep_fraction(classes), sets)
        means = mass.reshape(sets, -1).mean(1)
        mass = mass * np.repeat(fractions / means, 2**log2)
        return cls(sets, known * factor[:, None], rest, mass, teacher)

    def means(self, values: Float[Array, "*outputs rows"]) -> Float[Array, "*outputs sets"]:
        return values.reshape(*values.shape[:-1], self.sets, -1).mean(-1)


def _largest_first(u: Float[Array, "rows K"]) -> Float[Array, "rows K"]:
    largest = u[:, :1] ** (1 / u.shape[1])
    g = ndtri(np.concatenate([largest, u[:, 1:] * largest], axis=1))
    return g - g.mean(1, keepdims=True)
