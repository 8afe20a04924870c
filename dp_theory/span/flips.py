"""Labels that are wrong near the boundary: P(flip | z) = eps·g(|z|/width), z the labeller's own margin (ours).

z = x·w_g, standardised, so that z ~ N(0, 1) over plain rows. g falls from 1 at the boundary to 0 far from it. With
eps = 1/2, the default, nothing can be told at the boundary itself: "probit" is then y = sign(z + width·noise) with
normal noise, "logistic" y ~ Bernoulli(σ(z/width)), soft labels as they are drawn.

A label check then looks at the rows: a verifier that sees the margin through noise of its own keeps a row with
probability Φ((y z + doubt)/width). Rows that it drops were made and paid for, and nobody trains on them.

A rule sees t; the margin given it is z = drift + blur·ζ with ζ ~ N(0, 1) independent of it. What theory needs of the
labels are E[1, ζ, ζ²; observed label, passed | t], as in dp_theory.span.atoms: closed for probit without a check, one
inner integral else.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erfc, expit, ndtr

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array, require, require_breaks, require_number
from dp_theory.numerics.quadrature import half_line, panels, pdf

SHAPES: dict[str, Callable[[Array], ArrayLike]] = {
    "probit": lambda u: erfc(u / np.sqrt(2)),
    "logistic": lambda u: 2 * expit(-u),
    "exponential": lambda u: np.exp(-u),
    "window": lambda u: u <= 1,
}
WIDEST = 1e6  # a width from which flips are uniform, to about as many digits
_REACH = 9.0  # of ζ: less than 1e-18 of its mass lies beyond
_STEPS = np.array([-9.0, -3.0, -1.0, 0.0, 1.0, 3.0, 9.0])  # edges around a step, in units of its width
_SCALES = 2.0 ** np.arange(12)  # |z|/width between which g is resolved
_BLOCK = 1 << 16  # drifts times order of inner integrals made at a time
_PER_BLUR = 40  # points of a table per standard deviation that the blur adds: its eighth order leaves 1e-14


@dataclass(frozen=True)
class LabelCheck:
    """A verifier passes a row of margin z and label y with probability Φ((y z + doubt)/width).

    width: how finely it sees; alone it would label arctan(width)/π of the plain rows wrong. doubt: how far on the wrong
    side a row must seem to lie. Limits: width → ∞ passes half of everything, doubt → ∞ all. Raises InputError for a
    width that is not positive.
    """

    width: float
    doubt: float = 0.0

    def __post_init__(self) -> None:
        require_number(width=self.width, doubt=self.doubt)
        require("width", self.width, 0 < self.width <= WIDEST, f"be positive, and at most {WIDEST:g}")

    def __call__(self, agreement: ArrayLike) -> Array:
        """The probability to pass, of rows with these y z."""
        return ndtr((np.asarray(agreement) + self.doubt) / self.width)


@dataclass(frozen=True)
class BoundaryFlips:
    """P(flip | z) = eps·g(|z|/width), for `flip` of a `Group` or a `PracticeProblem`.

    width: where labels become sure, in standard deviations of the labeller's margin. eps: the probability at the
    boundary, 1/2 if labels are a coin's there. shape: g, one of SHAPES or a function of u = |z|/width with values in
    [0, 1], smooth on the scale of u but at `breaks`. check: who drops rows afterwards; its width and doubt may not be
    far below the flips' width.

    Limits: eps = 0 and width → 0 are clean labels, width → ∞ flips all with probability eps·g(0). Raises InputError for
    parameters outside their domain, and where a function leaves [0, 1].
    """

    width: float
    eps: float = 0.5
    shape: str | Callable[[Array], ArrayLike] = "probit"
    breaks: tuple[float, ...] = ()
    check: LabelCheck | None = None

    def __post_init__(self) -> None:
        require_number(width=self.width, eps=self.eps)
        require("width", self.width, 0 < self.width <= WIDEST,
                f"be positive, and at most {WIDEST:g}: it is where labels become sure, in deviations")  # fmt: skip
        require("eps", self.eps, 0 <= self.eps <= 1, "lie in [0, 1]: it is a probability")
        require_breaks(self.breaks)
        if not callable(self.shape) and self.shape not in SHAPES:
            raise InputError(f"unknown shape '{self.shape}' of flips: one of {', '.join(SHAPES)}, or a function of u")

    @classmethod
    def of_share(cls, share: float, shape: str | Callable[[Array], ArrayLike] = "probit", **given) -> "BoundaryFlips":
        """With the width at which `share` of the plain rows have a wrong label. Raises InputError where none does."""
        from scipy.optimize import root_scalar

        def excess(log_width: float) -> float:
            return cls(float(np.exp(log_width)), shape=shape, **given).share - share

        low, high = np.log(1e-9), np.log(WIDEST)
        most = excess(high) + share
        require("share", share, excess(low) < 0 < excess(high), f"lie between 0 and {most:.3g}, what such flips give")
        return cls(float(np.exp(root_scalar(excess, bracket=(low, high), xtol=1e-14).root)), shape=shape, **given)

    def __call__(self, margin: ArrayLike) -> Array:
        """The probability of a flip at these margins, of any shape and sign."""
        g = SHAPES[self.shape] if isinstance(self.shape, str) else self.shape
        u = np.abs(margin) / self.width
        values = np.broadcast_to(np.asarray(g(u), float), np.shape(u))
        require("shape(u)", values, (values >= 0) & (values <= 1), "lie in [0, 1]: it is a share of eps")
        return self.eps * values

    def outcomes(self, margin: Array) -> tuple[Array, Array]:
        """Probabilities that the label is right, and that it is wrong, and passes the check."""
        wrong = self(margin)
        if self.check is None:
            return 1 - wrong, wrong
        return (1 - wrong) * self.check(np.abs(margin)), wrong * self.check(-np.abs(margin))

    @property
    def share(self) -> float:
        """The share of plain rows with a wrong label, E P(flip | z), before a check. Probit, eps = 1/2:
        arctan(width)/π."""
        z, measure = half_line((*self.jumps, *self.levels))
        return float(measure @ self(z))

    @property
    def signal(self) -> float:
        """E[y z] = E|z|(1 - 2 P(flip | z)), all that ridge regression on plain rows knows of their labels; √(2/π) for
        clean ones. Before a check."""
        z, measure = half_line((*self.jumps, *self.levels))
        return float((measure * z) @ (1 - 2 * self(z)))

    @property
    def jumps(self) -> tuple[float, ...]:
        """The margins, positive, where the probability is not smooth, apart from 0."""
        return tuple(self.width * u for u in (*self.breaks, *((1.0,) if self.shape == "window" else ())))

    @property
    def levels(self) -> Array:
        """Margins, positive, between which labels are resolved by panels."""
        if self.check is None:
            return self.width * _SCALES
        passing = np.abs(self.check.doubt + self.check.width * _STEPS) if self.check.doubt else []
        return np.append(min(self.width, self.check.width) * _SCALES, passing)

    def cuts(self, slope: float, blur: float) -> list[float]:
        """|t| between which what is known of labels at t is smooth, if z = slope·t + blur·ζ."""
        around = np.ravel(np.reshape(self.jumps, (-1, 1)) + blur * _STEPS)
        levels = self.levels[(self.levels > blur / 2) & (self.levels < _REACH)]
        return (np.concatenate([around, levels]) / max(abs(slope), 0.1)).tolist()

    def steps(self, blur: float) -> list[tuple[float, float]]:
        """(level, thickness) of the steps that labels take along slope·t, for
        `dp_theory.numerics.quadrature.nested`."""
        smooth = [(0.0, self.width)]
        if self.check is not None:
            smooth += [(0.0, self.check.width), *((s * self.check.doubt, self.check.width) for s in (-1, 1))]
        sharp = [(s * jump, 0.0) for jump in self.jumps for s in (-1, 1)]
        return [(level, float(np.hypot(blur, width))) for level, width in (*smooth, *sharp)]

    def observed(self, true: Array, drift: Array, blur: float, order: int) -> Array:
        """E[1, ζ, ζ²; observed label s, passed | t] (2, 3, N), s = 1 and -1; `true`: those of the true label.

        The margin is drift + blur·ζ, drift (N,) of t. order: of the panels of the inner integral.
        """
        if self.shape == "probit" and self.check is None:  # sign(z + width·noise): the sign of a wider margin
            whole = np.hypot(blur, self.width)
            r, b = blur / whole, np.clip(drift / whole, -40, 40)
            soft = np.array([[ndtr(s * b), s * r * pdf(b), ndtr(s * b) - s * r * r * b * pdf(b)] for s in (1, -1)])
            return true + 2 * self.eps * (soft - true)
        return self._integrated(drift, blur, order)

    def _integrated(self, drift: Array, blur: float, order: int) -> Array:
        """As `observed`. Smooth in the drift on the scale of the blur, whatever g: many drifts share a table."""
        low, high = drift.min(initial=0.0), drift.max(initial=0.0)
        size = int((high - low) / max(blur, 1e-9) * _PER_BLUR) + 8
        if size < len(drift) / 2:
            from scipy.interpolate import make_interp_spline

            grid = np.linspace(low, high, size)
            return make_interp_spline(grid, self._integrated(grid, blur, order), k=7, axis=-1)(drift)
        blocks = np.array_split(np.arange(len(drift)), -(-len(drift) * order // _BLOCK) or 1)
        return np.concatenate([self._block(drift[block], blur, order) for block in blocks], axis=-1)

    def _block(self, drift: Array, blur: float, order: int) -> Array:
        zeta, weights, z, starts = self.inner(drift, blur, order)
        right, wrong = (weights * p for p in self.outcomes(z))
        positive = np.where(z > 0, right, wrong), np.where(z > 0, wrong, right)
        moments = np.stack([np.stack([mass, mass * zeta, mass * zeta**2]) for mass in positive])
        return np.add.reduceat(moments, starts, axis=-1)

    def inner(self, drift: Array, blur: float, order: int) -> tuple[Array, Array, Array, np.ndarray]:
        """Nodes ζ, weights and margins (nodes,) of integrals over ζ, one after the other, a panel's edge wherever
        labels change, and the number of the first node of each (N,)."""
        levels = np.concatenate([self.levels, self.jumps])
        levels = levels[levels < np.max(np.abs(drift), initial=0.0) + _REACH * blur]
        edges = np.concatenate([-levels, [0.0], levels]) - drift[:, None]
        edges = np.clip(edges / max(blur, 1e-200), -_REACH, _REACH)
        fixed = np.broadcast_to([-_REACH, -3.0, 3.0, _REACH], (len(drift), 4))
        edges = np.sort(np.concatenate([edges, fixed], axis=1))
        row, panel = np.nonzero(np.diff(edges) > 0)
        zeta, weights = panels(np.stack([edges[row, panel], edges[row, panel + 1]], axis=1), order)
        z = drift[row, None] + blur * zeta
        starts = np.searchsorted(row, np.arange(len(drift))) * order
        return zeta.ravel(), (weights * pdf(zeta)).ravel(), z.ravel(), starts


Flips = float | BoundaryFlips


def check_flips(flip: Flips) -> None:
    """Raises InputError unless it is a probability or BoundaryFlips."""
    if not isinstance(flip, BoundaryFlips):
        if callable(flip):
            raise InputError("flip must be a number or BoundaryFlips: BoundaryFlips(width, shape=g) takes a function g")
        require_number(flip=flip)
        require("flip", flip, 0 <= flip <= 1, "lie in [0, 1]: it is a probability")


def draw_labels(flip: Flips, margin: Array, rng: np.random.Generator) -> tuple[Array, np.ndarray]:
    """Labels ±1 of rows with these margins of their labeller (rows,), and whether each row passes the check."""
    wrong = rng.random(len(margin)) < (flip(margin) if isinstance(flip, BoundaryFlips) else flip)
    y = np.where(margin >= 0, 1.0, -1.0) * np.where(wrong, -1.0, 1.0)
    if isinstance(flip, BoundaryFlips) and flip.check is not None:
        return y, rng.random(len(margin)) < flip.check(margin * y)
    return y, np.ones(len(margin), bool)


def observed_labels(flip: Flips, drift: Array, blur: float, order: int) -> Array:
    """E[1, ζ, ζ²; observed label s | t] (2, 3, N) for s = 1 and -1, where the labeller's margin is drift + blur·ζ.

    With b = drift/blur the true label sign(b + ζ) has Φ(sb), sφ(b), Φ(sb) − sbφ(b).
    """
    b = np.clip(drift / max(blur, 1e-200), -40, 40)  # Φ(-40) = 0 in double precision
    density, above, below = pdf(b), ndtr(b), ndtr(-b)
    bent = b * density
    true = np.array([[above, density, above - bent], [below, -density, below + bent]])
    if isinstance(flip, BoundaryFlips):
        return flip.observed(true, drift, blur, order)
    return true + flip * (true[::-1] - true) if flip else true
