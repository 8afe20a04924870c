"""What many prompts do, on digits.

`python -m dp_experiments.studies.digits.styles FOLDER SPLIT` makes rows of digits-styles.csv.
The generator also knows eight kinds of each class, found by k-means, and a row's seed picks one of the first few.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from sklearn.cluster import KMeans
from torch import Tensor

from dp_experiments.presets.presets import load_preset
from dp_experiments.tuning.tuned import Tuned
from dp_real import run
from dp_real.examples import Examples, TrainingExamples
from dp_real.generators.models.denoiser import DenoiserGenerator, train_denoiser
from dp_real.generators.trained import DENOISERS
from dp_real.guidance import EntropyGuidance
from dp_real.protocols import Labels, Seeds

CLASSES, STYLES = 10, 8
ARMS = ("practice", "static-4000")


@dataclass
class Styled:
    """Draws one of the first `styles` kinds of a class, 0 being the class alone."""

    inner: DenoiserGenerator
    styles: int
    largest: Int64[Tensor, "classes styles"]  # the kinds of each class, the largest first

    def sample(self, labels: Labels, seeds: Seeds, guidance: EntropyGuidance | None) -> Tensor:
        if not self.styles:
            return self.inner.sample(labels + CLASSES * STYLES, seeds, guidance)
        picked = torch.from_numpy((seeds // np.uint64(65537) % np.uint64(self.styles)).astype(np.int64))
        return self.inner.sample(labels * STYLES + self.largest[labels, picked], seeds, guidance)

    def offload(self) -> None:
        """It is small."""


def styles_of(images: TrainingExamples) -> tuple[Tensor, Tensor]:
    """The kind of each image within its class, and the kinds of each class, the largest first."""
    style, largest = torch.zeros_like(images.y), torch.zeros(CLASSES, STYLES, dtype=torch.int64)
    for label in range(CLASSES):
        rows = (images.y == label).nonzero().flatten()
        kinds = KMeans(STYLES, n_init=4, random_state=0).fit_predict(images.x[rows].flatten(1).numpy())
        style[rows] = torch.from_numpy(kinds).long()
        largest[label] = torch.from_numpy(np.argsort(-np.bincount(kinds, minlength=STYLES)))
    return style, largest


def main(folder: Path, split: int) -> None:
    tuned = Tuned.published("digits")
    base = load_preset("digits", [f"data.split={split}"], seed=split)
    images = base.data.load().generator
    assert images is not None
    style, largest = styles_of(images)
    labels = torch.cat([images.y * STYLES + style, images.y + CLASSES * STYLES])  # each image under both names
    both = Examples(torch.cat([images.x, images.x]), labels)
    n_labels = CLASSES * (STYLES + 1)
    model = train_denoiser(DENOISERS["full"], both, n_labels, split, None, lambda steps: None)
    for styles in (0, 1, 4, 8):
        for arm in ARMS:
            config = tuned.arm_config(base, arm)
            how = config.sampling
            drawing = DenoiserGenerator(model, base.task.sample_shape, n_labels, how.steps, how.guidance_scale)
            plan = config.model_dump(mode="json", exclude_none=True, exclude={"generator"})
            result = run(plan, folder / f"{split}-{styles}-{arm}", generator=Styled(drawing, styles, largest))
            accuracies = [f"{100 * result[name]:.3f}" for name in ("val_accuracy", "test_accuracy")]
            print(arm, styles, split, *accuracies, result["pool_size"], sep=",", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]))
