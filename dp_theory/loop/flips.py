"""Labels that are wrong near the boundary: P(flip | z) = eps·g(|z|/width) (T8.1), with the labeller's own margin z
(ours).

Given the t that a rule sees, z = drift + blur·ζ. E[1, ζ, ζ²; observed label | t] is closed for probit (T8.4), one inner
integral else (T8.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erfc, expit, ndtr

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array, Real, require, require_number
from dp_theory.numerics.quadrature import half_line, panels, pdf

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SHAPES: dict[str, Callable[[Real], ArrayLike]] = {
    "probit": lambda u: erfc(u / np.sqrt(2)),
    "logistic": lambda u: 2 * expit(-u),
    "exponential": lambda u: np.exp(-u),
    "window": lambda u: u <= 1,
}
WIDEST = 1e6  # a width from which flips are uniform, to about as many digits
_NARROWEST = 1e-9  # the least width that is looked for
_REACH = 9.0  # of ζ: less than 1e-18 of its mass lies beyond
_STEPS = np.array([-9.0, -3.0, -1.0, 0.0, 1.0, 3.0, 9.0])  # edges around a step, in units of its width
_SCALES = 2.0 ** np.arange(12)  # |z|/width between which g is resolved
_BLOCK = 1 << 16  # drifts times order of inner integrals made at a time
_PER_BLUR = 40  # points of a table per standard deviation that the blur adds: its eighth order leaves 1e-14


@dataclass(frozen=True)
class BoundaryFlips:
    """Flips with P(flip | z) = eps·g(|z|/width), for `flip` of a `Group` or a `PracticeProblem`.

    Limits: eps = 0 and width → 0 are clean labels. width → ∞ flips all labels with probability eps·g(0).

    Parameters
    ----------
    width
        Where labels become sure, in standard deviations of the labeller's margin.
    eps
        Probability of a flip at the boundary. At 1/2 the label there is a coin's.
    shape
        g: one of SHAPES, or a function of u = |z|/width with values in [0, 1]. It must be smooth on the scale of u.

    Raises
    ------
    InputError
        For parameters outside their domain, and later, where a function leaves [0, 1].
    """

    width: float
    eps: float = 0.5
    shape: str | Callable[[Real], ArrayLike] = "probit"

    def __post_init__(self) -> None:
        require_number(width=self.width, eps=self.eps)
        must = f"be positive, and at most {WIDEST:g}: it is where labels become sure, in deviations"
        require("width", self.width, 0 < self.width <= WIDEST, must)
        require("eps", self.eps, 0 <= self.eps <= 1, "lie in [0, 1]: it is a probability")
        if not callable(self.shape) and self.shape not in SHAPES:
            raise InputError(f"unknown shape '{self.shape}' of flips: one of {', '.join(SHAPES)}, or a function of u")

    @classmethod
    def of_share(cls, share: float, shape: str | Callable[[Real], ArrayLike] = "probit", **given) -> BoundaryFlips:
        """The flips whose width gives `share` of the plain rows a wrong label; `given` has the other parameters."""
        from scipy.optimize import root_scalar

        def excess(log_width: float) -> float:
            return cls(float(np.exp(log_width)), shape=shape, **given).share - share

        low = np.log(_NARROWEST)
        high = np.log(WIDEST)
        least = excess(low) + share
        most = excess(high) + share
        must = f"lie between {least:.3g} and {most:.3g}, which the narrowest and the widest such flips give"
        require("share", share, least < share < most, must)
        log_width = root_scalar(excess, bracket=(low, high), xtol=1e-14).root
        return cls(float(np.exp(log_width)), shape=shape, **given)

    def __call__(self, margin: Real) -> Real:
        g = SHAPES[self.shape] if isinstance(self.shape, str) else self.shape
        u = np.abs(margin) / self.width
        values = np.broadcast_to(np.asarray(g(u), float), np.shape(u))
        require("shape(u)", values, (values >= 0) & (values <= 1), "lie in [0, 1]: it is a share of eps")
        return self.eps * values

    def outcomes(self, margin: Real) -> tuple[Real, Real]:
        wrong = self(margin)
        return 1 - wrong, wrong

    @property
    def share(self) -> float:
        """The share of plain rows with a wrong label; arctan(width)/π for probit with eps = 1/2 (T8.5)."""
        z, measure = half_line((*self.jumps, *self.levels))
        return float(measure @ self(z))

    @property
    def signal(self) -> float:
        """E[y z] (T8.6): all that ridge regression on plain rows knows of their labels."""
        z, measure = half_line((*self.jumps, *self.levels))
        return float((measure * z) @ (1 - 2 * self(z)))

    @property
    def jumps(self) -> tuple[float, ...]:
        """The positive margins at which the probability is not smooth."""
        return (self.width,) if self.shape == "window" else ()

    @property
    def levels(self) -> Float[Array, " levels"]:
        return self.width * _SCALES

    def cuts(self, slope: float, blur: float) -> list[float]:
        """The |t| between which labels are smooth in t, where z = slope·t + blur·ζ."""
        around_jumps = np.ravel(np.reshape(self.jumps, (-1, 1)) + blur * _STEPS)
        levels = self.levels[(self.levels > blur / 2) & (self.levels < _REACH)]
        return (np.concatenate([around_jumps, levels]) / max(abs(slope), 0.1)).tolist()

    def steps(self, blur: float) -> list[tuple[float, float]]:
        """(level, thickness) of the steps of labels along slope·t, for `nested`."""
        steps = [(0.0, self.width)]
        for jump in self.jumps:
            steps += [(-jump, 0.0), (jump, 0.0)]
        return [(level, float(np.hypot(blur, width))) for level, width in steps]

    def observed(
        self, true: Float[Array, "2 3 N"], drift: Float[Array, " N"], blur: float, order: int
    ) -> Float[Array, "2 3 N"]:
        if self.shape == "probit":  # sign(z + width·noise): the sign of a wider margin
            whole = np.hypot(blur, self.width)
            r = blur / whole
            b = np.clip(drift / whole, -40, 40)
            soft = np.array([[ndtr(s * b), s * r * pdf(b), ndtr(s * b) - s * r * r * b * pdf(b)] for s in (1, -1)])
            return true + 2 * self.eps * (soft - true)
        return self._integrated(drift, blur, order)

    def _integrated(self, drift: np.ndarray, blur: float, order: int) -> np.ndarray:
        """The inner integral is smooth in the drift on the scale of the blur, so that many drifts share a table."""
        low = drift.min(initial=0.0)
        high = drift.max(initial=0.0)
        size = int((high - low) / max(blur, 1e-9) * _PER_BLUR) + 8
        if size < len(drift) / 2:
            from scipy.interpolate import make_interp_spline

            grid = np.linspace(low, high, size)
            return make_interp_spline(grid, self._integrated(grid, blur, order), k=7, axis=-1)(drift)
        blocks = np.array_split(np.arange(len(drift)), -(-len(drift) * order // _BLOCK) or 1)
        return np.concatenate([self._integrated_block(drift[block], blur, order) for block in blocks], axis=-1)

    def _integrated_block(self, drift: np.ndarray, blur: float, order: int) -> np.ndarray:
        zeta, weights, z, starts = self.inner(drift, blur, order)
        right, wrong = (weights * probability for probability in self.outcomes(z))
        observed = np.where(z > 0, right, wrong), np.where(z > 0, wrong, right)  # label 1, and -1
        moments = np.stack([np.stack([mass, mass * zeta, mass * zeta**2]) for mass in observed])
        return np.add.reduceat(moments, starts, axis=-1)

    def inner(
        self, drift: Float[Array, " N"], blur: float, order: int
    ) -> tuple[
        Float[Array, " nodes"],
        Float[Array, " nodes"],
        Float[Array, " nodes"],
        Int[np.ndarray, " N"],
    ]:
        """ζ, weights and margin of the nodes of integrals over ζ, and the first node of each integral."""
        levels = np.concatenate([self.levels, self.jumps])
        levels = levels[levels < np.max(np.abs(drift), initial=0.0) + _REACH * blur]
        changes = np.concatenate([-levels, [0.0], levels]) - drift[:, None]
        changes = np.clip(changes / max(blur, 1e-200), -_REACH, _REACH)
        fixed = np.broadcast_to([-_REACH, -3.0, 3.0, _REACH], (len(drift), 4))
        edges = np.sort(np.concatenate([changes, fixed], axis=1))
        row, panel = np.nonzero(np.diff(edges) > 0)
        zeta, weights = panels(np.stack([edges[row, panel], edges[row, panel + 1]], axis=1), order)
        margin = drift[row, None] + blur * zeta
        starts = np.searchsorted(row, np.arange(len(drift))) * order
        return zeta.ravel(), (weights * pdf(zeta)).ravel(), margin.ravel(), starts


Flips = float | BoundaryFlips


def check_flips(flip: Flips) -> None:
    """A probability or BoundaryFlips."""
    if isinstance(flip, BoundaryFlips):
        return
    if callable(flip):
        raise InputError("flip must be a number or BoundaryFlips: BoundaryFlips(width, shape=g) takes a function g")
    require_number(flip=flip)
    require("flip", flip, 0 <= flip <= 1, "lie in [0, 1]: it is a probability")


def draw_labels(flip: Flips, margin: Float[Array, " rows"], rng: np.random.Generator) -> Float[Array, " rows"]:
    """Labels ±1."""
    wrong = rng.random(len(margin)) < (flip(margin) if isinstance(flip, BoundaryFlips) else flip)
    return np.where(margin >= 0, 1.0, -1.0) * np.where(wrong, -1.0, 1.0)


def observed_labels(flip: Flips, drift: Float[Array, " N"], blur: float, order: int) -> Float[Array, "2 3 N"]:
    """E[1, ζ, ζ²; observed label s | t] for s = 1 and s = -1, where the labeller's margin is drift + blur·ζ (T2.11)."""
    b = np.clip(drift / max(blur, 1e-200), -40, 40)  # Φ(-40) = 0 in double precision
    density = pdf(b)
    above = ndtr(b)
    below = ndtr(-b)
    bent = b * density
    true = np.array([[above, density, above - bent], [below, -density, below + bent]])
    if isinstance(flip, BoundaryFlips):
        return flip.observed(true, drift, blur, order)
    return true + flip * (true[::-1] - true) if flip else true
