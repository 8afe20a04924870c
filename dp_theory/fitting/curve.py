"""A measured curve: test errors at sizes of data, and how the data were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array, numbers, require
from dp_theory.rules import RULES

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]
STRATEGIES = ("static", "prune", "direct", "practice")
REQUIRED = ("strategy", "kept", "error")


@dataclass(frozen=True)
class Curve:
    """Points of error curves; arrays (points,).

    strategy: of STRATEGIES. static trains on plain rows; prune on the rows of a pool that `rule` keeps, by a fixed
        selector; direct on rows drawn from what it would keep; practice on rows near its own boundary, round by round.
    kept: training rows. generated: samples made for them; by default kept, for prune kept/keep.
    error: test error. se: its standard error, nan where unknown. trials: experiments that it is the mean of.
    keep: the share p that the rule of prune and direct keeps; for prune by default kept/generated.
    initial, increment: plain rows before the first round of practice, and rows of a round; practice needs both.
    rule: of prune and direct, a name of RULES that is fixed by p.
    exact: the experiments scatter as theory says, not as `se` says: those of dp_theory's own simulators do.

    Raises InputError for what is no such curve.
    """

    strategy: Any
    kept: Any
    error: Any
    se: Any = np.nan
    trials: Any = 1
    generated: Any = None
    keep: Any = None
    initial: Any = None
    increment: Any = None
    rule: str = "keep-hard"
    exact: bool = False

    def __post_init__(self) -> None:
        strategy = np.atleast_1d(np.asarray(self.strategy, dtype=str))
        require("curve", len(strategy), len(strategy) > 0, "have a point")
        for name in strategy:
            if name not in STRATEGIES:
                raise InputError(f"unknown strategy '{name}' of a point: one of {', '.join(STRATEGIES)}")
        kept, pruned = self._column("kept", self.kept), strategy == "prune"
        generated, keep = (np.full(kept.shape, np.nan) if x is None else x for x in (self.generated, self.keep))
        generated, keep = self._column("generated", generated), self._column("keep", keep)
        keep = np.where(np.isnan(keep), np.where(pruned, kept / generated, 1.0), keep)
        keep = np.where((strategy == "static") | (strategy == "practice"), 1.0, keep)
        generated = np.where(np.isnan(generated), np.where(pruned, kept / keep, kept), generated)
        initial = self._column("initial", np.nan if self.initial is None else self.initial)
        initial = np.where(np.isnan(initial) & (strategy != "practice"), kept, initial)
        increment = self._column("increment", np.nan if self.increment is None else self.increment)
        increment = np.where(np.isnan(increment) & (initial == kept), kept, increment)  # no round: whatever its size
        given = {
            "strategy": strategy, "kept": kept, "error": self._column("error", self.error),
            "se": self._column("se", self.se), "trials": self._column("trials", self.trials), "generated": generated,
            "keep": keep, "initial": initial, "increment": increment,
        }  # fmt: skip
        for name, value in given.items():
            object.__setattr__(self, name, value)
        self._check()

    @classmethod
    def of(cls, table: pd.DataFrame | Mapping[str, Any], **options: Any) -> Curve:
        """From columns of these names, strategy, kept and error at least; others are ignored. options: rule, exact.

        Raises InputError where a column is missing.
        """
        missing = [name for name in REQUIRED if name not in table]
        if missing:
            raise InputError(f"a curve has no {', '.join(missing)}: it needs {', '.join(REQUIRED)}, and better se")
        names = [field.name for field in fields(cls) if field.name not in ("rule", "exact")]
        return cls(**{name: np.asarray(table[name]) for name in names if name in table}, **options)

    def __len__(self) -> int:
        return len(self.strategy)

    def at(self, rows: Any) -> Curve:
        """The points of a mask or of indices (points,)."""
        arrays = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in ("rule", "exact")}
        return replace(self, **arrays)

    @property
    def plain(self) -> Mask:
        """Which points were trained on plain rows alone: static, and selection that keeps all."""
        return (self.keep == 1) & (self.strategy != "practice")

    @property
    def selected(self) -> Mask:
        """Which points a fixed selector chose the rows of."""
        return (self.keep < 1) & (self.strategy != "practice")

    @property
    def practised(self) -> Mask:
        """Which points the loop made."""
        return self.strategy == "practice"

    @property
    def rounds(self) -> Array:
        """Rounds after the first pool, about (points,)."""
        return np.round((self.kept - self.initial) / self.increment).astype(int)

    def _column(self, name: str, value: Any) -> Array:
        value = numbers(name, value)
        length = len(np.atleast_1d(self.strategy))
        if value.ndim > 1 or value.size not in (1, length):
            raise InputError(f"{name} has {value.size} values for {length} points")
        return np.broadcast_to(value, length).astype(float)

    def _check(self) -> None:
        if self.rule not in RULES or RULES[self.rule].parameter is None:
            raise InputError(f"unknown rule '{self.rule}' of a curve: one that selects, such as keep-hard")
        if np.isnan(self.generated).any():
            raise InputError("generated or keep is missing: prune needs one, since a pool's rows were looked at")
        for name in ("kept", "generated"):
            value = getattr(self, name)
            require(name, value, (value >= 1) & np.isfinite(value), "be at least 1: it counts rows")
        require("error", self.error, (self.error > 0) & (self.error < 1), "lie in (0, 1): it is a share of test errors")
        require("se", self.se, np.isnan(self.se) | ((self.se > 0) & np.isfinite(self.se)), "be positive, or left out")
        if np.isnan(self.se).any() and not np.isnan(self.se).all():
            raise InputError("se is given for some points and not for others: give it for all or for none")
        require("trials", self.trials, self.trials >= 1, "be at least 1: it counts experiments")
        require("keep", self.keep, (self.keep > 0) & (self.keep <= 1), "lie in (0, 1]: it is the kept share of a pool")
        practised = self.practised
        if (practised & np.isnan(self.initial)).any():
            raise InputError("initial is missing: practice needs initial and increment, its first pool and its rounds")
        require("initial", self.initial, ~practised | ((self.initial >= 1) & (self.initial <= self.kept)),
                "lie in [1, kept]: the plain rows before the first round")  # fmt: skip
        require("increment", self.increment, ~practised | (self.increment > 0),
                "be given for practice: the rows of a round")  # fmt: skip
        if self.exact and practised.any():
            raise InputError("exact = True is for points without practice: theory has no scatter for it")
