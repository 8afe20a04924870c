"""Problems, predictions and simulations: the records that theory and simulators share.

Conventions, everywhere in the package (paper, section 4)
    data        x ~ N(0, I_d), y = sign(w0·x) in {-1, +1}
    selection   t = x·w_s with |w_s| = 1; a row is kept with probability q(t), q symmetric
    rho         cos(w_s, w0), in [-1, 1]
    phi         d / n, the aspect ratio; n counts the *pool*, kept or not
    lam         w_hat = argmin (1/2n) Σ q_i (w·x_i - y_i)² + (lam/2)|w|²; n again the pool. 0 is the limit lam → 0+
    test_error  P(sign(w_hat·x) ≠ y) = angle(w_hat, w0)/π
    overlap     w_hat·w0/|w0|
    squared_norm  |w_hat|²
Every parameter may be an array; they broadcast.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import Real, common_shape, require, require_magnitude, require_numbers
from dp_theory.rules import Rule


@dataclass(frozen=True)
class Problem:
    """Ridge regression on selected rows; read by `predict` and `simulate` alike. Fields as in the module's head.

    Raises InputError where |rho| > 1, phi ≤ 0 or lam < 0 (nan and inf included), for what is no number, and for shapes
    that do not broadcast.
    """

    rule: Rule
    rho: Real
    phi: Real
    lam: Real

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise InputError(f"rule = {self.rule!r} must be a rule, such as KeepHard(alpha=0.8): see dp_theory.rules")
        require_numbers(rho=self.rho, phi=self.phi, lam=self.lam)
        require("rho", self.rho, np.abs(self.rho) <= 1, "lie in [-1, 1]: it is cos(w_s, w0)")
        require("phi", self.phi, (np.asarray(self.phi) > 0) & np.isfinite(self.phi),
                "be positive and finite: it is d/n, n the size of the pool")  # fmt: skip
        require("lam", self.lam, (np.asarray(self.lam) >= 0) & np.isfinite(self.lam),
                "be at least 0 and finite: it is the ridge; 0 is the ridgeless limit")  # fmt: skip
        require_magnitude(phi=self.phi, lam=self.lam)
        common_shape(**self.rule.parameters(), rho=self.rho, phi=self.phi, lam=self.lam)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that all parameters broadcast to."""
        return np.broadcast_shapes(self.rule.shape, *map(np.shape, (self.rho, self.phi, self.lam)))

    def cells(self) -> Iterator["Problem"]:
        """The scalar problems that this one broadcasts to, in C order."""
        rho, phi, lam = (np.broadcast_to(x, self.shape) for x in (self.rho, self.phi, self.lam))
        for index in np.ndindex(self.shape):
            yield Problem(self.rule.at(index, self.shape), float(rho[index]), float(phi[index]), float(lam[index]))


@dataclass(frozen=True)
class Prediction:
    """The limit n, d → ∞ at d/n = phi of every kind of problem. Fields have the problem's shape; a scalar problem's
    are floats. A practice loop has one more axis, the last, with an entry per stage.

    test_error, overlap, squared_norm: as in the module's head; with a covariance Σ, of θ = Σ^½ w_hat and Σ^½ w0.
    keep_fraction: kept rows over the pool (over n where a problem has several groups of rows).
    certificate: to first order a bound of the relative error of test_error, overlap (relative to √squared_norm) and
        squared_norm, whatever they suffer from: quadrature, the fixed point's residual, rounding, and the conditioning
        that magnifies them, which is infinite at the peak of the ridgeless limit. Quadrature cannot see a feature of a
        user's function that lies between its nodes: `breaks` beside it show it.
    """

    test_error: Real
    overlap: Real
    squared_norm: Real
    keep_fraction: Real
    certificate: Real


@dataclass(frozen=True)
class Simulation:
    """Means over `trials` independent experiments in dimension d, each with its standard error, shaped as Prediction.

    The standard error of a single trial is inf.
    """

    test_error: Real
    test_error_se: Real
    overlap: Real
    overlap_se: Real
    squared_norm: Real
    squared_norm_se: Real
    d: int
    trials: int
    seed: int
