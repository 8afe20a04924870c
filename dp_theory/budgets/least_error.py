"""The least test error of a named rule over its kept fraction and the ridge, for a number of training rows (ours).

The learner is that of Theorem 1, trained on m kept rows. psi = d/m, and the ridge lam is per *training* row, so that
pruning a pool and drawing directly give the same learner at different cost. The selector is fixed, at cosine rho to the
truth; labels are flipped with probability `flip`, whatever x.

Hard selection reaches the limit d → ∞ late. Kept rows are short along w_s, of variance gamma/p (alpha²/3 for a small
p), so that what is learned along w_s is uncertain until d is well above p/gamma. With a finite `d` the error is the
mean test error of dp_theory.ridge.finite_dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import (
    LARGEST,
    Real,
    common_shape,
    numbers,
    require,
    require_magnitude,
    require_number,
    require_numbers,
)
from dp_theory.numerics.costs import KEEP_DOMAIN, LEAST_KEEP, SMALLEST_KEEP
from dp_theory.numerics.minimise import minimise
from dp_theory.ridge.best import best_ridge, ridge_error
from dp_theory.ridge.finite_dimension import mean_error
from dp_theory.ridge.first_order import SPECIAL_DIRECTIONS
from dp_theory.rules import RULES, Direct, kept_fraction, rule_names

RULE_NAMES = rule_names("optimised")
CELLS_AT_ONCE = 128  # of an array of parameters, each with a grid of p and lam


class LeastError(NamedTuple):
    """Least test errors, and where they are attained."""

    test_error: Any
    keep: Any  # kept fraction p
    lam: Any  # ridge per training row


def least_error(
    name: str,
    rho: Real,
    psi: Any,
    *,
    keep: Real | None = None,
    lam: Real | None = None,
    flip: Real = 0.0,
    smallest_keep: float = SMALLEST_KEEP,
    d: float = np.inf,
) -> LeastError:
    """The least test error of a rule of RULE_NAMES over its kept fraction p and the ridge, accurate to 1e-8.

    psi = d/m may be a function of p: a budget pays for fewer rows of a smaller p. A given keep or lam (0: the ridgeless
    limit) is not searched. At a finite d, p/gamma ≤ d must hold for the expansion in 1/d: the search leaves other
    fractions out, and a given one has nan. All but d and smallest_keep broadcast.
    """
    require_selector(rho, flip, lam)
    require_number(d=d)
    few = f"be above {SPECIAL_DIRECTIONS}: selector and truth span so many dimensions"
    require("d", d, d > SPECIAL_DIRECTIONS, few)
    require("d", d, np.isinf(d) or d <= LARGEST, f"be at most {LARGEST:g}, or inf: it is the dimension")
    require("smallest keep", smallest_keep, LEAST_KEEP <= smallest_keep < 1, KEEP_DOMAIN)
    if keep is not None:
        kept_fraction(keep)
    psi_of = psi if callable(psi) else _constant(numbers("psi", psi))
    plain_psi = numbers("psi", psi_of(1.0))
    require("psi", plain_psi, (plain_psi > 0) & np.isfinite(plain_psi), "be positive and finite: it is d/m")
    require("psi", plain_psi, plain_psi <= d, f"be at most d = {d:g}: there is less than one training row")
    require_magnitude(psi=plain_psi)
    given = {"psi": plain_psi, "rho": rho, "flip": flip, "keep": keep, "lam": lam}
    shape = common_shape(**{parameter: value for parameter, value in given.items() if value is not None})

    errors = _Errors(name, np.asarray(rho, float), psi_of, _array(lam), np.asarray(flip, float), d)
    if keep is None:
        _, p = minimise(lambda p: errors.at_best_ridge(p)[0], smallest_keep, 1.0, shape)
    else:
        p = np.broadcast_to(np.asarray(keep, float), shape)
    error, ridge = errors.at_best_ridge(p)
    if keep is not None and d < np.inf:
        error = np.where(errors.is_sound(p), error, np.nan)
    return LeastError(*(np.broadcast_to(field, shape)[()] for field in (error, p, ridge)))


def _constant(value: Any) -> Callable[[Any], Any]:
    return lambda p: value


def _array(value: Real | None) -> np.ndarray | None:
    return None if value is None else np.asarray(value, float)


class _Errors:
    """Test errors of a named rule by its kept fraction p. Arrays broadcast."""

    def __init__(
        self,
        name: str,
        rho: np.ndarray,
        psi_of: Callable[[Any], Any],
        lam: np.ndarray | None,
        flip: np.ndarray,
        d: float,
    ) -> None:
        self._name = name
        self._rho = rho
        self._psi_of = psi_of
        self._lam = lam
        self._flip = flip
        self._d = d

    def is_sound(self, p: Any) -> Any:
        """Whether the expansion in 1/d holds, and there is a training row."""
        gamma = direct_rule(self._name, p).moments(self._rho).gamma
        return (gamma * self._d >= 1) & (self._psi_of(p) <= self._d)

    def at_best_ridge(self, p: Any) -> tuple[Any, Any]:
        error = self._by_ridge(p) if self._d == np.inf else self._by_ridge_at_finite_d(p)
        if self._lam is not None:
            return error(self._lam), self._lam
        return best_ridge(error, np.shape(p))

    def _by_ridge(self, p: Any) -> Callable[[Any], Any]:
        moments = direct_rule(self._name, p).moments(self._rho).flipped(self._flip)
        psi = self._psi_of(p)
        return lambda ridge: ridge_error(moments, self._rho, psi, ridge)

    def _by_ridge_at_finite_d(self, p: Any) -> Callable[[Any], Any]:
        rule = direct_rule(self._name, p)
        moments = rule.moments(self._rho).flipped(self._flip)
        fourth = rule.fourth_moments(self._rho).flipped(self._flip)
        psi = self._psi_of(p)
        is_sound = self.is_sound(p)
        return lambda ridge: np.where(is_sound, mean_error(moments, fourth, self._rho, psi, ridge, self._d / psi), 0.5)


def direct_rule(name: str, p: Any) -> Direct:
    """The rule of this name that keeps a fraction p, with moments per kept row. Raises InputError for unknown names."""
    if name not in RULE_NAMES:
        raise InputError(f"unknown rule '{name}': one of {', '.join(RULE_NAMES)}")
    return Direct(RULES[name].with_keep_fraction(np.minimum(p, RULES[name].largest_keep)))


def require_selector(rho: Real, flip: Real, lam: Real | None) -> None:
    """Raise InputError unless these are a cosine, a flip rate and a ridge, or arrays of such."""
    require_numbers(rho=rho, flip=flip, lam=0 if lam is None else lam)
    require("rho", rho, np.abs(rho) <= 1, "lie in [-1, 1]: it is cos(w_s, w0)")
    require("flip", flip, (np.asarray(flip) >= 0) & (np.asarray(flip) < 0.5), "lie in [0, 1/2): it is a flip rate")
    if lam is not None:
        is_ridge = (np.asarray(lam) >= 0) & np.isfinite(lam)
        require("lam", lam, is_ridge, "be at least 0 and finite: 0 is the ridgeless limit")
        require_magnitude(lam=lam)


def blocks(
    given: dict[str, Any], shape: tuple[int, ...], count: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The cells of an array of parameters, `count` at a time: their numbers in C order, and the parameters."""
    flat = {name: np.broadcast_to(np.asarray(value, float), shape).ravel() for name, value in given.items()}
    cells = prod(shape)
    for start in range(0, cells, count):
        block = np.arange(start, min(start + count, cells))
        yield block, {name: values[block] for name, values in flat.items()}
