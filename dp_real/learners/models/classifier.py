"""Image classifiers of transformers as learners: an existing one by hub id or folder, or a fresh one by its sizes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as ARCHITECTURES,
)
from transformers.models.auto.modeling_auto import AutoModelForImageClassification
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dp_base.errors import InputError, MissingError
from dp_real.examples import Task
from dp_real.learners.models.architectures import class_names, freeze_unused, fresh_network
from dp_real.learners.models.network import NetworkLearner
from dp_real.runtime.hub import load, no_code_of
from dp_real.runtime.pixels import fit

ASKED = (64, 64)  # pixels of the images that a processor is asked about


class Classifier(nn.Module):
    """[B, C, H, W] in [-1, 1] -> logits [B, K]. Images are resized and normalised as the model expects."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        """size: the model's height and width. mean, std: one value per channel, for pixels in [0, 1]."""
        super().__init__()
        self.model = model
        self.size = size
        device = next(model.parameters(), torch.empty(0)).device
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1).to(device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K] of images [B, C, h, w] of any size, grey or colour."""
        pixels = fit(x.expand(-1, max(x.shape[1], len(self.mean)), -1, -1), (len(self.mean), self.size, self.size))
        return self.model(pixel_values=((pixels + 1) / 2 - self.mean) / self.std).logits


class ClassifierLearner(NetworkLearner):
    """A learner that saves what AutoModelForImageClassification and AutoImageProcessor read."""

    def save(self, folder: Path) -> None:
        """Write the model with its class names, and a processor that prepares images as they were validated."""
        classifier: Any = self.in_use
        side, resize = self.task.sample_shape[-1], self.task.resize
        classifier.model.save_pretrained(folder)
        processor = CLIPImageProcessorPil(  # this one resizes the shorter side and crops the longer
            do_convert_rgb=len(classifier.mean) == 3,
            size={"shortest_edge": round(classifier.size * (resize or side) / side)},
            crop_size={"height": classifier.size, "width": classifier.size},
            image_mean=classifier.mean.flatten().tolist(),
            image_std=classifier.std.flatten().tolist(),
        )
        processor.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """See Learner."""
        classifier: Any = self.in_use
        classifier.model.load_state_dict(load(AutoModelForImageClassification, str(folder)).state_dict())


def fresh_classifier(task: Task, architecture: str, sizes: Mapping[str, Any]) -> Classifier:
    """A fresh classifier for images of the task's shape; see fresh_network."""
    channels, size = task.sample_shape[0], sizes.get("image_size", task.sample_shape[-1])
    own = {"image_size": size, "num_channels": channels} | class_names(task)

    def wrap(model: Any) -> Classifier:
        return freeze_unused(Classifier(model, size, [0.5] * channels, [0.5] * channels), task.sample_shape)

    return fresh_network(AutoModelForImageClassification, ARCHITECTURES, architecture, sizes, own, wrap)


def known_classifier(model: str, sample_shape: tuple[int, ...], labels: dict[str, Any]) -> Classifier:
    """Load a classifier from a folder or the hub. labels: the options of `class_names`, or none to keep its classes.

    If it has another number of classes, its last layer is fresh. Raises MissingError if weights are missing, InputError
    if they are no image classifier's.
    """
    try:
        loaded = load(AutoModelForImageClassification, model, ignore_mismatched_sizes=True, **labels)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{model}: no image classifier of transformers: {error}") from error
    mean, std = normalisation(model)
    return Classifier(loaded, getattr(loaded.config, "image_size", sample_shape[-1]), mean, std)


def normalisation(model: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of each channel that a model's images are normalised by, for pixels in [0, 1].

    Its processor is asked for a black and a white image, so that whatever it does to each channel is in them. Raises
    MissingError if its preprocessor_config.json is missing, InputError if it takes channels in another order.
    """
    try:
        with no_code_of(model):
            processor: Any = AutoImageProcessor.from_pretrained(
                model, local_files_only=Path(model).is_dir(), trust_remote_code=False
            )
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise MissingError(
            f"{model}: no preprocessor_config.json could be read, which says how its images are normalised; put one "
            'there: {"image_processor_type": "ViTImageProcessor", "image_mean": [R, G, B], "image_std": [R, G, B]}'
        ) from error
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0]], np.uint8)
    images = [np.tile(colour, (*ASKED, 1)) for colour in colours]
    pixels = np.asarray(processor(images=images, return_tensors="np")["pixel_values"], np.float64)
    black, white, red = pixels[:, :, pixels.shape[2] // 2, pixels.shape[3] // 2]
    if not np.allclose(red, [white[0], *black[1:]], atol=1e-6):
        raise InputError(f"{model}: its image processor takes channels in another order than red, green, blue")
    std = 1 / (white - black)
    return (-black * std).tolist(), std.tolist()
