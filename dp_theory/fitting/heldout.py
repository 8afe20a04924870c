"""Which predicts better what it has not seen: the theory, or an empirical law?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import fit
from dp_theory.fitting.laws import LAWS, LawFit, fit_law
from dp_theory.numerics.checks import require, require_whole

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool

THEORY = "theory"
_KEEP_DECIMALS = 3  # kept shares that agree so far count as the same
_LEAST_VISIBLE = 2  # sizes that must be left of some strategy


class _Prediction(NamedTuple):
    """What a model predicts for a hidden point."""

    model: str
    point: int
    error: float
    low: float
    high: float


def hidden_points(curve: Curve, hide: int | None = None) -> Bool[np.ndarray, " points"]:
    """Which points of a curve are hidden: those of the largest sizes of each strategy and each p.

    Parameters
    ----------
    curve
        The points.
    hide
        How many sizes are hidden, by default a third of them. A strategy that has no more sizes than that stays.

    Returns
    -------
    Bool[np.ndarray, "points"]
        True for hidden points.

    Raises
    ------
    InputError
        Where less than two sizes are left of every strategy, or `hide` is no positive whole number.
    """
    if hide is not None:
        require_whole(hide=hide)
        require("hide", hide, hide >= 1, "be at least 1: it counts hidden sizes")
    hidden = np.zeros(len(curve), bool)
    most_visible = 0
    keep = curve.keep.round(_KEEP_DECIMALS)
    for strategy, share in set(zip(curve.strategy.tolist(), keep.tolist(), strict=True)):
        rows = (curve.strategy == strategy) & (keep == share)
        sizes = np.unique(curve.kept[rows])
        count = len(sizes) // 3 if hide is None else hide
        if len(sizes) > count > 0:
            hidden |= rows & (curve.kept >= sizes[-count])
            most_visible = max(most_visible, len(sizes) - count)
    if most_visible < _LEAST_VISIBLE:
        raise InputError("too few sizes to hide some: at least 2 of a strategy must be left")
    return hidden


def held_out(
    curve: Curve, hide: int | None = None, fixed: Mapping[str, float] | None = None, level: float = 0.95
) -> pd.DataFrame:
    """What the theory and the empirical laws, fitted to a curve's smaller sizes, predict for its largest.

    The theory is fitted to all visible points at once. A law is fitted to those of the hidden point's strategy and p.
    A model that the visible points do not suffice for has no rows.

    Parameters
    ----------
    curve
        The points.
    hide
        How many sizes are hidden, as in `hidden_points`.
    fixed
        Parameters of the theory that are known, as in `fit`.
    level
        Level of the bands.

    Returns
    -------
    pd.DataFrame
        Columns model, strategy, kept, error, predicted, low, high and covered, a row for each model and hidden point.
        `low` and `high` are the band of a new measurement. `covered` says whether the hidden point lies in it.

    Raises
    ------
    InputError
        As `hidden_points` and `fit` do.
    """
    import pandas as pd

    hidden = hidden_points(curve, hide)
    seen = curve.at(~hidden)
    unseen = curve.at(hidden)
    found = _by_theory(seen, unseen, fixed, level)
    for name in LAWS:
        found += _by_law(name, seen, unseen, level)
    points = np.array([each.point for each in found])
    table = pd.DataFrame(
        {
            "model": [each.model for each in found],
            "strategy": unseen.strategy[points],
            "kept": unseen.kept[points],
            "error": unseen.error[points],
            "predicted": [each.error for each in found],
            "low": [each.low for each in found],
            "high": [each.high for each in found],
        }
    )
    return table.assign(covered=(table["low"] <= table["error"]) & (table["error"] <= table["high"]))


def _by_theory(seen: Curve, unseen: Curve, fixed: Mapping[str, float] | None, level: float) -> list[_Prediction]:
    """What the theory predicts for the unseen points."""
    table = fit(seen, fixed).predict(unseen, level)
    bands = table[["error", "new_low", "new_high"]].to_numpy()
    return [_Prediction(THEORY, i, *band) for i, band in enumerate(bands.tolist())]


def _by_law(name: str, seen: Curve, unseen: Curve, level: float) -> list[_Prediction]:
    """What a law predicts for the unseen points, where it can be fitted to seen points of the same strategy and p."""
    found = []
    fits: dict[tuple[str, float], LawFit | None] = {}
    for i, group in enumerate(zip(unseen.strategy.tolist(), unseen.keep.tolist(), strict=True)):
        if group not in fits:
            fits[group] = _law_of_group(name, seen, *group)
        law = fits[group]
        if law is not None:
            error, low, high = law.predict(unseen.kept[[i]], level)
            found.append(_Prediction(name, i, float(error[0]), float(low[0]), float(high[0])))
    return found


def _law_of_group(name: str, seen: Curve, strategy: str, keep: float) -> LawFit | None:
    """The law, fitted to the seen points of a strategy and a p. None where they are too few, or no law fits them."""
    same_share = np.isclose(seen.keep, keep, atol=0.5 * 10**-_KEEP_DECIMALS)
    try:
        return fit_law(name, seen.at((seen.strategy == strategy) & same_share))
    except (InputError, ConvergenceError):
        return None


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """How well each model predicts the hidden points.

    Parameters
    ----------
    table
        The table of `held_out`.

    Returns
    -------
    pd.DataFrame
        A row for each model, the best first: model, points, relative_error (root mean square of ln(predicted/error)),
        covered (share of the points) and width (mean of ln(high/low)).
    """
    import pandas as pd

    of_point = pd.DataFrame(
        {
            "model": table["model"],
            "squared": np.log(table["predicted"] / table["error"]) ** 2,
            "covered": table["covered"],
            "width": np.log(table["high"] / table["low"]),
        }
    )
    by_model = of_point.groupby("model", sort=False)
    result = pd.DataFrame(
        {
            "points": by_model.size(),
            "relative_error": np.sqrt(by_model["squared"].mean()),
            "covered": by_model["covered"].mean(),
            "width": by_model["width"].mean(),
        }
    )
    return result.sort_values(["points", "relative_error"], ascending=[False, True]).reset_index()
