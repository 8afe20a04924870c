"""Labels that are wrong near the boundary: P(flip | z) = 2 eps Φ(-|z|/width) (T8.1), with the labeller's own margin z
(ours).

Given the t that a rule sees, z = drift + blur·ζ, and E[1, ζ, ζ²; observed label | t] is closed (T8.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array, Float, Real, require, require_in, require_number
from dp_theory.numerics.quadrature import PDF0, pdf

WIDEST = 1e6  # a width from which flips are uniform, to about as many digits
_NARROWEST = 1e-9  # the least width that is looked for


@dataclass(frozen=True)
class BoundaryFlips:
    """Flips with P(flip | z) = 2 eps Φ(-|z|/width), for `flip` of a `Group` or a `PracticeProblem`.

    2 eps of the rows have the sign of z + width·noise for their label, the others that of z. Limits: eps = 0 and
    width → 0 are clean labels. width → ∞ flips all labels with probability eps.

    Parameters
    ----------
    width
        Where labels become sure, in standard deviations of the labeller's margin.
    eps
        Probability of a flip at the boundary. At 1/2 the label there is a coin's.

    Raises
    ------
    InputError
        For parameters outside their domain.
    """

    width: float
    eps: float = 0.5

    def __post_init__(self) -> None:
        require_number(width=self.width, eps=self.eps)
        must = f"be positive, and at most {WIDEST:g}: it is where labels become sure, in deviations"
        require("width", self.width, 0 < self.width <= WIDEST, must)
        require_in("[0, 1/2]", "it is a probability", eps=self.eps)

    @classmethod
    def of_share(cls, share: float, eps: float = 0.5) -> BoundaryFlips:
        """The flips whose width gives `share` of the plain rows a wrong label; 0 are clean labels."""
        require_number(share=share)
        if share == 0:
            return cls(_NARROWEST, 0.0)
        least, most = (cls(width, eps).share for width in (_NARROWEST, WIDEST))
        must = (
            f"be 0, or lie above {least:.3g} and below {most:.3g}, which the narrowest and the widest such flips give"
        )
        require("share", share, least < share < most, must)
        return cls(float(np.tan(np.pi * share / (2 * eps))), eps)

    def __call__(self, margin: Real) -> Real:
        return 2 * self.eps * ndtr(-np.abs(margin) / self.width)

    @property
    def share(self) -> float:
        """The share of plain rows with a wrong label (T8.5)."""
        return 2 * self.eps * float(np.arctan(self.width)) / np.pi

    @property
    def signal(self) -> float:
        """E[y z] (T8.6): all that ridge regression on plain rows knows of their labels."""
        return 2 * PDF0 * float(1 - 2 * self.eps + 2 * self.eps / np.hypot(1, self.width))


Flips = float | BoundaryFlips


def check_flips(flip: Flips) -> None:
    """A probability or BoundaryFlips."""
    if isinstance(flip, BoundaryFlips):
        return
    if callable(flip):
        raise InputError("flip must be a number or BoundaryFlips")
    require_number(flip=flip)
    require_in("[0, 1]", "it is a probability", flip=flip)


def chance_of_flip(flip: Flips, margin: Real) -> Real:
    """P(flip | the labeller's margin)."""
    return flip(margin) if isinstance(flip, BoundaryFlips) else flip


def softness(flip: Flips, blur: float) -> float:
    """The width of the labels' step, in units of the drift."""
    return float(np.hypot(blur, flip.width)) if isinstance(flip, BoundaryFlips) else blur


def draw_labels(flip: Flips, margin: Float[Array, " rows"], rng: np.random.Generator) -> Float[Array, " rows"]:
    """Labels ±1."""
    wrong = rng.random(len(margin)) < chance_of_flip(flip, margin)
    return np.where(margin >= 0, 1.0, -1.0) * np.where(wrong, -1.0, 1.0)


def observed_labels(flip: Flips, drift: Float[Array, " N"], blur: float) -> Float[Array, "2 3 N"]:
    """E[1, ζ, ζ²; observed label s | t] for s = 1 and s = -1, where the labeller's margin is drift + blur·ζ (T2.11)."""
    true = _signs(drift, blur, 1.0)
    if isinstance(flip, BoundaryFlips):
        whole = softness(flip, blur)
        return true + 2 * flip.eps * (_signs(drift, whole, blur / whole) - true)
    return true + flip * (true[::-1] - true) if flip else true


def _signs(drift: Float[Array, " N"], deviation: float, correlation: float) -> Float[Array, "2 3 N"]:
    """E[1, ζ, ζ²; s·x > 0] for x ~ N(drift, deviation²), correlated with ζ."""
    b = np.clip(drift / max(deviation, 1e-200), -40, 40)  # Φ(-40) = 0 in double precision
    density = correlation * pdf(b)
    bent = correlation * b * density
    above, below = ndtr(b), ndtr(-b)
    return np.array([[above, density, above - bent], [below, -density, below + bent]])
