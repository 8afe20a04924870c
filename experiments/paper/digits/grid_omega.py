"""Figs. 12 and 13 on digits: images from the same noise under guidance of increasing strength."""

import tempfile
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from experiments.paper.digits_runs import digits, image_rows, learners_along_a_run
from figures.grids import draw_image_table

OMEGAS = (0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3)


def compute(quick: bool) -> pd.DataFrame:
    """One row of images per strength, guided by the learner before the last addition of a run of the preset."""
    config = digits()
    with tempfile.TemporaryDirectory() as folder:
        generator, learners = learners_along_a_run(config, Path(folder) / "run")
    _, learner = learners[-1]
    return image_rows(generator, [(f"ω = {omega:g}", learner, omega) for omega in OMEGAS], config.guidance)


def draw(table: pd.DataFrame) -> Figure:
    """See figures.grids."""
    return draw_image_table(table, rows="guidance strength", columns="requested class")


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the numbers of this table."""
    return (
        "Generated digits at the same noise under entropy guidance of increasing strength (Figs. 12, 13), relative "
        "scale, every step but the last; in brackets the mean entropy that the learner which guides assigns to the "
        "row, in nats. Strong guidance leaves the digits behind."
    )
