"""Figs. 10 and 11 on digits: images from the same noise, guided by the learner at each addition."""

from functools import partial

import numpy as np
import pandas as pd
from dp_figures.grids import draw_image_table

from dp_experiments.paper.digits_runs import OMEGA, image_rows, shown_run
from dp_experiments.show.sample import rows_along

SHOWN = 5  # learners, at most


def compute(quick: bool) -> pd.DataFrame:
    run = shown_run()
    guided = rows_along(run, [OMEGA])[1:]
    places = np.unique(np.linspace(0, len(guided) - 1, SHOWN).round().astype(int))
    rows = [guided[0]._replace(omega=0.0), *(guided[place] for place in places)]
    return image_rows(run, rows, ["plain", *(f"{row.pool_size} samples" for row in rows[1:])])


draw = partial(draw_image_table, rows="learner trained on", columns="requested class")


def caption(table: pd.DataFrame) -> str:
    return (
        f"Images generated in a run of {table['data'].iloc[0]} at the same noise, over training (Figs. 10, 11): each "
        f"row is guided (ω = {table['omega'].max():.3g}) by the learner as it was when it had seen that many samples, "
        "the first row by none; in brackets that learner's mean entropy on the row, in nats. What is hard changes as "
        "the learner learns."
    )
