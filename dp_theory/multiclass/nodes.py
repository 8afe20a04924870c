"""Nodes of expectations over selected rows, in the coordinates that matter to K classes.

A row is known by its scores g under the teacher, by those under the selector, s = ρ g + √(1 − ρ²) g', and by z, normal
like these, along all else. Only differences between classes matter: all are centred. Classes may be renamed so that the
row's class, argmax g, is class 0.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import helmert
from scipy.special import ndtri

from dp_theory.multiclass.selection import Selection
from dp_theory.multiclass.sobol import uniforms
from dp_theory.numerics.checks import Array


@dataclass(frozen=True, eq=False)
class Nodes:
    """`sets` of as many rows each, one set after the other.

    known: g, and g' where the selection depends on it: (1 or 2, rows, K). rest (rows, K): z. mass (rows,): the
    probability that a row is kept, so that the mean of mass · F is E[F; kept]. teacher (rows, K): g of rows that are
    not selected.
    """

    sets: int
    known: Array
    rest: Array
    mass: Array
    teacher: Array

    @classmethod
    def of(cls, classes: int, selection: Selection, rho: float, sets: int, log2: int, seed: int) -> "Nodes":
        """Sets of 2^log2 nodes, each from a Sobol sequence with its own scrambling.

        From node to node nothing jumps. g is drawn given that g_0 is the largest: its quantile is u^(1/K), and those of
        the others are uniform below. The radius of (g, g') is independent of their direction, which decides the class;
        a selection with a threshold moves it to the kept part of the ray.
        """
        directions = 2 if selection.sees_scores and abs(rho) < 1 else 1
        dimensions = classes + directions * (classes - 1)
        u = np.concatenate([uniforms(dimensions, log2, seed, number) for number in range(sets)])
        largest = u[:, :1] ** (1 / classes)
        g = ndtri(np.concatenate([largest, u[:, 1:classes] * largest], axis=1))
        g -= g.mean(1, keepdims=True)
        others = ndtri(u[:, classes:]).reshape(-1, directions, classes - 1) @ helmert(classes)
        known = np.stack([g, *np.moveaxis(others, 1, 0)[:-1]])
        scores = np.einsum("j,jnk->nk", (rho, np.sqrt((1 - rho) * (1 + rho)))[:directions], known)
        radius = np.sqrt(np.einsum("jnk,jnk->n", known, known))
        mass, factor = selection.along_rays(scores, radius, directions * (classes - 1))
        means = mass.reshape(sets, -1).mean(1)  # each of the kept fraction, which is known better
        mass = mass * np.repeat(np.resize(selection.keep_fraction(classes), sets) / means, 2**log2)
        return cls(sets, known * factor[:, None], others[:, -1], mass, g)

    def means(self, values: Array) -> Array:
        """(..., rows) -> (..., sets): the mean over each set."""
        return values.reshape(*values.shape[:-1], self.sets, -1).mean(-1)
