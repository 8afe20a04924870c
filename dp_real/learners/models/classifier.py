"""Image classifiers of transformers."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModelForImageClassification, CLIPImageProcessorPil
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as ARCHITECTURES,
)

from dp_base.errors import InputError, MissingError
from dp_real.examples import Task
from dp_real.learners.models.architectures import class_names, freeze_unused, fresh_network
from dp_real.runtime.hub import load, reading
from dp_real.runtime.pixels import GREY, fit

PROBE_SIZE = (64, 64)  # pixels of the images from which a processor's normalisation is found


class Classifier(nn.Module):
    """Resizes images in [-1, 1] to `size`, normalises pixels in [0, 1] by `mean` and `std`, and gives logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.size = size
        device = next(model.parameters(), torch.empty(0)).device
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1).to(device), persistent=False)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        channels = len(self.mean)
        coloured = x.expand(-1, max(x.shape[1], channels), -1, -1)
        pixels = (fit(coloured, (channels, self.size, self.size)) + 1) / 2
        mean, std = self.mean.to(x.device), self.std.to(x.device)  # which a model that is moved leaves behind
        normalised = (pixels - mean) / std
        return self.model(pixel_values=normalised.to(self.model.dtype)).logits

    def save(self, folder: Path, task: Task) -> None:
        """As AutoModelForImageClassification and AutoImageProcessor read them, which prepares images as validated."""
        side = task.sample_shape[-1]
        resize = task.resize or side
        _save_for_colours(self.model, folder)
        channels = len(GREY) if _grey_convolutions(self.model) else len(self.mean)
        processor = CLIPImageProcessorPil(  # this one resizes the shorter side and crops the longer one
            do_convert_rgb=channels == len(GREY),
            size={"shortest_edge": round(self.size * resize / side)},
            crop_size={"height": self.size, "width": self.size},
            image_mean=self.mean.flatten().expand(channels).tolist(),
            image_std=self.std.flatten().expand(channels).tolist(),
        )
        processor.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        weights = load(AutoModelForImageClassification, str(folder)).state_dict()
        for name in _grey_convolutions(self.model):
            if weights[name].shape[1] == len(GREY):
                red, green, blue = weights[name].split(1, 1)
                weights[name] = (red + green) + blue  # in this order it is exactly what was spread
        self.model.load_state_dict(weights)


def _save_for_colours(model: Any, folder: Path) -> None:
    """Save a model to take colours; one for grey images keeps the grey image's logits."""
    weights = model.state_dict()
    grey = _grey_convolutions(model)
    for name in grey:
        red = GREY[0] * weights[name]
        green = GREY[1] * weights[name]
        weights[name] = torch.cat([red, green, weights[name] - (red + green)], 1)
    model.save_pretrained(folder, state_dict=weights)
    if grey:
        config = deepcopy(model.config)
        config.num_channels = len(GREY)
        config.save_pretrained(folder)


def _grey_convolutions(model: nn.Module) -> list[str]:
    reading = (name for name, part in model.named_modules() if isinstance(part, nn.Conv2d) and part.in_channels == 1)
    return [f"{name}.weight" for name in reading]


def fresh_classifier(task: Task, architecture: str, sizes: Mapping[str, Any]) -> Classifier:
    """For images of the task's shape."""
    channels = task.sample_shape[0]
    size = sizes.get("image_size", task.sample_shape[-1])
    own = {"image_size": size, "num_channels": channels} | class_names(task)

    def wrap(model: Any) -> Classifier:
        return freeze_unused(Classifier(model, size, [0.5] * channels, [0.5] * channels), task.sample_shape)

    return fresh_network(AutoModelForImageClassification, ARCHITECTURES, architecture, sizes, own, wrap)


def known_classifier(model: str, sample_shape: tuple[int, ...], labels: dict[str, Any]) -> Classifier:
    """Load a classifier; `labels` {} keeps its classes, another number gets a fresh last layer."""
    loaded = load(AutoModelForImageClassification, model, ignore_mismatched_sizes=True, **labels)
    if labels and hasattr(loaded.config, "label_names"):  # where timm's have theirs
        loaded.config.label_names = list(labels["id2label"].values())
    return wrapped_classifier(loaded, sample_shape)


def wrapped_classifier(model: Any, sample_shape: tuple[int, ...], processor: Any = None) -> Classifier:
    """Wrap a loaded classifier, by default with its own processor; timm's is in its config."""
    config = model.config
    timm = getattr(config, "pretrained_cfg", None)
    if timm:
        size = (config.model_args or {}).get("img_size", timm["input_size"][-1])
    else:
        size = getattr(config, "image_size", None) or sample_shape[-1]
    if processor is None and timm:
        mean, std = timm["mean"], timm["std"]
    elif processor is None and not model.name_or_path:
        raise InputError(f"{type(model).__name__}: how its images are normalised is not known: give its processor=")
    else:
        mean, std = normalisation(model.name_or_path or type(model).__name__, processor)
    return Classifier(model, size, mean, std)


def normalisation(model: str, processor: Any = None) -> tuple[Sequence[float], Sequence[float]]:
    """Each channel's mean and deviation in [0, 1], from black and white images through the model's processor."""
    if processor is None:
        is_local = Path(model).is_dir()
        try:
            with reading(model, "image processor"):
                processor = AutoImageProcessor.from_pretrained(
                    model, local_files_only=is_local, trust_remote_code=False
                )
        except MissingError as error:
            raise MissingError(
                f"{model}: no preprocessor_config.json could be read, which says how its images are normalised; put "
                'one there: {"image_processor_type": "ViTImageProcessor", "image_mean": [R, G, B], "image_std": '
                "[R, G, B]}"
            ) from error
    if timm := getattr(processor, "data_config", None):
        return timm["mean"], timm["std"]
    is_grey = np.size(processor.image_mean) == 1
    probes = [[0], [255], [255]] if is_grey else [[0, 0, 0], [255, 255, 255], [255, 0, 0]]
    images = [np.tile(np.array(probe, np.uint8), (*PROBE_SIZE, 1)) for probe in probes]
    own = {"input_data_format": "channels_last"} if is_grey else {}  # one channel alone would not tell which axis it is
    with np.errstate(all="ignore"):
        pixels = np.asarray(processor(images=images, return_tensors="np", **own)["pixel_values"], np.float64)
    black, white, red = pixels[:, :, pixels.shape[2] // 2, pixels.shape[3] // 2]
    if not np.allclose(red, [white[0], *black[1:]], atol=1e-6):
        raise InputError(f"{model}: its image processor takes channels in another order than red, green, blue")
    if not np.isfinite(pixels).all() or not (white != black).all():
        raise InputError(f"{model}: its image processor gives no usable numbers: see its image_mean and image_std")
    std = 1 / (white - black)
    return (-black * std).tolist(), std.tolist()
