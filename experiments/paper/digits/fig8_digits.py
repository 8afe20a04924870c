"""Fig. 8 on digits: the estimate x0_hat along the sampler, plain and guided, from the same noise."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from dp_real.generators.models.denoiser import DenoiserGenerator
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.seeds import row_seeds
from experiments.paper.digits_runs import digits, learners_along_a_run
from figures.grids import draw_image_table

LABELS = (2, 5, 8)
STEPS = (0, 1, 2, 4, 6, 9, 12, 15, 17, 19)
OMEGA = 0.03


def compute(quick: bool) -> pd.DataFrame:
    """A row of images per class and guidance: plain, or by the learner before the last addition. A column per step."""
    config = digits()
    with tempfile.TemporaryDirectory() as folder:
        generator, learners = learners_along_a_run(config, Path(folder) / "run")
    assert isinstance(generator, DenoiserGenerator), "the preset's kind"
    labels = torch.tensor(LABELS)
    parts = []
    for name, omega in (("plain", 0.0), (f"ω = {OMEGA:g}", OMEGA)):
        guidance = EntropyGuidance.of(config.guidance, learners[-1][1].logits, omega) if omega else None
        estimates: list[torch.Tensor] = []
        generator.sample(
            labels,
            row_seeds(0, 0, LABELS),
            guidance,
            callback=lambda index, x0_hat: estimates.append(x0_hat.cpu()),  # noqa: B023 (called within this iteration)
        )
        for step in STEPS:
            pixels = np.clip((estimates[step].flatten(1).numpy() + 1) / 2, 0, 1)
            part = pd.DataFrame(pixels, columns=[f"pixel_{index}" for index in range(pixels.shape[1])])
            parts.append(part.assign(row=[f"{label}, {name}" for label in LABELS], column=step + 1))
    return pd.concat(parts).sort_values(["row", "column"], ascending=[True, True], ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    """See figures.grids."""
    return draw_image_table(table, rows="class and guidance", columns="step")


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the numbers of this table."""
    return (
        "The denoised estimate x0_hat along 20 DDIM steps (Fig. 8), without guidance and with it, from the same noise. "
        "The entropy is read off these estimates; already the first ones are close enough to a digit to be classified."
    )
