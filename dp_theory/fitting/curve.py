"""A measured error curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array, Bool, Float, Int, Shaped, numbers, require, require_in
from dp_theory.rules import RULES

if TYPE_CHECKING:
    import pandas as pd

STRATEGIES = ("static", "prune", "direct", "practice")
REQUIRED = ("strategy", "kept", "error")  # columns that a table of points must have
LEAST_SE = 1e-12  # of an error; a smaller one says more than floating point can
_OF_THE_CURVE = ("rule", "exact")  # fields that have one value for all points


@dataclass(frozen=True, init=False)
class Curve:
    """Points of error curves, with one array element for each point.

    A curve may mix the strategies. Arguments that are one number hold for all points.

    Parameters
    ----------
    strategy
        How the training rows were chosen, one of STRATEGIES: plain (`static`), those of a pool that `rule` keeps
        (`prune`), drawn from the distribution that `rule` would keep (`direct`), or near the learner's own boundary,
        round by round (`practice`).
    kept
        Number of training rows.
    error
        Measured test error, in (0, 1).
    se
        Standard error of `error`; nan where unknown. It is known for all points or none.
    trials
        Experiments that `error` is the mean of.
    generated
        Samples that were made, by default `kept`, and kept/keep for `prune`.
    keep
        Share p of the rows that the rule of `prune` or `direct` keeps, by default kept/generated for `prune`. It is 1
        for `static` and `practice`, whatever is given.
    initial
        Plain rows before the first round, which `practice` needs.
    increment
        Rows that a round adds, which `practice` needs.
    rule
        Name of the rule of `prune` and `direct`, one of RULES that a kept share determines.
    exact
        Whether experiments scatter exactly as theory says, as those of dp_theory's own simulators do. `se` is then
        ignored. There is no such theory for `practice`.

    Raises
    ------
    InputError
        Where the arguments do not describe a curve. The message names the argument and its first wrong value.

    Examples
    --------
    >>> curve = Curve(["static", "static"], kept=[100, 400], error=[0.3, 0.2], se=0.01)
    >>> len(curve), curve.se.tolist()
    (2, [0.01, 0.01])
    """

    strategy: Shaped[np.ndarray, " points"]
    kept: Float[Array, " points"]
    error: Float[Array, " points"]
    se: Float[Array, " points"]
    trials: Float[Array, " points"]
    generated: Float[Array, " points"]
    keep: Float[Array, " points"]
    initial: Float[Array, " points"]
    increment: Float[Array, " points"]
    rule: str
    exact: bool

    def __init__(
        self,
        strategy: Any,
        kept: ArrayLike,
        error: ArrayLike,
        se: ArrayLike = np.nan,
        trials: ArrayLike = 1,
        generated: ArrayLike | None = None,
        keep: ArrayLike | None = None,
        initial: ArrayLike | None = None,
        increment: ArrayLike | None = None,
        rule: str = "keep-hard",
        exact: bool = False,
    ) -> None:
        names = _strategies(strategy)
        is_pruned = names == "prune"
        is_practice = names == "practice"
        given = {"kept": kept, "error": error, "se": se, "trials": trials, "generated": generated}
        given |= {"keep": keep, "initial": initial, "increment": increment}
        values: dict[str, Any] = {name: _column(name, value, len(names)) for name, value in given.items()}
        kept = values["kept"]
        keep = _filled(values["keep"], np.where(is_pruned, kept / values["generated"], 1.0))
        keep = np.where((names == "static") | is_practice, 1.0, keep)
        initial = _filled(values["initial"], np.where(is_practice, np.nan, kept))
        without_rounds = initial == kept  # such a point does not depend on the size of a round
        values |= {
            "strategy": names,
            "generated": _filled(values["generated"], np.where(is_pruned, kept / keep, kept)),
            "keep": keep,
            "initial": initial,
            "increment": _filled(values["increment"], np.where(without_rounds, kept, np.nan)),
            "rule": rule,
            "exact": exact,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the way to set a field of a frozen dataclass
        self._check()

    @classmethod
    def of(cls, table: pd.DataFrame | Mapping[str, Any], **options: Any) -> Curve:
        """The curve of a table whose columns have the names of `Curve`'s arguments.

        Parameters
        ----------
        table
            Columns strategy, kept and error, and whichever others there are. Columns of other names are ignored.
        options
            `rule` and `exact`, which are no columns.

        Raises
        ------
        InputError
            Where a column of REQUIRED is missing, and as `Curve` does.
        """
        missing = [name for name in REQUIRED if name not in table]
        if missing:
            raise InputError(f"a curve has no {', '.join(missing)}: it needs {', '.join(REQUIRED)}, and better se")
        columns: dict[str, Any] = {name: np.asarray(table[name]) for name in _columns() if name in table}
        return cls(**columns, **options)

    def __len__(self) -> int:
        return len(self.strategy)

    def at(self, rows: Any) -> Curve:
        return replace(self, **{name: getattr(self, name)[rows] for name in _columns()})

    @property
    def plain(self) -> Bool[np.ndarray, " points"]:
        """Trained on plain rows alone."""
        return (self.keep == 1) & (self.strategy != "practice")

    @property
    def selected(self) -> Bool[np.ndarray, " points"]:
        """Trained on rows that a fixed selector chose."""
        return (self.keep < 1) & (self.strategy != "practice")

    @property
    def practised(self) -> Bool[np.ndarray, " points"]:
        """Trained by the practice loop."""
        return self.strategy == "practice"

    @property
    def has_practice(self) -> bool:
        return bool(self.practised.any())

    @property
    def knows_scatter(self) -> bool:
        return self.exact or not bool(np.isnan(self.se).any())

    @property
    def assumed_se(self) -> Float[Array, " points"]:
        """se, and the error itself where that is unknown."""
        return np.where(np.isnan(self.se), self.error, self.se)

    @property
    def rounds(self) -> Int[np.ndarray, " points"]:
        return np.round((self.kept - self.initial) / self.increment).astype(int)

    def _check(self) -> None:
        if self.rule not in RULES or not fields(RULES[self.rule]):
            raise InputError(f"unknown rule '{self.rule}' of a curve: one that selects, such as keep-hard")
        if np.isnan(self.generated).any():
            raise InputError("generated or keep is missing: prune needs one, since a pool's rows were looked at")
        for name in ("kept", "generated"):
            value = getattr(self, name)
            require(name, value, (value >= 1) & np.isfinite(value), "be at least 1: it counts rows")
        require_in("(0, 1)", "it is a share of test errors", error=self.error)
        is_unknown = np.isnan(self.se)
        is_plausible = (self.se >= LEAST_SE) & (self.se <= 1)
        must = f"lie between {LEAST_SE:g} and 1: it is that of an error"
        require("se", self.se, is_unknown | is_plausible, must)
        if is_unknown.any() and not is_unknown.all():
            raise InputError("se is given for some points and not for others: give it for all or for none")
        require("trials", self.trials, self.trials >= 1, "be at least 1: it counts experiments")
        require_in("(0, 1]", "it is the kept share of a pool", keep=self.keep)
        others = ~self.practised
        if (self.practised & np.isnan(self.initial)).any():
            raise InputError("initial is missing: practice needs initial and increment, its first pool and its rounds")
        fits = (self.initial >= 1) & (self.initial <= self.kept)
        require("initial", self.initial, others | fits, "lie in [1, kept]: the plain rows before the first round")
        is_given = self.increment > 0
        require("increment", self.increment, others | is_given, "be given for practice: the rows of a round")
        if self.exact and self.has_practice:
            raise InputError("exact = True is for points without practice: theory has no scatter for it")


def _columns() -> list[str]:
    return [field.name for field in fields(Curve) if field.name not in _OF_THE_CURVE]


def _strategies(strategy: Any) -> NDArray[np.str_]:
    names = np.atleast_1d(np.asarray(strategy, dtype=str))
    if not len(names):
        raise InputError("a curve needs a point")
    for name in names:
        if name not in STRATEGIES:
            raise InputError(f"unknown strategy '{name}' of a point: one of {', '.join(STRATEGIES)}")
    return names


def _column(name: str, value: Any, points: int) -> Array:
    given = numbers(name, np.nan if value is None else value)
    if given.ndim > 1 or given.size not in (1, points):
        raise InputError(f"{name} has {given.size} values for {points} points")
    return np.broadcast_to(given, points).astype(float)


def _filled(values: Array, default: Array) -> Array:
    return np.where(np.isnan(values), default, values)
