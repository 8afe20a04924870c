"""Features to check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dp_base.errors import InputError
from dp_theory.numerics.checks import (
    Array,
    Float,
    numbers,
    require,
    require_positive_number,
    require_seed,
)
from dp_theory.ridge.simulators.dense import fit_ridge

# The least share of the smaller class.
MIN_SHARE = 0.05
# Share of the rows that others repeat.
MAX_REPEATED = 0.1
# Share of the rows that train a selector where none is given.
SET_ASIDE = 0.1
MIN_ROWS = 100
# The largest size of a column, or of its inverse: sums of squares must stay finite.
MAX_SPREAD = 1e50
# A mean variance that is not 0, so that the ridge is not either.
_NO_VARIANCE = 1e-300
# An eigenvalue of the covariance within classes that is nothing but rounding, over the largest.
_SAME_SUBSPACE = 1e-8
# Values that a message lists.
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Features:
    """Rows of two classes, with the direction that selects them, as `of` makes them.

    Attributes
    ----------
    x
        The rows.
    y
        Their labels, 1 and -1.
    w_s
        The selector. Rules look at its score t = x·w_s of the centred rows.
    classes
        Names of the classes y = 1 and y = -1.
    test
        Other rows and their labels, on which experiments count errors. No prediction looks at them.
    """

    x: Float[Array, "rows columns"]
    y: Float[Array, " rows"]
    w_s: Float[Array, " columns"]
    classes: tuple[str, str]
    test: tuple[Float[Array, "tests columns"], Float[Array, " tests"]] | None

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        y: ArrayLike,
        *,
        w_s: ArrayLike | None = None,
        classes: Sequence[Any] | None = None,
        lam_per_row: float = 0.05,
        seed: int = 0,
        test: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> "Features":
        """The features of a matrix and of labels of two or more classes.

        Parameters
        ----------
        x
            (rows, columns).
        y
            A class for each row (rows,): numbers or names.
        w_s
            The selector (columns,), by default ridge regression on a random tenth of the rows, which take no further
            part.
        classes
            The two classes that are told apart: names such as 4, or unions such as 0+1+2. Rows of other classes are
            left out. By default the pair whose means are nearest in the metric of the covariance within classes.
        lam_per_row
            Ridge per row of the selector's training, in units of the mean variance.
        seed
            Chooses the rows of that training.
        test
            Another matrix and its labels, on which experiments count errors.

        Raises
        ------
        InputError
            For shapes that do not match, numbers that are not finite, fewer than MIN_ROWS rows, unknown classes, rows
            without variance, a class with hardly any rows, or many copied rows.
        """
        require_positive_number("the ridge per row, over the mean variance", lam_per_row=lam_per_row)
        require_seed(seed)
        given = {"": (x, y)} | ({} if test is None else {"_test": test})
        rows = {which: (numbers(f"X{which}", x), _labels(f"y{which}", y)) for which, (x, y) in given.items()}
        selector = None if w_s is None else numbers("w_s", w_s)
        _check_arrays(rows, selector)
        pair = _pair(*rows[""], classes)
        rows = {which: _rows_of_pair(x, y, pair) for which, (x, y) in rows.items()}
        _check_shares(rows[""][1])
        _check_draws(rows)
        x, y = rows[""]
        if selector is None:
            order = np.random.default_rng(seed).permutation(len(y))
            aside, rest = np.split(order, [max(2, round(SET_ASIDE * len(y)))])
            selector = _trained_selector(x[aside], y[aside], lam_per_row)
            x, y = x[rest], y[rest]
        if len(x) < MIN_ROWS:
            raise InputError(f"X has {len(x)} rows: a check takes at least {MIN_ROWS}")
        first, second = ("+".join(map(str, members)) for members in pair)
        return cls(x, y, selector, classes=(first, second), test=rows.get("_test"))


# -- classes and directions

Pair = tuple[list[Any], list[Any]]  # the classes that y = 1 and y = -1 stand for


def _pair(x: Array, y: np.ndarray, wanted: Sequence[Any] | None) -> Pair:
    there = np.unique(y)
    if len(there) < 2:
        raise InputError(f"y is {there[0]} in all rows: there must be two classes")
    require("classes", len(there), len(there) <= len(x) // 10, "be at most a tenth of the rows: y must hold classes")
    if wanted is not None:
        return _wanted_pair(there, wanted)
    if len(there) == 2:
        return [there[1]], [there[0]]
    means = np.array([x[y == value].mean(0) for value in there])
    within = x - means[np.searchsorted(there, y)]
    metric = np.linalg.pinv(within.T @ within / len(x), rcond=_SAME_SUBSPACE, hermitian=True)
    one, other = np.triu_indices(len(there), 1)
    gaps = means[one] - means[other]
    nearest = int(((gaps @ metric) * gaps).sum(1).argmin())
    return [there[one[nearest]]], [there[other[nearest]]]


def _wanted_pair(there: np.ndarray, wanted: Sequence[Any]) -> Pair:
    is_float = there.dtype.kind == "f"  # 1.0 is asked for as 1
    named = {np.format_float_positional(value, trim="-") if is_float else str(value): value for value in there}
    sides = [str(side).split("+") for side in (wanted if np.iterable(wanted) else [wanted])]
    members = [name for side in sides for name in side]
    if len(sides) != 2 or len(set(members)) < len(members) or not named.keys() >= set(members):
        given = ",".join(map("+".join, sides))
        raise InputError(f"classes = {given}: must be two of {_listed(there)}, or two unions such as A+B")
    first, second = ([named[name] for name in side] for side in sides)
    return first, second


def _rows_of_pair(x: Array, y: np.ndarray, pair: Pair) -> tuple[Array, Array]:
    is_first = np.isin(y, pair[0])
    is_used = is_first | np.isin(y, pair[1])
    if is_first[is_used].all() or not is_first.any():  # of test rows
        wanted = _listed(np.concatenate(pair))
        raise InputError(f"y_test must hold both of the classes {wanted} of y: it has {_listed(np.unique(y))}")
    return x[is_used], np.where(is_first[is_used], 1.0, -1.0)


def _trained_selector(x: Array, y: Array, lam: float) -> Array:
    centred = x - x.mean(0)
    mean_variance = max(float(centred.var(0).mean()), _NO_VARIANCE)
    selector = fit_ridge(centred, y, lam * len(x) * mean_variance)
    if not np.any(selector):
        raise InputError("X has no variance: all rows are alike")
    return selector


# -- checks: each raises InputError for the first thing that is wrong


def _check_arrays(rows: Mapping[str, tuple[Array, np.ndarray]], w_s: Array | None) -> None:
    x, _ = rows[""]
    for which, (other, y) in rows.items():
        _check_rows(other, y, which)
        if other.shape[1] != x.shape[1]:
            raise InputError(f"X{which} has {other.shape[1]} columns: it must have the {x.shape[1]} of X")
    spread = float(np.ptp(x, axis=0).max())
    if spread > 0 and not 1 / MAX_SPREAD < spread < MAX_SPREAD:
        raise InputError(f"X spreads over {spread:.3g}: scale its columns, so that variances can be computed")
    columns = x.shape[1]
    if w_s is not None:
        if np.shape(w_s) != (columns,):
            raise InputError(f"w_s has shape {np.shape(w_s)}: with {columns} columns in X it must be ({columns},)")
        if not (np.isfinite(w_s).all() and np.any(w_s)):
            raise InputError("w_s must be finite and not zero: it is a direction")


def _check_rows(x: Array, y: np.ndarray, which: str) -> None:
    if x.ndim != 2 or 0 in x.shape:
        raise InputError(f"X{which} has shape {x.shape}: it must be (rows, columns)")
    if not np.isfinite(x).all():
        row = int(np.argmin(np.isfinite(x).all(1)))
        raise InputError(f"X{which} has nan or inf, first in row {row}: all must be finite")
    name = f"y{which}"
    if np.shape(y) != (len(x),):
        raise InputError(f"{name} has shape {np.shape(y)}: X{which} has {len(x)} rows, so that it must be ({len(x)},)")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise InputError(f"{name} has nan or inf: it must hold a class for each row")
    if y.dtype.kind not in "biufU":
        raise InputError(f"{name} is of type {y.dtype}: it must hold numbers or names of classes")


def _labels(name: str, y: ArrayLike) -> np.ndarray:
    """What is missing would be a class of its own among names, or whatever a mask hides."""
    given = np.asarray(y, object).tolist()
    labels = np.array(given)
    if np.ma.is_masked(y) or (labels.dtype.kind == "U" and any(label != label for label in given)):  # as nan is
        raise InputError(f"{name} has nan or what is masked: it must hold a class for each row")
    return labels


def _check_shares(y: Array) -> None:
    share = float(min(np.mean(y > 0), np.mean(y < 0)))
    if share < MIN_SHARE:
        raise InputError(
            f"the smaller class has {share:.1%} of the rows: the theory's boundary halves them, and says nothing below"
            f" {MIN_SHARE:.0%}; leave out rows of the larger class, or choose other classes"
        )


def _check_draws(rows: Mapping[str, tuple[Array, Array]]) -> None:
    """Copies are refused, because standard errors take rows for independent, and test rows that train test nothing."""
    before: set[bytes] = set()
    for which, (x, _) in rows.items():
        distinct = {row.tobytes() for row in np.ascontiguousarray(x) + 0.0} - before  # -0 becomes 0, which it equals
        if len(distinct) < (1 - MAX_REPEATED) * len(x) and (which or len(distinct) > 1):
            raise InputError(
                f"X{which} has {len(distinct)} distinct rows of {len(x)}{' that X lacks' if which else ''}: the check"
                " takes rows for independent draws; leave out copies"
                f" (numpy.unique(X{which}, axis=0, return_index=True) finds them)"
            )
        before |= distinct


def _listed(values: np.ndarray) -> str:
    return ", ".join(str(value) for value in values[:_SHOWN]) + (", …" if len(values) > _SHOWN else "")
