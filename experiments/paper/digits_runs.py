"""What the digits figures share: runs of the preset, and images from the same noise for learners along a run."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from joblib import cpu_count
from torch import Tensor

from dp_real import Run, run
from dp_real.config import Config
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.protocols import Generator, Learner
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_seeds
from dp_real.sections import GuidanceConfig
from experiments.comparing.compare import run_arms
from experiments.presets.presets import load_preset
from experiments.terminal import progress


def digits(*overrides: str) -> Config:
    """The preset `digits` with key=value overrides."""
    return load_preset("digits", overrides)


def run_digits_arms(config: Config, arms: Sequence[str], *, seeds: int, splits: int) -> pd.DataFrame:
    """Run arms on all cores, in a folder that is removed afterwards. Returns the table of compare.run_arms."""
    with tempfile.TemporaryDirectory() as folder:
        return run_arms(config, arms, seeds, splits, Path(folder), cpu_count(), progress)


class SizedLearner(NamedTuple):
    """A learner along a run, and how many samples it was trained on."""

    size: int
    learner: Learner


def learners_along_a_run(config: Config, folder: Path) -> tuple[Generator, list[SizedLearner]]:
    """Run a configuration in a folder. Returns the generator, and the learner just before each addition of data."""
    run(config, folder, progress=progress)
    done = Run(folder)
    plan = config.practice
    learners = []
    for checkpoint in done.checkpoints:
        size = plan.initial + (checkpoint.state.rounds - 1) * plan.increment
        learners.append(SizedLearner(size, done.learner(checkpoint)))
    return load_generator(config, progress=progress), learners


def digits_learners(config: Config) -> tuple[Generator, list[SizedLearner]]:
    """The same, of a run in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return learners_along_a_run(config, Path(folder) / "run")


class ImageRow(NamedTuple):
    """A row of images, guided by a learner at strength omega; 0: plain images."""

    label: str
    learner: Learner
    omega: float


def image_rows(generator: Generator, rows: Iterable[ImageRow], options: GuidanceConfig) -> pd.DataFrame:
    """Draw one image of each class in every row, all from the same noise.

    The columns are `row` (its label, and the learner's mean entropy on the row in nats), `column` (the class), and
    those of pixel_columns.
    """
    labels = torch.arange(generator.n_classes)
    seeds = row_seeds(0, 0, range(len(labels)))
    parts = []
    for row in rows:
        guidance = EntropyGuidance.of(options, row.learner.logits, row.omega) if row.omega else None
        x = generator.sample(labels, seeds, guidance)
        with torch.no_grad():
            hardness = entropy(row.learner.logits(x)).mean().item()
        parts.append(pixel_columns(x).assign(row=f"{row.label}  (H = {hardness:.2f})", column=labels.numpy()))
    return pd.concat(parts, ignore_index=True)


def pixel_columns(x: Tensor) -> pd.DataFrame:
    """Columns pixel_0, pixel_1 and so on, in [0, 1], with a row for each grey image. x: [n, 1, H, W] in [-1, 1]."""
    pixels = np.clip((x.flatten(1).numpy() + 1) / 2, 0, 1)
    return pd.DataFrame(pixels, columns=[f"pixel_{index}" for index in range(pixels.shape[1])])
