"""What many prompts do, on digits and glyphs.

`python -m dp_experiments.studies.styles STUDY FOLDER SPLIT` makes rows of digits-styles.csv or glyphs-styles.csv.
The generator also knows eight kinds of each class, found by k-means, and a row's seed picks one of the first few.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from sklearn.cluster import KMeans
from torch import Tensor

from dp_experiments.presets.presets import load_preset
from dp_experiments.tuning.tuned import Tuned
from dp_real import run
from dp_real.data.examples import Examples, RealData, Task, TrainingExamples
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.protocols import Generator, Labels, Seeds

STYLES = 8
ARMS = {"digits": ("practice", "static-4000"), "glyphs": ("practice-8000", "static-8000")}


@dataclass
class Styled:
    """Draws one of the first `styles` kinds of a class, 0 being the class alone."""

    inner: Generator
    styles: int
    largest: Int64[Tensor, "classes styles"]  # the kinds of each class, the largest first

    def sample(self, labels: Labels, seeds: Seeds, guidance: EntropyGuidance | None) -> Tensor:
        if not self.styles:
            return self.inner.sample(labels + self.largest.numel(), seeds, guidance)
        picked = torch.from_numpy((seeds // np.uint64(65537) % np.uint64(self.styles)).astype(np.int64))
        return self.inner.sample(labels * STYLES + self.largest[labels, picked], seeds, guidance)

    def offload(self) -> None:
        """It is small."""


def styles_of(images: TrainingExamples, n_classes: int) -> tuple[Tensor, Tensor]:
    """The kind of each image within its class, and the kinds of each class, the largest first."""
    style, largest = torch.zeros_like(images.y), torch.zeros(n_classes, STYLES, dtype=torch.int64)
    for label in range(n_classes):
        rows = (images.y == label).nonzero().flatten()
        kinds = KMeans(STYLES, n_init=4, random_state=0).fit_predict(images.x[rows].flatten(1).numpy())
        style[rows] = torch.from_numpy(kinds).long()
        largest[label] = torch.from_numpy(np.argsort(-np.bincount(kinds, minlength=STYLES)))
    return style, largest


def main(study: str, folder: Path, split: int) -> None:
    tuned = Tuned.published(study)
    base = load_preset(study, [f"data.split={split}", "generator.training='full'"], seed=split)
    images, task = base.data.load().generator, base.task
    assert images is not None
    style, largest = styles_of(images, task.n_classes)
    labels = torch.cat([images.y * STYLES + style, images.y + largest.numel()])  # each image under both names
    both = Examples(torch.cat([images.x, images.x]), labels)
    kinds = [f"{name}, kind {kind}" for name in task.classes for kind in range(STYLES)]
    named: Any = SimpleNamespace(source=study, split=split, task=Task(task.sample_shape, (*kinds, *task.classes)))
    for styles in (0, 1, 4, 8):
        for arm in ARMS[study]:
            config = tuned.arm_config(base, arm)
            drawing = config.generator.load(config.sampling, named, RealData(named.task, both, both, both))
            plan = config.model_dump(mode="json", exclude_none=True, exclude={"generator"})
            result = run(plan, folder / f"{split}-{styles}-{arm}", generator=Styled(drawing, styles, largest))
            accuracies = [f"{100 * result[name]:.3f}" for name in ("val_accuracy", "test_accuracy")]
            print(arm, styles, split, *accuracies, result["pool_size"], sep=",", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
