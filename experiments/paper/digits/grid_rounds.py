"""Figs. 10 and 11 on digits: images from the same noise, guided by the learner at each addition of data."""

from functools import partial

import pandas as pd

from experiments.paper.digits_runs import ImageRow, digits, digits_learners, image_rows
from figures.grids import draw_image_table

NUMBERS = ("measured",)
FIGURES = (10, 11)

OMEGA = 0.02


def compute(quick: bool) -> pd.DataFrame:
    """A row of images for every other round, guided by the learner before its addition. The first row is plain."""
    config = digits()
    generator, learners = digits_learners(config)
    shown = learners[::2]
    rows = [ImageRow("plain", shown[0].learner, 0.0)]
    rows += [ImageRow(f"{size} samples", learner, OMEGA) for size, learner in shown]
    return image_rows(generator, rows, config.guidance)


draw = partial(draw_image_table, rows="learner trained on", columns="requested class")


def caption(table: pd.DataFrame) -> str:
    return (
        f"Generated digits at the same noise over a run (Figs. 10, 11): each row is guided (ω = {OMEGA:g}) by the "
        "learner as it was when it had seen that many samples, the first row by none; in brackets that learner's mean "
        "entropy on the row, in nats. What is hard changes as the learner learns."
    )
