"""Figs. 10 and 11 on digits: images from the same noise, guided by the learner at each addition of data."""

import tempfile
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from experiments.paper.digits_runs import digits, image_rows, learners_along_a_run
from figures.grids import draw_image_table

OMEGA = 0.02


def compute(quick: bool) -> pd.DataFrame:
    """One row of images per round, guided by the learner before its addition. The first row is not guided."""
    config = digits()
    with tempfile.TemporaryDirectory() as folder:
        generator, learners = learners_along_a_run(config, Path(folder) / "run")
    shown = learners[::2]  # every other round
    rows = [("plain", shown[0][1], 0.0)] + [(f"{size} samples", learner, OMEGA) for size, learner in shown]
    return image_rows(generator, rows, config.guidance)


def draw(table: pd.DataFrame) -> Figure:
    """See figures.grids."""
    return draw_image_table(table, rows="learner trained on", columns="requested class")


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the numbers of this table."""
    return (
        f"Generated digits at the same noise over a run (Figs. 10, 11): each row is guided (ω = {OMEGA:g}) by the "
        "learner as it was when it had seen that many samples, the first row by none; in brackets that learner's mean "
        "entropy on the row, in nats. What is hard changes as the learner learns."
    )
