"""Runs of the preset `digits` for figures, and images from the same noise along a run."""

import atexit
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import cpu_count
from torch import Tensor

from dp_experiments.compare.compare import Comparison, run_arms
from dp_experiments.presets.presets import load_preset
from dp_experiments.show.report.pictures import pictures
from dp_experiments.show.sample import Row, sample_row, verdicts
from dp_real import Run
from dp_real.config import Config
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_seeds

SPLITS = 4  # of the data, over which seeds are spread
OMEGA = 0.02  # of guided images in a grid


def digits(*overrides: str) -> Config:
    """The preset with these settings."""
    return load_preset("digits", overrides)


def digits_arms(config: Config, arms: Sequence[str], *, seeds: int, splits: int) -> tuple[pd.DataFrame, Comparison]:
    """The table of the arms' runs, and their folders. Figures share runs, which are removed when the process ends."""
    folder = _shared(config.to_toml(), splits)
    return run_arms(config, arms, seeds, splits, folder, cpu_count()), Comparison(folder)


@cache
def _shared(config: str, splits: int) -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return folder


def shown_run() -> Run:
    """The first run of the preset `digits`."""
    _, done = digits_arms(digits(), ["practice"], seeds=1, splits=SPLITS)
    return Run(done.run_folder("practice", 0))


def image_rows(run: Run, rows: Iterable[Row], names: Iterable[str]) -> pd.DataFrame:
    """An image of each of a run's classes in every row, from the same noise.

    A row's name ends with its judge's mean entropy in nats.
    """
    config = run.config
    generator = load_generator(config)
    classes = config.task.classes
    labels = torch.arange(len(classes))
    seeds = row_seeds(0, 0, range(len(labels)))
    parts = []
    for row, name in zip(rows, names, strict=True):
        x = sample_row(config, generator, row, labels, seeds, lambda _: None)
        hardness = np.mean(verdicts(row.judge, x, labels.tolist())["entropy"])
        columns = {"row": f"{name}  (H = {hardness:.2f})", "column": classes, "data": config.name, "omega": row.omega}
        parts.append(pixel_columns(x).assign(**columns))
    return pd.concat(parts, ignore_index=True)


def pixel_columns(x: Tensor) -> pd.DataFrame:
    """The pixels of images [n, 1, H, W] in [-1, 1] as columns in [0, 1]."""
    pixels = pictures(x.float().cpu()).reshape(len(x), -1)
    return pd.DataFrame(pixels, columns=[f"pixel_{index}" for index in range(pixels.shape[1])])
