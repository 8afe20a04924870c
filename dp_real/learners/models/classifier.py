"""Image classifiers of transformers."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForImageClassification, CLIPImageProcessorPil
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as ARCHITECTURES,
)

from dp_base.files import write_json
from dp_base.reading import read_json
from dp_real.data.examples import Task
from dp_real.learners.models.architectures import POOLER, class_names, freeze_unused, fresh_network, is_of_head
from dp_real.learners.models.preprocess import Preprocess, image_size, preprocess_of
from dp_real.runtime.hub import load, save
from dp_real.runtime.pixels import GREY

RESIZING = "resizing.json"  # of the learner's own images; the processor's is of whole pictures
KEYS = ("resized", "mode", "enlarges")


class Classifier(nn.Module):
    """A model of transformers: images in [-1, 1], which `preprocess` prepares, to logits."""

    def __init__(self, model: Any, preprocess: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.preprocess = preprocess.to(next(model.parameters(), torch.empty(0)).device)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        return self.model(pixel_values=self.preprocess(x).to(self.model.dtype)).logits

    def save(self, folder: Path, task: Task) -> None:
        """Save it for AutoModelForImageClassification, and validation's preprocessing for AutoImageProcessor."""
        side = task.sample_shape[-1]
        prepare: Any = self.preprocess
        height, width = prepare.size
        shown_size, _ = prepare.sides(side, side)
        _save_for_colours(self.model, folder)
        channels = len(GREY) if _grey_convolutions(self.model) else len(prepare.mean)
        processor = CLIPImageProcessorPil(  # this one resizes the shorter side and crops the longer one
            do_convert_rgb=channels == len(GREY),
            size={"shortest_edge": round(shown_size * (task.resize or side) / side)},
            crop_size={"height": height, "width": width},
            image_mean=prepare.mean.flatten().expand(channels).tolist(),
            image_std=prepare.std.flatten().expand(channels).tolist(),
        )
        processor.save_pretrained(folder)
        write_json(folder / RESIZING, {key: getattr(prepare, key) for key in KEYS})

    def load(self, folder: Path) -> None:
        if (folder / RESIZING).exists():
            vars(self.preprocess).update(read_json(folder / RESIZING))
        weights = load(AutoModelForImageClassification, str(folder)).state_dict()
        for name in _grey_convolutions(self.model):
            if weights[name].shape[1] == len(GREY):
                red, green, blue = weights[name].split(1, 1)
                weights[name] = (red + green) + blue  # in this order the sum is exact
        self.model.load_state_dict(weights)


def _save_for_colours(model: Any, folder: Path) -> None:
    """Save a model for colour images; one for grey images gives a grey image the same logits."""
    weights = model.state_dict()
    grey = _grey_convolutions(model)
    for name in grey:
        red = GREY[0] * weights[name]
        green = GREY[1] * weights[name]
        weights[name] = torch.cat([red, green, weights[name] - (red + green)], 1)
    save(model, folder, state_dict=weights)
    if grey:
        config = deepcopy(model.config)
        config.num_channels = len(GREY)
        config.save_pretrained(folder)


def _grey_convolutions(model: nn.Module) -> list[str]:
    reading = (name for name, part in model.named_modules() if isinstance(part, nn.Conv2d) and part.in_channels == 1)
    return [f"{name}.weight" for name in reading]


def fresh_classifier(task: Task, architecture: str, sizes: Mapping[str, Any]) -> Classifier:
    """A fresh classifier for the task's images."""
    channels = task.sample_shape[0]
    size = sizes.get("image_size", task.sample_shape[-1])
    own = {"image_size": size, "num_channels": channels} | class_names(task)

    def wrap(model: Any) -> Classifier:
        prepare = Preprocess(image_size(model.config) or size, [0.5] * channels, [0.5] * channels)
        return freeze_unused(Classifier(model, prepare), task.sample_shape)

    return fresh_network(AutoModelForImageClassification, ARCHITECTURES, architecture, sizes, own, wrap)


def pretrained_classifier(model: str, sample_shape: tuple[int, ...], labels: dict[str, Any]) -> Classifier:
    """Load a classifier; `labels` {} keeps its classes, others may get a fresh last layer."""
    loaded = load(AutoModelForImageClassification, model, fresh=is_of_head if labels else None, **labels)
    if labels and hasattr(loaded.config, "label_names"):  # timm's names of the classes
        loaded.config.label_names = list(labels["id2label"].values())
    return wrapped_classifier(loaded, sample_shape)


def load_encoder(model: str) -> Any:
    """A frozen model of transformers, or timm, from a folder or the hub."""
    return load(AutoModel, model, fresh=lambda _, name: name.startswith(POOLER)).eval().requires_grad_(False)


def wrapped_classifier(model: Any, sample_shape: tuple[int, ...]) -> Classifier:
    """Wrap a loaded classifier with its own preprocessing."""
    return Classifier(model, preprocess_of(model, side=sample_shape[-1]))
