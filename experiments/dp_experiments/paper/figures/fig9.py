"""Fig. 9, from the stored runs: is practice without guidance (omega = 0) as good as static data?"""

import numpy as np
import pandas as pd
from dp_figures.curves import draw_ranking
from dp_figures.tables import measured
from matplotlib.figure import Figure
from scipy import stats

from dp_experiments.studies.stored import paired, stored_runs

MARGIN = 0.5  # points: differences within it count as none
LEVEL = 0.05  # of each of the two one-sided tests
PAIRS = {
    "digits, 1,000 samples": ("digits", "practice-unguided", "static"),
    "glyphs, 8,000 samples": ("glyphs", "practice-unguided-8000", "static-8000"),
}


def compute(quick: bool) -> pd.DataFrame:
    """The lead of unguided practice over static data, in points, with the 90 % interval of the two one-sided tests."""
    parts = []
    for series, (data, arm, rival) in PAIRS.items():
        mean, se, splits = paired(stored_runs(data), arm, rival)
        reach = float(stats.t.ppf(1 - LEVEL, splits - 1)) * se
        row = measured([series], 0.0, mean, se, splits)
        parts.append(row.assign(y_low=mean - reach, y_high=mean + reach, verdict=verdict(mean - reach, mean + reach)))
    return pd.concat(parts, ignore_index=True)


def verdict(low: float, high: float) -> str:
    if np.abs([low, high]).max() < MARGIN:
        return "equivalent"
    return "undecided" if low < 0 < high else "different"


def draw(table: pd.DataFrame) -> Figure:
    figure = draw_ranking(table, xlabel="unguided practice − static data (points); grey: the margin")
    (ax,) = figure.axes
    ax.axvspan(-MARGIN, MARGIN, color="0.92", zorder=0)
    ax.margins(y=0.4)
    return figure


def caption(table: pd.DataFrame) -> str:
    verdicts = "; ".join(
        f"{row['series']}: {row['y']:+.2f} ({row['y_low']:+.2f} to {row['y_high']:+.2f}), {row['verdict']}"
        for row in table.to_dict("records")
    )
    return (
        "Practice without guidance against static data of as many samples (Fig. 9), as two one-sided tests at "
        f"{LEVEL:.0%} with a margin of {MARGIN} points. {verdicts}. The paper calls the two equal."
    )
