"""Image classifiers of transformers as learners: any that is there, by id or folder, or a fresh one from its sizes."""

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as ARCHITECTURES,
)
from transformers.models.auto.modeling_auto import AutoModelForImageClassification

from dp_real.config import TransformersConfig
from dp_real.errors import InputError
from dp_real.generators.stable_diffusion import fit, load
from dp_real.learner import NetworkLearner
from dp_real.seeds import Stream, torch_rng


class Classifier(nn.Module):
    """[B, C, H, W] in [-1, 1] -> logits [B, K]; fits images to the model's size and normalises them as it expects."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        """mean, std: of each channel, for pixels in [0, 1]."""
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        size = getattr(self.model.config, "image_size", x.shape[-1])
        height, width = (size, size) if isinstance(size, int) else size
        pixels = fit(x, (self.model.config.num_channels, height, width))
        return self.model(pixel_values=((pixels + 1) / 2 - self.mean) / self.std).logits


class ClassifierLearner(NetworkLearner):
    """Leaves a folder that AutoModelForImageClassification and AutoImageProcessor read."""

    def save(self, folder: Path) -> None:
        """The model with its classes' names, and the processor that makes pictures look as they did in training."""
        classifier: Any = self.trained
        classifier.model.save_pretrained(folder)
        size = getattr(classifier.model.config, "image_size", self.image_size)
        processor = {
            "image_processor_type": "CLIPImageProcessor",  # the one that resizes the shorter side and crops the longer
            "do_convert_rgb": len(classifier.mean) == 3,
            "size": {"shortest_edge": size},
            "crop_size": {"height": size, "width": size},
            "image_mean": classifier.mean.flatten().tolist(),
            "image_std": classifier.std.flatten().tolist(),
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")

    def load(self, folder: Path) -> None:
        """Answer as the learner that was saved there."""
        classifier: Any = self.trained
        classifier.model.load_state_dict(load(AutoModelForImageClassification, str(folder)).state_dict())


def load_classifier(
    config: TransformersConfig, sample_shape: tuple[int, ...], classes: Sequence[str], seed: int
) -> Classifier:
    """The classifier that a configuration names. What is fresh in it is a function of the seed.

    Raises MissingError if weights are missing, InputError if they are no image classifier's, or sizes do not fit.
    """
