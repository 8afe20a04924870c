"""Figs. 12 and 13 on digits: images from the same noise under guidance of increasing strength."""

from functools import partial

import pandas as pd
from dp_figures.grids import draw_image_table

from dp_experiments.paper.digits_runs import OMEGA, image_rows, shown_run
from dp_experiments.show.sample import rows_along

TIMES = (0, 0.25, 0.5, 1, 1.5, 2.5, 5, 15)


def compute(quick: bool) -> pd.DataFrame:
    run = shown_run()
    last = rows_along(run, [OMEGA])[-1]
    rows = [last._replace(omega=times * OMEGA) for times in TIMES]
    return image_rows(run, rows, [f"ω = {row.omega:.3g}" for row in rows])


draw = partial(draw_image_table, rows="guidance strength", columns="requested class")


def caption(table: pd.DataFrame) -> str:
    return (
        f"Images generated in a run of {table['data'].iloc[0]} at the same noise under entropy guidance of increasing "
        "strength ω (Figs. 12, 13); in brackets the mean entropy that the learner which guides, the one before the "
        "run's last addition, assigns to the row, in nats. Strong guidance leaves the classes behind."
    )
