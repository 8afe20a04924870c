"""A measured error curve."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from dp_base.errors import InputError
from dp_theory.numerics.checks import (
    MAX_VALUE,
    Array,
    Bool,
    Float,
    Int,
    Shaped,
    numbers,
    quoted,
    require,
    require_in,
    require_kind,
    require_one_of,
)
from dp_theory.rules import RULES

if TYPE_CHECKING:
    import pandas as pd

STRATEGIES = ("static", "prune", "direct", "practice")
COLUMNS = ("strategy", "kept", "error", "se", "trials", "generated", "keep", "initial", "increment")
# Columns that a table of points must have.
REQUIRED = COLUMNS[:3]
# The least standard error of a point: a smaller one says more than floating point can.
MIN_SE = 1e-12
# How far, relatively, keep may be rounded off kept/generated.
MAX_OFF = 0.1


def require_table(name: str, table: Any) -> None:
    """Columns by name."""
    if not hasattr(table, "keys"):
        raise InputError(f"{name} = {quoted(table)} must have columns by name, as a DataFrame or a dict does")


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
        Training rows, from 1 to 1e15.
    error
        Measured test error, in (0, 1).
    se
        Standard error of `error`; nan where unknown. It is known for all points or none.
    trials
        Experiments that `error` is the mean of, at least 1.
    generated
        Samples that were made, from 1 to 1e15, by default `kept`, and kept/keep for `prune`.
    keep
        Share p of the rows that the rule of `prune` or `direct` keeps, by default kept/generated for `prune`. It is 1
        for `static` and `practice`, whatever is given.
    initial
        Plain rows before the first round, which `practice` needs, and other strategies ignore.
    increment
        Rows that a round adds, which `practice` needs, and other strategies ignore.
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
        require_kind("exact", exact, bool | np.bool_, "True or False")
        try:
            strategy = np.atleast_1d(np.asarray(strategy, dtype=str))
        except ValueError:
            raise InputError(f"strategy = {quoted(strategy)} must be a name for each point, or for all") from None
        if not len(strategy):
            raise InputError("a curve needs a point")
        if len(strategy) == 1:  # it holds for all
            strategy = np.repeat(strategy, max(1, numbers("kept", kept).size))
        for name in np.unique(strategy):
            require_one_of("strategy", str(name), STRATEGIES)
        is_pruned, is_practised = strategy == "prune", strategy == "practice"

        def column(name: str, value: Any, default: Any = np.nan) -> Array:
            given = numbers(name, np.nan if value is None else value)
            if given.ndim > 1 or given.size not in (1, len(strategy)):
                raise InputError(f"{name} has {given.size} values for {len(strategy)} points")
            return np.where(np.isnan(given), default, np.broadcast_to(given, len(strategy)))

        kept = column("kept", kept)
        generated = column("generated", generated)
        with np.errstate(divide="ignore", invalid="ignore"):  # sizes that are none are refused below
            keep = column("keep", keep, np.where(is_pruned, kept / generated, 1.0))
        keep = np.where(is_pruned | (strategy == "direct"), keep, 1.0)
        initial = np.where(is_practised, column("initial", initial), kept)
        # without rounds a point does not depend on their size
        increment = column("increment", increment, np.where(initial == kept, kept, np.nan))
        vars(self).update(  # a frozen dataclass has no other way
            strategy=strategy,
            kept=kept,
            error=column("error", error),
            se=column("se", se),
            trials=column("trials", trials),
            generated=column("generated", generated, np.where(is_pruned, kept / keep, kept)),
            keep=keep,
            initial=initial,
            increment=np.where(is_practised, increment, kept),
            rule=rule,
            exact=exact,
        )
        self._check()

    @classmethod
    def of(cls, table: "pd.DataFrame | Mapping[str, Any]", **options: Any) -> "Curve":
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
        require_table("table", table)
        missing = [name for name in REQUIRED if name not in table]
        if missing:
            raise InputError(f"a curve has no {', '.join(missing)}: it needs {', '.join(REQUIRED)}, and better se")
        columns: dict[str, Any] = {name: table[name] for name in COLUMNS if name in table}
        return cls(**columns, **options)

    def __len__(self) -> int:
        return len(self.strategy)

    def at(self, rows: Any) -> "Curve":
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    @property
    def plain(self) -> Bool[np.ndarray, " points"]:
        """Trained on plain rows alone."""
        return ~(self.selected | self.practised)

    @property
    def selected(self) -> Bool[np.ndarray, " points"]:
        """Trained on rows that a fixed selector chose."""
        return self.keep < 1

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
        if not isinstance(self.rule, str) or self.rule not in RULES or not fields(RULES[self.rule]):
            raise InputError(f"unknown rule {quoted(self.rule)} of a curve: one that selects, such as keep-hard")
        if np.isnan(self.generated[~np.isnan(self.kept)]).any():
            raise InputError("generated or keep is missing: prune needs one, since a pool's rows were looked at")
        require_in(f"[1, {MAX_VALUE:g}]", "it counts rows", kept=self.kept, generated=self.generated)
        require_in("(0, 1)", "it is a share of test errors", error=self.error)
        is_unknown = np.isnan(self.se)
        is_plausible = (self.se >= MIN_SE) & (self.se <= np.sqrt(self.error * (1 - self.error)))
        require(
            "se",
            self.se,
            is_unknown | is_plausible,
            f"lie between {MIN_SE:g} and sqrt(error·(1 − error)): it is that of a share, and not in percent",
        )
        if is_unknown.any() and not is_unknown.all():
            raise InputError("se is given for some points and not for others: give it for all or for none")
        require("trials", self.trials, self.trials >= 1, "be at least 1: it counts experiments")
        require_in("(0, 1]", "it is the kept share of a pool", keep=self.keep)
        is_share = np.abs(self.keep * self.generated / self.kept - 1) <= MAX_OFF
        require(
            "keep",
            self.keep,
            self.exact | (self.strategy != "prune") | is_share,
            "be kept/generated for prune; leave out one of them",
        )
        fits = ~self.practised | (self.initial >= 1) & (self.initial <= self.kept)
        require(
            "initial",
            self.initial,
            fits,
            "lie in [1, kept]: practice needs initial and increment, its first pool and its rounds",
        )
        is_given = ~self.practised | (self.increment > 0)
        require("increment", self.increment, is_given, "be given for practice: the rows of a round")
        if self.exact and self.has_practice:
            raise InputError("exact = True is for points without practice: theory has no scatter for it")
