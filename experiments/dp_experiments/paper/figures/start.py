"""The picture on the front page: test error over samples on glyphs, practice and static data, both tuned."""

from functools import partial

import pandas as pd
from dp_figures.curves import draw_curves

from dp_experiments.paper.figures.fig4_glyphs import ARMS
from dp_experiments.studies.stored import paired, scaling, stored_runs


def compute(quick: bool) -> pd.DataFrame:
    """Errors in percent, so that their ends change places."""
    table = scaling(stored_runs("glyphs"), ARMS)
    return table.assign(y=100 - table["y"], y_low=100 - table["y_high"], y_high=100 - table["y_low"])


draw = partial(
    draw_curves,
    xlabel="samples generated",
    ylabel="test error (%), ± 1 s.e. within splits",
    logx=True,
    logy=True,
)


def caption(table: pd.DataFrame) -> str:
    rows = table.set_index(["series", "x"])["y"]
    gap = paired(stored_runs("glyphs"), "practice-16000", "static-128000")
    return (
        f"Characters of real typefaces, 77 classes, both arms tuned, means over {table['n_seeds'].max()} data splits. "
        f"16,000 samples of practice err on {rows['practice', 16000]:.2f} %, 128,000 static ones on "
        f"{rows['static', 128000]:.2f} %: in accuracy {gap}. Bars are one standard error without what a split does to "
        "all arms."
    )
