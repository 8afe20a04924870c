"""What the digits figures share: runs of the preset, and images at the same noise from learners along a run."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dp_real.config.config import Config, GuidanceConfig
from dp_real.data import load_data
from dp_real.generators import load_generator
from dp_real.guidance.entropy import entropy
from dp_real.learners import fresh_learner
from dp_real.protocols import Generator, Learner
from dp_real.rounds.source import make_guidance
from dp_real.runs.run import checkpoints, restore_learner, run
from dp_real.runtime.seeds import row_seeds
from experiments.cli.terminal import progress
from experiments.presets.presets import load_preset


def digits(*overrides: str) -> Config:
    """The preset with overrides."""
    return load_preset("digits", overrides)


def learners_along_a_run(config: Config, folder: Path) -> tuple[Generator, list[tuple[int, Learner]]]:
    """Run it, and return the generator and (pool size, learner) just before each addition of data."""
    run(config, folder, progress=progress)
    generator = load_generator(config, load_data(config.data), progress)
    found = []
    for checkpoint in checkpoints(folder):
        learner = fresh_learner(config, generator)
        state, _ = restore_learner(learner, checkpoint)
        found.append((config.practice.initial + (state.rounds - 1) * config.practice.increment, learner))
    return generator, found


def image_rows(
    generator: Generator, rows: Iterable[tuple[str, Learner, float]], options: GuidanceConfig
) -> pd.DataFrame:
    """One image a class for each (label, learner, omega), all rows from the same noise.

    Columns row (its label and the mean entropy of its images in nats), column (the class), pixel_0, ….
    """
    labels = torch.arange(generator.n_classes)
    seeds = row_seeds(0, 0, range(len(labels)))
    parts = []
    for name, learner, omega in rows:
        guidance = make_guidance(options, learner.logits, omega) if omega else None
        x = generator.sample(labels, seeds, guidance)
        with torch.no_grad():
            hardness = entropy(learner.logits(x)).mean().item()
        pixels = (x.flatten(1).numpy() + 1) / 2
        part = pd.DataFrame(np.clip(pixels, 0, 1), columns=[f"pixel_{index}" for index in range(pixels.shape[1])])
        parts.append(part.assign(row=f"{name}  (H = {hardness:.2f})", column=labels.numpy()))
    return pd.concat(parts, ignore_index=True)
