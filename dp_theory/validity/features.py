"""Features to check: a matrix X, labels y, and the directions that select and label; read from an .npz file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dp_base.errors import InputError, MissingError
from dp_theory.numerics.checks import Array, numbers, require, require_number, require_seed, require_whole
from dp_theory.ridge.simulators.dense import fit_ridge

ROWS, DIRECTIONS, TEST = ("X", "y"), ("w_s", "w_g"), ("X_test", "y_test")  # arrays of a file
SET_ASIDE = 0.1  # share of the rows that train a selector where none is given
FEWEST = 100


@dataclass(frozen=True, eq=False)
class Features:
    """Rows and their labels, of two classes.

    classes: those of y = 1 and y = -1. w_s: the selector, whose score t = x·w_s (centred) rules look at. w_g: the
    direction that labels the rows, if it is known. test: other rows and their labels, on which experiments count
    errors; no prediction knows of them. Raises InputError for shapes that do not match, what is not finite, few rows,
    and labels that are not both there.
    """

    x: Array  # (N, d)
    y: Array  # (N,): ±1
    w_s: Array  # (d,)
    w_g: Array | None = None
    classes: tuple[str, str] = ("1", "-1")
    test: tuple[Array, Array] | None = None  # (M, d), (M,): ±1

    def __post_init__(self) -> None:
        _check_matrix(self.x)
        _check_labels(self.x, self.y)
        if self.test is not None:
            _check_matrix(self.test[0], "X_test", self.x.shape[1])
            _check_labels(*self.test, "_test")
        _check_directions(self.x, self.w_s, self.w_g)
        for name, y in (("y", self.y), *(() if self.test is None else (("y_test", self.test[1]),))):
            if not np.all(np.abs(y) == 1):
                raise InputError(f"{name} has the values {_some(np.unique(y))}: two classes must be -1 and 1 here")
            if len(np.unique(y)) < 2:
                raise InputError(f"{name} is {y[0]:g} in all rows: there must be two classes")

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        y: ArrayLike,
        *,
        w_s: ArrayLike | None = None,
        w_g: ArrayLike | None = None,
        classes: Sequence[Any] | None = None,
        components: int | None = None,
        lam: float = 0.05,
        seed: int = 0,
        test: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Features:
        """From a matrix (N, d) and labels (N,) of two or more classes.

        classes: the two that are told apart, names such as 4 or unions such as 0+1+2; rows of others are left out.
        By default, of several classes, the pair whose means are nearest in the metric of the covariance within classes
        (pairwise: a class against all the rest is a union, too, but a lopsided one). components:
        keep that many leading principal components. w_s: by default ridge regression, `lam` per row in units of the
        mean variance, on a tenth of the rows, which take no further part; `seed` chooses them. test: another
        matrix and its labels, as `Features.test`.
        """
        require_number(lam=lam)
        require("lam", lam, 0 < lam < np.inf, "be positive: the ridge per row, over the mean variance")
        require_seed(seed)
        x, y = numbers("X", x), np.asarray(y)
        _check_matrix(x)
        _check_labels(x, y)
        select, teach = (None if w is None else numbers(name, w) for name, w in (("w_s", w_s), ("w_g", w_g)))
        _check_directions(x, select, teach)
        pair = _pair(x, y, classes)
        x, y = _of_pair(x, y, pair)
        if test is not None:
            x_test, y_test = numbers("X_test", test[0]), np.asarray(test[1])
            _check_matrix(x_test, "X_test", x.shape[1])
            _check_labels(x_test, y_test, "_test")
            test = _of_pair(x_test, y_test, pair)
            if not len(test[1]):
                wanted, there = _some(np.array([name for side in pair for name in side])), _some(np.unique(y_test))
                raise InputError(f"y_test holds none of the classes {wanted} of y: it has {there}")
        if components is not None:
            turn = _leading(x, components)
            x, test = x @ turn, None if test is None else (test[0] @ turn, test[1])
            select, teach = (None if w is None else w @ turn for w in (select, teach))
        if select is None:
            order = np.random.default_rng(seed).permutation(len(y))
            trained, rest = np.split(order, [max(2, round(SET_ASIDE * len(y)))])
            centred = x[trained] - x[trained].mean(0)
            select = fit_ridge(centred, y[trained], lam * len(trained) * max(float(centred.var(0).mean()), 1e-300))
            x, y = x[rest], y[rest]
            if not np.any(select):
                raise InputError("X has no variance: all rows are alike")
        one, other = ("+".join(str(member) for member in members) for members in pair)
        return cls(x, y, select, teach, (one, other), test)


def read_features(path: str | Path, **options: Any) -> Features:
    """`Features.of` the arrays of an .npz file: X (N, d), y (N,) and, where it has them, w_s (d,), w_g (d,), and the
    test rows X_test (M, d), y_test (M,).

    options: as `Features.of` takes them. Raises MissingError where there is no file, InputError for another file or
    other arrays.
    """
    path = Path(path)
    if not path.exists():
        raise MissingError(f"{path} does not exist: numpy.savez({path.name!r}, X=X, y=y) writes such a file")
    try:
        with open(path, "rb") as opened, np.load(opened) as file:
            arrays: Mapping[str, Any] = {name: file[name] for name in file.files}
    except (ValueError, TypeError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no .npz file of plain arrays ({type(error).__name__}): numpy.savez(FILE, X=X, y=y) writes one"
        ) from None
    needed = {*ROWS, *(TEST if set(TEST) & set(arrays) else ())}
    unknown, missing = sorted(set(arrays) - {*ROWS, *TEST, *DIRECTIONS}), sorted(needed - set(arrays))
    if unknown or missing:
        told = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}"
        raise InputError(
            f"{path} {told}: its arrays must be X (rows, columns), y (rows,) and optionally w_s, w_g, and both X_test"
            " and y_test"
        )
    given: dict[str, Any] = {name: arrays[name] for name in DIRECTIONS if name in arrays}
    if TEST[0] in arrays:
        given["test"] = tuple(arrays[name] for name in TEST)
    return Features.of(*(arrays[name] for name in ROWS), **given, **options)


def _check_matrix(x: Array, name: str = "X", columns: int | None = None) -> None:
    if x.ndim != 2 or 0 in x.shape:
        raise InputError(f"{name} has shape {x.shape}: it must be (rows, columns)")
    if columns is not None and x.shape[1] != columns:
        raise InputError(f"{name} has {x.shape[1]} columns: it must have the {columns} of X")
    if not np.isfinite(x).all():
        row = int(np.argmin(np.isfinite(x).all(1)))
        raise InputError(f"{name} has nan or inf, first in row {row}: all must be finite")
    if columns is None and len(x) < FEWEST:
        raise InputError(f"{name} has {len(x)} rows: a check takes at least {FEWEST}")


def _check_labels(x: Array, y: Array, which: str = "") -> None:
    name = f"y{which}"
    if np.shape(y) != (len(x),):
        raise InputError(f"{name} has shape {np.shape(y)}: X{which} has {len(x)} rows, so that it must be ({len(x)},)")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise InputError(f"{name} has nan or inf: it must hold a class for each row")
    if y.dtype.kind not in "biufU":
        raise InputError(f"{name} is of type {y.dtype}: it must hold numbers or names of classes")


def _check_directions(x: Array, w_s: Array | None, w_g: Array | None) -> None:
    for name, w in (("w_s", w_s), ("w_g", w_g)):
        if w is not None and np.shape(w) != (x.shape[1],):
            raise InputError(f"{name} has shape {np.shape(w)}: with {x.shape[1]} columns in X it must be "
                             f"({x.shape[1]},)")  # fmt: skip
        if w is not None and not (np.isfinite(w).all() and np.any(w)):
            raise InputError(f"{name} must be finite and not zero: it is a direction")


def _of_pair(x: Array, y: np.ndarray, pair: tuple[list[Any], list[Any]]) -> tuple[Array, Array]:
    """The rows of two classes, or unions, and ±1 for them."""
    first, second = (np.isin(y, members) for members in pair)
    used = first | second
    return x[used], np.where(first[used], 1.0, -1.0)


def _pair(x: Array, y: np.ndarray, wanted: Sequence[Any] | None) -> tuple[list[Any], list[Any]]:
    """The classes of y = 1 and of y = -1: the wanted ones; else the higher of two, or of several the nearest two."""
    there = np.unique(y)
    if len(there) < 2:
        raise InputError(f"y is {there[0]} in all rows: there must be two classes")
    require("classes", len(there), len(there) <= len(x) // 10, "be at most a tenth of the rows: y must hold classes")
    if wanted is not None:
        named = {f"{value:g}" if y.dtype.kind == "f" else str(value): value for value in there}  # 1.0 is asked for as 1
        sides = [str(side).split("+") for side in wanted]
        members = [name for side in sides for name in side]
        if len(sides) != 2 or len(set(members)) < len(members) or not set(members) <= set(named):
            given = ",".join(map(str, wanted))
            raise InputError(f"classes = {given}: must be two of {_some(there)}, or two unions such as A+B")
        first, second = ([named[name] for name in side] for side in sides)
        return first, second
    if len(there) == 2:
        return [there[1]], [there[0]]
    means = np.array([x[y == value].mean(0) for value in there])
    within = x - means[np.searchsorted(there, y)]
    metric = np.linalg.pinv(within.T @ within / len(x), rcond=1e-8, hermitian=True)
    one, other = np.triu_indices(len(there), 1)
    gaps = means[one] - means[other]
    nearest = int(((gaps @ metric) * gaps).sum(1).argmin())
    return [there[one[nearest]]], [there[other[nearest]]]


def _leading(x: Array, components: int) -> Array:
    """Leading principal components of rows (d, k)."""
    require_whole(components=components)
    fits = 1 <= components <= x.shape[1]
    require("components", components, fits, f"lie between 1 and {x.shape[1]}, the columns of X")
    centred = x - x.mean(0)
    return np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :components]


def _some(values: np.ndarray) -> str:
    return ", ".join(str(value) for value in values[:8]) + (", …" if len(values) > 8 else "")
