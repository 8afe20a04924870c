"""The least test error of a named rule over its kept fraction and the ridge, for a number of training rows (ours).

psi = d/m for m kept rows, and lam is per *training* row. The limit is reached only far above d = p/gamma; a finite `d`
takes the mean error there.
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
    require_number,
    require_numbers,
    require_positive,
    require_ridge,
)
from dp_theory.numerics.costs import KEEP_DOMAIN, LEAST_KEEP, SMALLEST_KEEP
from dp_theory.ridge.best import best_ridge, minimise, ridge_error
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
    """The least error over p and the ridge, accurate to 1e-8.

    psi may be a function of p. A given keep or lam is not searched. At a finite d fractions with p/gamma > d are left
    out, and a given one has nan.
    """
    require_selector(rho, flip, lam)
    require_number(d=d)
    few = f"be above {SPECIAL_DIRECTIONS}: selector and truth span so many dimensions"
    require("d", d, d > SPECIAL_DIRECTIONS, few)
    require("d", d, np.isinf(d) or d <= LARGEST, f"be at most {LARGEST:g}, or inf: it is the dimension")
    require("smallest keep", smallest_keep, LEAST_KEEP <= smallest_keep < 1, KEEP_DOMAIN)
    if keep is not None:
        kept_fraction(keep)
    psi_of: Callable[[Any], Any] = psi if callable(psi) else _constant(numbers("psi", psi))
    plain_psi = numbers("psi", psi_of(1.0))
    require_positive("it is d/m", psi=plain_psi)
    require("psi", plain_psi, plain_psi <= d, f"be at most d = {d:g}: there is less than one training row")
    rho = np.asarray(rho, float)
    flip = np.asarray(flip, float)
    lam = None if lam is None else np.asarray(lam, float)
    given = {"psi": plain_psi, "rho": rho, "flip": flip, "keep": keep, "lam": lam}
    shape = common_shape(**{parameter: value for parameter, value in given.items() if value is not None})

    def is_sound(p: Any) -> Any:
        return d == np.inf or (direct_rule(name, p).moments(rho).gamma * d >= 1) & (psi_of(p) <= d)

    def at_best_ridge(p: Any) -> tuple[Any, Any]:
        rule = direct_rule(name, p)
        moments = rule.moments(rho).flipped(flip)
        psi = psi_of(p)
        fourth = None if d == np.inf else rule.fourth_moments(rho).flipped(flip)
        sound = is_sound(p)

        def error(ridge: Any) -> Any:
            if fourth is None:
                return ridge_error(moments, rho, psi, ridge)
            return np.where(sound, mean_error(moments, fourth, rho, psi, ridge, d / psi), 0.5)

        return best_ridge(error, np.shape(p)) if lam is None else (error(lam), lam)

    if keep is None:
        _, p = minimise(lambda p: at_best_ridge(p)[0], smallest_keep, 1.0, shape)
    else:
        p = np.broadcast_to(np.asarray(keep, float), shape)
    error, ridge = at_best_ridge(p)
    if keep is not None and d < np.inf:
        error = np.where(is_sound(p), error, np.nan)
    return LeastError(*(np.broadcast_to(field, shape)[()] for field in (error, p, ridge)))


def _constant(value: Any) -> Callable[[Any], Any]:
    return lambda p: value


def direct_rule(name: str, p: Any) -> Direct:
    """The direct rule that keeps a fraction p."""
    if name not in RULE_NAMES:
        raise InputError(f"unknown rule '{name}': one of {', '.join(RULE_NAMES)}")
    return Direct(RULES[name].with_keep_fraction(np.minimum(p, RULES[name].largest_keep)))


def require_selector(rho: Real, flip: Real, lam: Real | None) -> None:
    """A cosine, a flip rate and a ridge."""
    require_numbers(rho=rho, flip=flip)
    require("rho", rho, np.abs(rho) <= 1, "lie in [-1, 1]: it is cos(w_s, w0)")
    require("flip", flip, (np.asarray(flip) >= 0) & (np.asarray(flip) < 0.5), "lie in [0, 1/2): it is a flip rate")
    require_ridge(0.0 if lam is None else lam)


def blocks(
    given: dict[str, Any], shape: tuple[int, ...], count: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The cells of an array of parameters, `count` at a time: their numbers in C order, and the parameters."""
    flat = {name: np.broadcast_to(np.asarray(value, float), shape).ravel() for name, value in given.items()}
    cells = prod(shape)
    for start in range(0, cells, count):
        block = np.arange(start, min(start + count, cells))
        yield block, {name: values[block] for name, values in flat.items()}
