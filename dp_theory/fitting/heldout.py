"""Which predicts better what it has not seen: the theory, or an empirical law?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import InputError
from dp_theory.fitting.curve import Curve, Mask
from dp_theory.fitting.fit import fit
from dp_theory.fitting.laws import LAWS, LawFit, fit_law
from dp_theory.numerics.checks import require, require_whole

if TYPE_CHECKING:
    import pandas as pd

THEORY = "theory"


def hidden_points(curve: Curve, hide: int | None = None) -> Mask:
    """Which points are hidden (points,): of each strategy, and each p, the `hide` largest sizes, by default a third.

    Raises InputError where less than two sizes are left of every strategy.
    """
    if hide is not None:
        require_whole(hide=hide)
        require("hide", hide, hide >= 1, "be at least 1: it counts hidden sizes")
    hidden = np.zeros(len(curve), bool)
    visible = 0
    for strategy, keep in set(zip(curve.strategy.tolist(), curve.keep.round(3).tolist(), strict=True)):
        rows = (curve.strategy == strategy) & (curve.keep.round(3) == keep)
        sizes = np.unique(curve.kept[rows])
        count = len(sizes) // 3 if hide is None else hide
        if len(sizes) > count > 0:
            hidden |= rows & (curve.kept >= sizes[-count])
            visible = max(visible, len(sizes) - count)
    if visible < 2:
        raise InputError("too few sizes to hide some: at least 2 of a strategy must be left")
    return hidden


def held_out(
    curve: Curve, hide: int | None = None, fixed: Mapping[str, float] | None = None, level: float = 0.95
) -> pd.DataFrame:
    """A row per model and hidden point: model, strategy, kept, error, predicted, low, high, covered.

    The theory is fitted to all visible points at once, a law to those of the hidden point's strategy and p. low and
    high are the band of a new measurement, covered says whether the hidden point is in it. Models that the visible
    points do not suffice for have no rows. hide: as in `hidden_points`; fixed: as in `fit`. Raises InputError as these.
    """
    import pandas as pd

    hidden = hidden_points(curve, hide)
    seen, unseen = curve.at(~hidden), curve.at(hidden)
    predicted = fit(seen, fixed).predict(unseen, level)
    rows = [(THEORY, i, *predicted.loc[i, ["error", "new_low", "new_high"]]) for i in range(len(unseen))]

    @cache
    def fitted(name: str, strategy: str, keep: float) -> LawFit | None:
        """The law of that name for these points; None where they are too few."""
        alike = (seen.strategy == strategy) & np.isclose(seen.keep, keep, atol=5e-4)
        try:
            return fit_law(name, seen.at(alike))
        except InputError:
            return None

    for name in LAWS:
        for i in range(len(unseen)):
            if law := fitted(name, unseen.strategy[i], unseen.keep[i]):
                rows.append((name, i, *(float(x[0]) for x in law.predict(unseen.kept[[i]], level))))
    model, index, value, low, high = (np.array(column) for column in zip(*rows, strict=True))
    error = unseen.error[index]
    return pd.DataFrame(
        {"model": model, "strategy": unseen.strategy[index], "kept": unseen.kept[index], "error": error,
         "predicted": value, "low": low, "high": high, "covered": (low <= error) & (error <= high)}
    )  # fmt: skip


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """A row per model of `held_out`, the best first: points, relative_error (root mean square of ln), covered (share),
    width (mean of ln(high/low))."""
    import pandas as pd

    off = np.log(table["predicted"] / table["error"]) ** 2
    wide = np.log(table["high"] / table["low"])
    by_model = pd.DataFrame({"model": table["model"], "off": off, "covered": table["covered"], "width": wide})
    grouped = by_model.groupby("model", sort=False)
    result = pd.DataFrame(
        {"points": grouped.size(), "relative_error": np.sqrt(grouped["off"].mean()),
         "covered": grouped["covered"].mean(), "width": grouped["width"].mean()}
    )  # fmt: skip
    return result.sort_values(["points", "relative_error"], ascending=[False, True]).reset_index()
