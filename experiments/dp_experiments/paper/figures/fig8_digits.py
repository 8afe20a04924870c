"""Fig. 8 on digits: the denoised estimate x0_hat along the sampler, plain and guided, from the same noise."""

from functools import partial

import pandas as pd
import torch
from dp_figures.grids import draw_image_table
from torch import Tensor

from dp_experiments.paper.digits_runs import pixel_columns, shown_run
from dp_real.generators.models.denoiser import DenoiserGenerator
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_seeds

LABELS = (2, 5, 8)
STEPS = (0, 1, 2, 4, 6, 9, 12, 15, 17, 19)
OMEGA = 0.03


def compute(quick: bool) -> pd.DataFrame:
    run = shown_run()
    learner = run.learner(run.checkpoints[-1])
    generator = load_generator(run.config)
    assert isinstance(generator, DenoiserGenerator), "the preset's kind"
    guidance = EntropyGuidance.from_config(run.config.guidance, learner.logits, OMEGA)
    parts = []
    for name, used in (("plain", None), (f"ω = {OMEGA:g}", guidance)):
        estimates = _estimates(generator, used)
        for step in STEPS:
            rows = [f"{label}, {name}" for label in LABELS]
            parts.append(pixel_columns(estimates[step]).assign(row=rows, column=step + 1))
    return pd.concat(parts).sort_values(["row", "column"], ignore_index=True)


def _estimates(generator: DenoiserGenerator, guidance: EntropyGuidance | None) -> list[Tensor]:
    estimates: list[Tensor] = []
    generator.sample(
        torch.tensor(LABELS),
        row_seeds(0, 0, LABELS),
        guidance,
        callback=lambda index, x0_hat: estimates.append(x0_hat.cpu()),
    )
    return estimates


draw = partial(draw_image_table, rows="class and guidance", columns="step")


def caption(table: pd.DataFrame) -> str:
    return (
        "The denoised estimate x0_hat along 20 DDIM steps (Fig. 8), without guidance and with it, from the same noise. "
        "Guidance takes the entropy of these estimates; the first ones are close enough to a digit to be classified."
    )
