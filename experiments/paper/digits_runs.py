"""Shared by the digits figures: runs of the preset, and images from the same noise for learners along a run."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dp_real import Run, run
from dp_real.config import Config
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.protocols import Generator, Learner
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_seeds
from dp_real.sections import GuidanceConfig
from experiments.presets.presets import load_preset
from experiments.terminal import progress


def digits(*overrides: str) -> Config:
    """The preset `digits` with key=value overrides."""
    return load_preset("digits", overrides)


def learners_along_a_run(config: Config, folder: Path) -> tuple[Generator, list[tuple[int, Learner]]]:
    """Run `config` in `folder`. Returns the generator, and (pool size, learner) just before each addition of data."""
    run(config, folder, progress=progress)
    done, options = Run(folder), config.practice
    sizes = [options.initial + (at.state.rounds - 1) * options.increment for at in done.checkpoints]
    learners = [done.learner(at) for at in done.checkpoints]
    return load_generator(config, progress=progress), list(zip(sizes, learners, strict=True))


def image_rows(
    generator: Generator, rows: Iterable[tuple[str, Learner, float]], options: GuidanceConfig
) -> pd.DataFrame:
    """One image per class for each (label, learner, omega), all from the same noise. omega 0: plain images.

    Columns: row (the label, and the learner's mean entropy on the row in nats), column (the class), pixel_0, … in
    [0, 1].
    """
    labels = torch.arange(generator.n_classes)
    seeds = row_seeds(0, 0, range(len(labels)))
    parts = []
    for name, learner, omega in rows:
        guidance = EntropyGuidance.of(options, learner.logits, omega) if omega else None
        x = generator.sample(labels, seeds, guidance)
        with torch.no_grad():
            hardness = entropy(learner.logits(x)).mean().item()
        pixels = (x.flatten(1).numpy() + 1) / 2
        part = pd.DataFrame(np.clip(pixels, 0, 1), columns=[f"pixel_{index}" for index in range(pixels.shape[1])])
        parts.append(part.assign(row=f"{name}  (H = {hardness:.2f})", column=labels.numpy()))
    return pd.concat(parts, ignore_index=True)
