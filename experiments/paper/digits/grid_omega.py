"""Figs. 12 and 13 on digits: images from the same noise under guidance of increasing strength."""

from functools import partial

import pandas as pd

from experiments.paper.digits_runs import ImageRow, digits, digits_learners, image_rows
from figures.grids import draw_image_table

NUMBERS = ("measured",)
FIGURES = (12, 13)

OMEGAS = (0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3)


def compute(quick: bool) -> pd.DataFrame:
    """A row of images for each strength, guided by the learner before the last addition of a run of the preset."""
    config = digits()
    generator, learners = digits_learners(config)
    learner = learners[-1].learner
    return image_rows(generator, [ImageRow(f"ω = {omega:g}", learner, omega) for omega in OMEGAS], config.guidance)


draw = partial(draw_image_table, rows="guidance strength", columns="requested class")


def caption(table: pd.DataFrame) -> str:
    return (
        "Generated digits at the same noise under entropy guidance of increasing strength (Figs. 12, 13), relative "
        "scale, every step but the last; in brackets the mean entropy that the learner which guides assigns to the "
        "row, in nats. Strong guidance leaves the digits behind."
    )
