"""Rows as a selection rule sees them, and the rules that the best ones are among: those that keep bands of margins.

A rule of the score t and the observed label y does what a function of u = y·t alone does; without the label, of |t|.
Both are called margins. With w = y·(x·v), v ⟂ w_s in the plane of w_s and w0, a learner depends on a rule q by the six
moments E[q·(1, u, w, u², uw, w²)] only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from dp_theory.loop.flips import observed_labels
from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import half_line
from dp_theory.rules import SymmetricRule
from dp_theory.rules.moments import sine_and_tau

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

MOMENTS = 6  # on which a learner depends
CLOSE_EDGES = tuple((0.0517 * np.arange(1, 140)).tolist())  # edges of close panels; none of them is dyadic

TINY = 1e-300  # in place of a share of rows that is 0, in denominators

_NEGLIGIBLE = 1e-7  # share of what is kept, below which a band or a gap is left out
_REACH = 8.3  # largest |margin| of atoms; beyond lies a share of 1e-16
_ORDER = 12  # of the panels: they are dyadic, so that this resolves the label's scale to 1e-12
_SAME_EDGES = 0.01  # relative difference of edges that count as the same


@dataclass(frozen=True)
class Bands:
    """A rule that keeps the rows whose margin lies in one of several bands.

    It is a function (t, y), for `keep` of an `Addition` with `breaks=bands.breaks`, or of a `Group` with these of both
    signs. `rule` is the same for a `Problem`.

    Parameters
    ----------
    bands
        The intervals [low, high), rising and apart from each other.
    labels
        Whether the margin is y·t, which takes the label, or |t|.
    """

    bands: tuple[tuple[float, float], ...]
    labels: bool = False

    @classmethod
    def between(cls, edges: Float[Array, " edges"], labels: bool) -> Bands:
        """The bands from the first edge to the second, from the third to the fourth, and so on."""
        return cls(tuple((float(low), float(high)) for low, high in edges.reshape(-1, 2)), labels)

    def __call__(self, t: ArrayLike, y: ArrayLike) -> Array:
        margin = np.multiply(y, t) if self.labels else np.abs(t)
        return np.any([(margin >= low) & (margin < high) for low, high in self.bands], axis=0).astype(float)

    @property
    def edges(self) -> Float[Array, " edges"]:
        return np.array(self.bands).ravel()

    @property
    def breaks(self) -> tuple[float, ...]:
        return tuple(sorted({abs(edge) for band in self.bands for edge in band if 0 < abs(edge) < np.inf}))

    def close_to(self, other: Bands) -> bool:
        """Whether all edges are the same to a part in a hundred."""
        one = self.edges
        two = other.edges
        return one.shape == two.shape and np.allclose(one, two, rtol=_SAME_EDGES, atol=0.0)

    @property
    def rule(self) -> SymmetricRule:
        """Only bands of |t| have one, since a `Rule` sees no labels."""
        assert not self.labels, "a rule sees no labels"
        return SymmetricRule(lambda t: self(t, 1.0), self.breaks)

    def __str__(self) -> str:
        name = "yt" if self.labels else "|t|"
        return " or ".join(f"{low:.4g} < {name} < {high:.4g}" for low, high in self.bands)


@dataclass(frozen=True)
class SelectorView:
    """What a rule sees of rows, and what of them counts."""

    rho: float  # cosine between the selector and the truth
    flip: float = 0.0  # probability that a label is flipped
    labels: bool = False  # whether the rule sees the observed labels

    def features(self, margin: Float[Array, " margins"]) -> Float[Array, "6 margins"]:
        """E[1, u, w, u², uw, w² | margin], times the margin's density over that of |G|, G ~ N(0, 1)."""
        return self._signed(margin) if self.labels else self._signed(margin) + self._signed(-margin)

    def _signed(self, u: Array) -> Array:
        sine, _ = sine_and_tau(self.rho)
        share, w, w2 = observed_labels(self.flip, self.rho * u, float(sine), _ORDER)[0]
        return np.stack([share, u * share, w, u * u * share, u * w, w2])

    def nodes(self, breaks: tuple[float, ...] = ()) -> tuple[Float[Array, " nodes"], Float[Array, " nodes"]]:
        """Rising margins, with jumps of q at `breaks`, and weights."""
        t, weights = half_line(breaks, _ORDER)
        if not self.labels:
            return t, weights
        return np.append(-t[::-1], t), np.append(weights[::-1], weights)

    @cached_property
    def atoms(self) -> tuple[Float[Array, " atoms"], Float[Array, "6 atoms"]]:
        margin, weights = self.nodes(CLOSE_EDGES)
        seen = np.abs(margin) < _REACH
        margin = margin[seen]
        return margin, weights[seen] * self.features(margin)

    def moments(
        self, keep: Bands | Callable[[Array, Array], ArrayLike], breaks: tuple[float, ...] = ()
    ) -> Float[Array, " 6"]:
        margin, weights = self.nodes(keep.breaks if isinstance(keep, Bands) else breaks)
        y = np.ones_like(margin)
        if isinstance(keep, Bands):
            kept = keep(margin, y)
        else:
            kept = (np.asarray(keep(margin, y)) + np.asarray(keep(-margin, -y))) / 2
        return self.features(margin) @ (weights * kept)

    def bands(self, kept: Bool[np.ndarray, " atoms"]) -> Bands:
        margin, features = self.atoms
        mass = features[0]
        negligible = _NEGLIGIBLE * mass[kept].sum()
        change = np.flatnonzero(np.diff(kept))  # the last atom of each run of kept or dropped ones, but for the end
        run_masses = [part.sum() for part in np.split(mass, change + 1)]
        run_kept = kept[np.append(0, change + 1)]
        lowest = -np.inf if self.labels else 0.0
        edges = [lowest, *((margin[change] + margin[change + 1]) / 2).tolist(), np.inf]
        bands: list[tuple[float, float]] = []
        gap = 0.0  # mass between the last band and this run
        for run_mass, is_kept, low, high in zip(run_masses, run_kept, edges[:-1], edges[1:], strict=True):
            if not is_kept:
                gap += run_mass
            elif run_mass > negligible:
                if bands and gap <= negligible:
                    low = bands.pop()[0]
                bands.append((low, high))
                gap = 0.0
        return Bands(tuple(bands), self.labels)
