"""What the theory sees of features: their covariance, two scores of each row, and the length of the rest.

Rows are centred and whitened, x − mean = Σ^½z. t is the selector's score and g the truth's. For the truth stands the
direction of least squares, at an angle γ to it, whose scores v are left out one by one by the leverage h_i:

    g = ρt + √(1 − ρ²)ζ                                              (1)
    v_i = (ŷ_i − h_i y_i)/(1 − h_i)                                  (2)
    cos²γ = E[yv]/E[v²]                                              (3)
    v/√E[v²] = cos γ · g + sin γ · (a coordinate off the plane)      (4)
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dp_base.errors import InputError
from dp_theory.loop import Group, SpanProblem
from dp_theory.numerics.checks import Array, Float
from dp_theory.rules import Rule
from dp_theory.validity.features import Features

# A direction whose variance is a smaller share of the ridge is left out: it trains no classifier.
NEGLIGIBLE = 0.01
# An eigenvalue that is nothing but rounding, over the largest.
ROUNDED = 1e-12
# The fewest rows per direction, and the fewest directions, that a check takes.
ROWS_PER_DIRECTION = 10
MIN_DIRECTIONS = 3
# Below, labels have nothing to do with the features.
MIN_R2 = 0.02
# The leverage of a row beyond which leaving it out takes a direction away.
MAX_LEVERAGE = 0.99
# Squared sine between selector and truth that rounding leaves.
PARALLEL = 1e-6
# The relative length of a whitened direction below which it has none.
_NO_LENGTH = 1e-9
# The largest flip rate: at 1/2 labels say nothing.
_MAX_FLIPS = 0.49


@dataclass(frozen=True, eq=False)
class FeatureView:
    """N rows in d directions; t alone where selector and truth cannot be told apart."""

    x: Float[Array, "rows d"]  # the centred rows in Σ's eigenbasis, in units that make Σ's mean eigenvalue 1
    y: Float[Array, " rows"]  # their labels, 1 and -1
    spectrum: Float[Array, " d"]  # the eigenvalues of Σ
    basis: Float[Array, "d k"]  # u_s, and the unit vector along the rest of u_0
    plane: Float[Array, "k rows"]  # t and ζ
    score: Float[Array, " rows"]  # v/√E[v²]
    tangent: float  # tan γ
    rho: float  # the cosine of u_s and u_0
    # Other rows, as x and y, that only test.
    test: tuple[Float[Array, "tests d"], Float[Array, " tests"]] | None = None

    @classmethod
    def of(cls, features: Features, lam: float) -> "FeatureView":
        """The view without the directions that a ridge of lam times the mean eigenvalue hides."""
        spectrum, axes, x, test = _principal(features, lam)
        y = features.y
        z = x / np.sqrt(spectrum)
        leverage = np.square(z).sum(1) / len(y)
        row = int(leverage.argmax())
        if leverage[row] > MAX_LEVERAGE:
            raise InputError(
                f"row {row} of those used has a direction of X to itself (leverage {leverage[row]:.3f}): leave it out,"
                " or take a larger lam_per_row"
            )
        selector = _whitened_selector(features.w_s, spectrum, axes)
        truth, score, cosine = _fitted_truth(z, y, leverage)
        t = z @ selector
        tangent = float(np.sqrt(1 / cosine**2 - 1))
        rho = float(np.mean(t * score)) / cosine
        squared_sine = 1 - rho**2
        if squared_sine <= max(tangent**2, PARALLEL):
            basis = selector[:, None]
            plane = t[None]
            rho = float(np.sign(rho))
        else:
            rest = truth - (truth @ selector) * selector
            zeta = (score / cosine - rho * t) / np.sqrt(squared_sine)  # (1), (4)
            basis = np.column_stack([selector, rest / np.linalg.norm(rest)])
            plane = np.stack([t, zeta])
        return cls(x, y, spectrum, basis, plane, score, tangent, rho, test)

    @property
    def dimension(self) -> int:
        return len(self.spectrum)

    @property
    def truth(self) -> Float[Array, " k"]:
        return np.array([self.rho, np.sqrt(1 - self.rho**2)])[: len(self.plane)]

    @cached_property
    def off_plane(self) -> Float[Array, "rows d"]:
        z = self.x / np.sqrt(self.spectrum)
        return z - (z @ self.basis) @ self.basis.T

    @cached_property
    def lengths(self) -> Float[Array, " rows"]:
        """Squared lengths off the plane over their mean, each h/(1 − h) of its leverage there."""
        leverage = np.square(self.off_plane).sum(1) / len(self.y)
        squares = leverage / (1 - leverage)
        return squares / squares.mean()

    @cached_property
    def flips(self) -> float:
        """The share of labels that the truth gets wrong; the fitted one errs on a share γ/π of the others besides."""
        wrong = float(np.mean(self.y * self.score < 0))
        by_angle = np.arctan(self.tangent) / np.pi
        return float(np.clip((wrong - by_angle) / (1 - 2 * by_angle), 0.0, _MAX_FLIPS))

    def keep_probability(self, rule: Rule) -> Float[Array, " rows"]:
        return np.asarray(rule.keep_probability(self.plane[0]), float)

    def problem(self, rule: Rule, phi: float, lam: float) -> SpanProblem:
        unwhitened = self.basis / np.sqrt(self.spectrum)[:, None]
        group = Group(along=unwhitened[:, 0], keep=rule, flip=self.flips)
        return SpanProblem(unwhitened @ self.truth, [group], phi, lam, self.spectrum)


def _fitted_truth(z: Array, y: Array, leverage: Array) -> tuple[Array, Array, float]:
    pull = y @ z / len(y)
    v = (z @ pull - leverage * y) / (1 - leverage)  # (2)
    with_labels = float(np.mean(y * v))  # E[yv]
    squared = float(np.mean(v**2))  # E[v²]
    if not with_labels > MIN_R2:
        raise InputError(
            "y has nothing to do with X that a linear classifier could learn: "
            f"R² = {max(with_labels, 0.0):.3f} on rows left out"
        )
    cosine = min(np.sqrt(with_labels / squared), 1.0)  # (3)
    return pull / np.linalg.norm(pull), v / np.sqrt(squared), cosine


def _whitened_selector(w: Array, spectrum: Array, axes: Array) -> Array:
    u = np.sqrt(spectrum) * (w @ axes)
    length = np.linalg.norm(u)
    if not length > _NO_LENGTH * np.linalg.norm(w) * np.sqrt(spectrum[-1]):
        raise InputError("w_s has no variance: it lies where rows do not differ")
    return u / length


def _principal(features: Features, lam: float) -> tuple[Array, Array, Array, tuple[Array, Array] | None]:
    """The covariance's eigenvalues, of mean 1, and axes; centred rows along these, in that unit; test rows alike."""
    mean = features.x.mean(0)
    centred = features.x - mean
    eigenvalues, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    if not eigenvalues[-1] > 0:
        raise InputError("X has no variance: all rows are alike")
    least = ROUNDED * eigenvalues[-1]
    is_seen = eigenvalues > max(NEGLIGIBLE * lam * eigenvalues.mean(), least)
    spectrum = eigenvalues[is_seen]
    axes = axes[:, is_seen]
    seen, there = len(spectrum), int(np.sum(eigenvalues > least))
    if there < MIN_DIRECTIONS:
        raise InputError(f"X varies in {there} directions only: the theory is one of many directions")
    if seen < MIN_DIRECTIONS:
        raise InputError(
            f"lam_per_row = {lam:g} hides {there - seen} of the {there} directions in which X varies: "
            f"at least {MIN_DIRECTIONS} must be left; take a smaller lam_per_row"
        )
    if len(centred) < ROWS_PER_DIRECTION * seen:
        raise InputError(
            f"X has {len(centred)} rows in {seen} directions: a check takes {ROWS_PER_DIRECTION} rows a "
            f"direction; give more rows, {len(centred) // ROWS_PER_DIRECTION} principal components, or a larger "
            "lam_per_row, which hides directions"
        )
    unit = spectrum.mean()
    scaled = axes / np.sqrt(unit)
    test = features.test and ((features.test[0] - mean) @ scaled, features.test[1])
    return spectrum / unit, axes, centred @ scaled, test
