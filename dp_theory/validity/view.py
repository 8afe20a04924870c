"""What the theory sees of a matrix of features: its covariance, two scores of each row, and the length of the rest.

Features are centred and whitened, x − mean = Σ^½z. t = z·u_s is the selector's score, u_s along Σ^½w_s, and g = z·u_0
that of the truth, both of variance 1. The truth is w_g if that is known, else the direction of least squares, on which
labels pull. Its scores are then left out one by one, by the leverage h_i = |z_i|²/N,

    v_i = (ŷ_i − h_i y_i)/(1 − h_i)

so that they are projections like any other, normal where rows are. Their direction is off the truth by an angle γ,
cos²γ = E[yv]/E[v²], so that v/√E[v²] = cosγ·g + sinγ·(a coordinate off the plane). Who needs g takes v over cosγ, and
the `blur` of the rest away.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array
from dp_theory.rules import Rule
from dp_theory.span import Group, SpanProblem
from dp_theory.validity.features import Features

NEGLIGIBLE = 0.01  # a direction whose variance is a smaller share of the ridge is left out: it trains no classifier
ROUNDED = 1e-12  # an eigenvalue that is nothing but rounding, over the largest
PER_DIRECTION = 10  # rows that a direction takes
LEAST_R2 = 0.02  # below, labels have nothing to do with the features
MOST_LEVERAGE = 0.99  # of a row, beyond which leaving it out takes a direction away
PARALLEL = 1e-6  # squared sine between selector and truth that rounding leaves


@dataclass(frozen=True, eq=False)
class View:
    """N rows in d directions; t and ζ are their coordinates in the plane of selector and truth, g = ρt + √(1 − ρ²)ζ.

    Where selector and truth are one direction, as far as N rows tell, there is t alone, and k = 1; else k = 2.
    """

    x: Array  # (N, d): centred, in Σ's eigenbasis, in units that make Σ's mean eigenvalue 1
    y: Array  # (N,): ±1
    spectrum: Array  # (d,): eigenvalues of Σ
    basis: Array  # (d, k): u_s, and the unit vector along the rest of u_0
    plane: Array  # (k, N): t, ζ
    blur: Array  # (k,): variance of the noise in each
    score: Array  # (N,): v/√E[v²]
    tangent: float  # tan γ; 0: the truth is known
    rho: float  # cos(u_s, u_0)
    test: tuple[Array, Array] | None = None  # other rows as x (M, d), y (M,), which only test

    @classmethod
    def of(cls, features: Features, lam: float) -> "View":
        """lam: the ridge per row, in units of Σ's mean eigenvalue. Directions that it hides are left out.

        Raises InputError for too few rows, and where the labels have nothing to do with the features, or w_s or w_g no
        variance.
        """
        spectrum, axes, x, test = _principal(features, lam)
        z, y = x / np.sqrt(spectrum), features.y
        leverage = np.square(z).sum(1) / len(y)
        _require_company(leverage)

        def direction(w: Array, name: str) -> Array:
            u = np.sqrt(spectrum) * (w @ axes)
            if not np.linalg.norm(u) > 1e-9 * np.linalg.norm(w) * np.sqrt(spectrum[-1]):
                raise InputError(f"{name} has no variance: it lies where rows do not differ")
            return u / np.linalg.norm(u)

        select = direction(features.w_s, "w_s")
        if features.w_g is not None:
            teach, cosine = direction(features.w_g, "w_g"), 1.0
            if np.mean(y * (z @ teach)) < 0:  # which class is +1 is the caller's order
                teach = -teach
            score = z @ teach
        else:
            pull = y @ z / len(y)
            left_out = (z @ pull - leverage * y) / (1 - leverage)
            along, size = float(np.mean(y * left_out)), float(np.mean(left_out**2))
            if not along > LEAST_R2:
                raise InputError(
                    f"y has nothing to do with X that a linear classifier could learn: R² = {max(along, 0.0):.3f} on "
                    "rows left out"
                )
            teach, cosine = pull / np.linalg.norm(pull), min(np.sqrt(along / size), 1.0)
            score = left_out / np.sqrt(size)
        t, tangent = z @ select, float(np.sqrt(1 / cosine**2 - 1))
        rho = float(np.mean(t * score)) / cosine
        square = 1 - rho**2
        if square <= max(tangent**2, PARALLEL):
            return cls(x, y, spectrum, select[:, None], t[None], np.zeros(1), score, tangent, float(np.sign(rho)), test)
        rest = teach - (teach @ select) * select
        zeta = (score / cosine - rho * t) / np.sqrt(square)
        return cls(
            x, y, spectrum, basis=np.column_stack([select, rest / np.linalg.norm(rest)]), plane=np.stack([t, zeta]),
            blur=np.array([0.0, tangent**2 / square]), score=score, tangent=tangent, rho=rho, test=test,
        )  # fmt: skip

    @property
    def dimension(self) -> int:
        """d."""
        return len(self.spectrum)

    @property
    def truth(self) -> Array:
        """u_0 in the basis (k,)."""
        return np.array([self.rho, np.sqrt(1 - self.rho**2)])[: len(self.plane)]

    @cached_property
    def off_plane(self) -> Array:
        """z off the plane (N, d)."""
        z = self.x / np.sqrt(self.spectrum)
        return z - (z @ self.basis) @ self.basis.T

    @cached_property
    def lengths(self) -> Array:
        """Squared lengths s of rows off the plane, over their mean (N,). h/(1 − h): as if whitened by other rows."""
        leverage = np.square(self.off_plane).sum(1) / len(self.y)
        squares = leverage / (1 - leverage)
        return squares / squares.mean()

    @cached_property
    def flips(self) -> float:
        """Share of labels that the truth's own direction gets wrong, which the Gaussian theory takes for flips.

        v errs on γ/π of the others besides. A known truth errs where the sample's mean moved its boundary, a few N^-½.
        """
        angle = np.arctan(self.tangent) / np.pi
        moves = [0.0] if self.tangent else np.linspace(-3, 3, 25) / np.sqrt(len(self.y))
        wrong = min(float(np.mean(self.y * (self.score - move) < 0)) for move in moves)
        return float(np.clip((wrong - angle) / (1 - 2 * angle), 0.0, 0.49))

    def problem(self, rule: Rule, phi: float | Array, lam: float) -> SpanProblem:
        """The Gaussian problem with this covariance, selector, truth and share of flips."""
        unwhitened = self.basis / np.sqrt(self.spectrum)[:, None]
        group = Group(along=unwhitened[:, 0], keep=rule, flip=self.flips)
        return SpanProblem(unwhitened @ self.truth, [group], phi, lam, self.spectrum)


def _require_company(leverage: Array) -> None:
    """Raises InputError for a row that has a direction to itself."""
    row = int(leverage.argmax())
    if leverage[row] > MOST_LEVERAGE:
        raise InputError(
            f"row {row} of those used has a direction of X to itself (leverage {leverage[row]:.3f}): leave it out,"
            " or take fewer components, or a larger lam"
        )


def _principal(features: Features, lam: float) -> tuple[Array, Array, Array, tuple[Array, Array] | None]:
    """Eigenvalues (d,) of the covariance that a ridge does not hide, of mean 1, their directions (columns, d), the
    centred rows in these (N, d), and the test rows alike. Raises InputError for too few rows."""
    mean = features.x.mean(0)
    raw = features.x - mean
    every, axes = np.linalg.eigh(raw.T @ raw / len(raw))
    if not every[-1] > 0:
        raise InputError("X has no variance: all rows are alike")
    used = every > max(NEGLIGIBLE * lam * every.mean(), ROUNDED * every[-1])
    spectrum, axes = every[used], axes[:, used]
    if len(spectrum) < 3 <= np.sum(there := every > ROUNDED * every[-1]):
        raise InputError(
            f"lam = {lam:g} hides {there.sum() - len(spectrum)} of the {there.sum()} directions in which X varies: "
            "at least 3 must be left; take a smaller lam"
        )
    if len(spectrum) < 3:
        raise InputError(f"X varies in {len(spectrum)} directions only: the theory is one of many directions")
    if len(raw) < PER_DIRECTION * len(spectrum):
        raise InputError(
            f"X has {len(raw)} rows in {len(spectrum)} directions: a check takes {PER_DIRECTION} rows a direction; "
            f"give more rows, fewer components ({len(raw) // PER_DIRECTION}), or a larger lam, which hides directions"
        )
    unit, test = spectrum.mean(), features.test
    turned = axes / np.sqrt(unit)
    return spectrum / unit, axes, raw @ turned, None if test is None else ((test[0] - mean) @ turned, test[1])
