"""Rows of a round as points of a randomised quasi-Monte Carlo rule, for losses whose answer to a row is not linear."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import gauss, pdf
from dp_theory.practice.cohorts import Cohort, edges
from dp_theory.practice.practice_problem import Addition
from dp_theory.span.flips import BoundaryFlips, Flips

_WIDER = (1.4, 1.15)  # of the first normals, and of t: their tails, where forces grow, take more points
_PARTS = 16  # of a panel, on each of which the distribution is nearly linear
_ORDER, _INNER = 16, 4  # of the panels and of their parts


@dataclass(frozen=True)
class Points:
    """N weighted points that stand for the kept rows of a cohort: E[F; kept] ≈ Σ mass · F, in units of n.

    view: (t, ζ) as in `Cohort`. normals: what each of the cohort's b stages adds to θ·x is a multiple of one.
    """

    cohort: Cohort
    y: Array  # (N,)
    weight: Array  # (N,), or (1,) where all weigh the same
    mass: Array  # (N,)
    view: Array  # (N, 2)
    normals: Array  # (N, b)

    def first(self, size: int) -> "Points":
        """The first points, a power of two of them, which are themselves such a rule."""
        share = len(self.y) / size
        weight = self.weight[:size]
        return Points(
            self.cohort, self.y[:size], weight, share * self.mass[:size], self.view[:size], self.normals[:size]
        )


def draw(cohort: Cohort, rows: Addition, flip: Flips, cosine: float, size: int, rng: np.random.Generator) -> Points:
    """`size` scrambled Sobol points, a power of two, for rows chosen by a learner with cos(θ_k, Σ^½w_g) = cosine.

    The first coordinate decides labels and t, by inversion of the distribution of kept rows: a narrow window takes no
    more points than a wide one.
    """
    blur = np.sqrt((1 - cosine) * (1 + cosine))
    tau = cosine / max(blur, 1e-300)
    near = isinstance(flip, BoundaryFlips)
    most = flip.eps if isinstance(flip, BoundaryFlips) else flip  # chance of a wrong label, or its bound
    u = qmc.Sobol(2 + cohort.last - cohort.first, rng=rng).random(size)
    u = np.clip(u, 1e-12, 1 - 1e-12)
    panel = edges(cosine, flip, rows, _ORDER)
    cut = np.append((panel[:-1, None] + np.diff(panel)[:, None] * np.arange(_PARTS) / _PARTS).ravel(), panel[-1])
    true, y = np.array([[1, -1, 1, -1], [1, -1, -1, 1]], float)[:, : 4 if most else 2]  # kinds of rows

    def density(t: Array, kind: np.ndarray) -> tuple[Array, Array]:
        """Of kept rows at t, and their weight."""
        keep, weight = rows.select(t, y[kind])
        right = 1.0 if near else 1 - most
        chance = np.where(true[kind] == y[kind], right, most) * ndtr(np.clip(true[kind] * tau * t, -40, 40))
        return keep * (weight > 0) * chance * pdf(t / _WIDER[0]), weight

    left, width = (np.tile(part, len(y)) for part in (cut[:-1], np.diff(cut)))
    kind = np.repeat(np.arange(len(y)), len(cut) - 1)
    x, share = gauss(_INNER)

    def amount(left: Array, width: Array, kind: np.ndarray) -> Array:
        """Of kept rows in intervals."""
        inner = left[:, None] + width[:, None] * x
        return width * (density(inner.ravel(), np.repeat(kind, _INNER))[0].reshape(inner.shape) @ share)

    total = np.concatenate([[0.0], np.cumsum(amount(left, width, kind))])
    level = u[:, 0] * total[-1]
    cell = np.searchsorted(total[1:-1], level, side="right")
    left, width, chosen, level = left[cell], width[cell], kind[cell], level - total[cell]
    t = left + width * level / np.maximum(total[cell + 1] - total[cell], 1e-300)
    for _ in range(4):  # Newton's method: nearly linear on these intervals
        height = np.maximum(density(t, chosen)[0], 1e-300)
        t = np.clip(t - (amount(left, t - left, chosen) - level) / height, left, left + width)
    weight = density(t, chosen)[1]
    side = true[chosen]  # ζ lies where side·(cosine·t + √(1 − cosine²)·ζ) > 0
    zeta = -side * ndtri(np.maximum(u[:, 1] * ndtr(np.clip(side * tau * t, -37, 40)), 1e-300))
    one = weight.min() == weight.max()
    normals = ndtri(u[:, 2:])
    wider = np.append(_WIDER, np.ones(normals.shape[1]))[: normals.shape[1]]
    normals *= wider
    exponent = np.cumsum((1 - wider**-2) / 2 * normals**2, axis=1) + (1 - _WIDER[0] ** -2) / 2 * t[:, None] ** 2
    mass = np.exp(-exponent)
    if isinstance(flip, BoundaryFlips):
        right, wrong = flip.outcomes(cosine * t + blur * zeta)
        mass *= np.where(side == y[chosen], right, wrong / (most or 1.0))[:, None]
    return Points(
        cohort,
        y[chosen],
        weight[:1] if one else weight,
        cohort.mass.sum() * mass / mass.sum(axis=0),
        np.column_stack([t, zeta]),
        normals,
    )
