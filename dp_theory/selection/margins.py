"""Rows as a selection rule sees them, and the rules that the best ones are among: those of 0 and 1.

A rule sees the score t = x·w_s of a row and its observed label y. Nothing changes where t, y and x all change sign: a
rule of (t, y) does what its mean over both signs does, so that it is a function of the margin u = y·t alone, u in R,
and of |t| alone if it does not see the label. With v ⟂ w_s the unit vector in the plane of w_s and w0, and
w = y·(x·v), a learner of kept rows depends on a rule by six numbers only, linear in it: E[q·(1, u, w, u², uw, w²)].
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import half_line, pdf
from dp_theory.rules import SymmetricRule
from dp_theory.rules.moments import sine_and_tau

FEATURES = 6
FINE = tuple((0.0517 * np.arange(1, 140)).tolist())  # edges of close panels; none is dyadic
_NEGLIGIBLE = 1e-7  # share of what is kept
_REACH = 8.3  # |x| of atoms; beyond is a share of 1e-16
_ORDER = 12  # of the panels: they are dyadic, so that this resolves the label's scale to 1e-12


@dataclass(frozen=True)
class Bands:
    """Keeps the rows whose margin lies in one of the bands, [low, high) each: y·t, or |t| if `labels` is False.

    It is a `keep` of (t, y): for an `Addition` with `breaks=bands.breaks`, for a `Group` with these of both signs.
    `rule` is the same for a `Problem`.
    """

    bands: tuple[tuple[float, float], ...]
    labels: bool = False

    @classmethod
    def between(cls, edges: Array, labels: bool) -> "Bands":
        """From the first edge to the second, from the third to the fourth, and so on; edges (2·bands,), rising."""
        return cls(tuple((float(low), float(high)) for low, high in edges.reshape(-1, 2)), labels)

    def __call__(self, t: ArrayLike, y: ArrayLike) -> Array:
        """1 where the row is kept, else 0."""
        x = np.multiply(y, t) if self.labels else np.abs(t)
        return np.any([(x >= low) & (x < high) for low, high in self.bands], axis=0).astype(float)

    @property
    def breaks(self) -> tuple[float, ...]:
        """The |t| > 0 where it jumps."""
        return tuple(sorted({abs(x) for band in self.bands for x in band if 0 < abs(x) < np.inf}))

    def scaled(self, factor: float) -> "Bands":
        """The bands with all margins multiplied."""
        return Bands(tuple((low * factor, high * factor) for low, high in self.bands), self.labels)

    def close_to(self, other: "Bands") -> bool:
        """Whether all edges are the same to a part in a hundred."""
        one, two = np.ravel(self.bands), np.ravel(other.bands)
        return one.shape == two.shape and np.allclose(one, two, rtol=0.01, atol=0.0)

    @property
    def rule(self) -> SymmetricRule:
        """The same as a rule, which sees no labels."""
        assert not self.labels, "a rule sees no labels"
        return SymmetricRule(lambda t: self(t, 1.0), self.breaks)

    def __str__(self) -> str:
        name = "yt" if self.labels else "|t|"
        return " or ".join(f"{low:.4g} < {name} < {high:.4g}" for low, high in self.bands)


@dataclass(frozen=True)
class View:
    """What a rule sees: the score of a selector at cosine rho to the truth, with `labels` the observed labels too.

    These are flipped with probability `flip`.
    """

    rho: float
    flip: float = 0.0
    labels: bool = False

    def features(self, x: Array) -> Array:
        """E[1, u, w, u², uw, w² | x] (6, N), times the density of x over that of |G|, at margins x (N,)."""
        return self._signed(x) if self.labels else self._signed(x) + self._signed(-x)

    def _signed(self, u: Array) -> Array:
        _, tau = sine_and_tau(self.rho)
        clean = 1 - 2 * self.flip
        b = np.clip(tau * u, -40, 40)
        share, w = self.flip + clean * ndtr(b), clean * pdf(b)
        return np.stack([share, u * share, w, u * u * share, u * w, share - b * w])

    def nodes(self, breaks: tuple[float, ...] = ()) -> tuple[Array, Array]:
        """Margins x, rising, and weights, (N,) each: Σ weights·features·q = E[q·features]. breaks: |x| of jumps."""
        x, weights = half_line(breaks, _ORDER)
        return (np.append(-x[::-1], x), np.append(weights[::-1], weights)) if self.labels else (x, weights)

    @cached_property
    def atoms(self) -> tuple[Array, Array]:
        """Margins x (N,), rising, so close that a rule of 0 and 1 is well known by them, and E[features; x] (6, N)."""
        x, weights = self.nodes(FINE)
        seen = np.abs(x) < _REACH
        x, weights = x[seen], weights[seen]
        return x, weights * self.features(x)

    def moments(self, keep: Bands | Callable[[Array, Array], ArrayLike], breaks: tuple[float, ...] = ()) -> Array:
        """E[q·(1, u, w, u², uw, w²)] (6,) of a rule: bands, or a function of (t, y); breaks: the |t| where it jumps.

        A function counts by its mean over both signs of (t, y), and must not see y unless this view does.
        """
        x, weights = self.nodes(keep.breaks if isinstance(keep, Bands) else breaks)
        y = np.ones_like(x)
        kept = keep(x, y) if isinstance(keep, Bands) else (np.asarray(keep(x, y)) + np.asarray(keep(-x, -y))) / 2
        return self.features(x) @ (weights * kept)

    def bands(self, kept: NDArray[np.bool_]) -> Bands:
        """The rule that keeps the atoms where kept (N,) is true, its edges between them.

        Bands and gaps of a negligible share are left out.
        """
        x, mass = self.atoms[0], self.atoms[1][0]
        i = np.flatnonzero(np.diff(kept))
        parts = np.split(mass, i + 1)  # kept and dropped in turn
        small = _NEGLIGIBLE * mass[kept].sum()
        inside = kept[np.append(0, i + 1)]
        edges = [-np.inf if self.labels else 0.0, *((x[i] + x[i + 1]) / 2).tolist(), np.inf]
        bands: list[tuple[float, float]] = []
        dropped = 0.0
        for part, keep, low, high in zip(parts, inside, edges[:-1], edges[1:], strict=True):
            if keep and part.sum() > small:
                if bands and dropped <= small:
                    low = bands.pop()[0]
                bands.append((low, high))
                dropped = 0.0
            elif not keep:
                dropped += part.sum()
        return Bands(tuple(bands), self.labels)
