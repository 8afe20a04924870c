"""An encoder of images that knows the generator's typefaces, but none of the task's characters."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ImageFont
from torch import Tensor

from dp_base.checksums import json_digest
from dp_base.progress import progress
from dp_experiments.studies.glyphs.collection import POINTS, SIDE, draw_character
from dp_experiments.studies.glyphs.fonts import CHARACTERS, letters_of
from dp_experiments.studies.glyphs.source import GlyphsConfig
from dp_real.data.examples import Task
from dp_real.learners import TransformersConfig
from dp_real.learners.section import TrainingConfig
from dp_real.runtime.cache import cached
from dp_real.runtime.pixels import fit, to_float
from dp_real.runtime.seeds import Stream, rng

RECIPE = 1  # raise it when the encoder changes
TWINS = {*"01|ı", *map(str.casefold, CHARACTERS)}
OTHERS = [chr(code) for code in range(0x21, 0x180) if unicodedata.normalize("NFKD", chr(code)).casefold() not in TWINS]
"""Characters of ASCII, Latin-1 and Latin Extended-A that look like none of the task's. Most have accents."""
MIN_FONTS = 100  # that must have a character
NETWORK: dict[str, Any] = {
    "embedding_size": 32,
    "hidden_sizes": [32, 64, 128],
    "depths": [1, 1, 1],
    "layer_type": "basic",
}
TRAINING = TrainingConfig(steps=3000, batch_size=128, learning_rate=2e-3, weight_decay=0.05, crop=0.7)


def encoder(source: GlyphsConfig) -> Path:
    """A classifier of OTHERS in the folder that transformers reads, trained on first use in about three minutes."""
    faces = source.faces()
    rows, _, _ = source.split_fonts(faces)
    paths = [face.path for face in sorted((faces[row] for row in rows), key=lambda face: (face.package, face.path))]
    files = sorted(path.name for path in paths)

    def make(folder: Path) -> None:
        x, y, names = characters(paths)
        learner = TransformersConfig(kind="transformers", architecture="resnet", config=NETWORK).fresh(
            Task((1, source.size, source.size), names), TRAINING, source.split
        )
        with progress("training the encoder", TRAINING.steps) as advance:
            for step in range(TRAINING.steps):
                picked = rng(source.split, Stream.BATCH, step).integers(len(y), size=TRAINING.batch_size)
                learner.train_step(fit(to_float(x[picked]), learner.task.sample_shape), y[picked])
                advance(1)
        learner.save(folder)

    depends = {
        "recipe": RECIPE,
        "files": json_digest(files),
        "size": source.size,
        "split": source.split,
        "network": NETWORK,
        "training": TRAINING.model_dump(mode="json"),
    }
    return cached("glyphs-encoder", depends, make)


def characters(files: list[Path]) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """uint8 [n, 1, SIDE, SIDE], labels and names, of those that at least MIN_FONTS of the fonts have."""
    drawn: dict[str, list[np.ndarray]] = {}
    for path in files:
        known = letters_of(path)
        face = ImageFont.truetype(path, POINTS, layout_engine=ImageFont.Layout.BASIC)
        for letter in OTHERS:
            if ord(letter) in known and (image := draw_character(face, letter)).any():
                drawn.setdefault(letter, []).append(image)
    names = tuple(letter for letter in OTHERS if len(drawn.get(letter, ())) >= MIN_FONTS)
    x = torch.from_numpy(np.concatenate([drawn[name] for name in names])).view(-1, 1, SIDE, SIDE)
    counts = torch.tensor([len(drawn[name]) for name in names])
    return x, torch.arange(len(names)).repeat_interleave(counts), names
