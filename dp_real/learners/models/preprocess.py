"""Prepares images by a classifier's processor (transformers), pretrained_cfg (timm) or transforms (torchvision)."""

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoImageProcessor

from dp_base.errors import InputError, MissingError, warn_once
from dp_real.runtime.hub import reading
from dp_real.runtime.pixels import fit

PROBE_SIZE = (64, 64)  # side of the images that probe a processor's normalisation and size
RAMP = (512, 1463)  # sides of those that probe how it resizes, in a ratio that no processor has
BICUBIC = {1, 3, "lanczos", "bicubic"}  # Pillow's and timm's filters that are not bilinear
PROCESSORS = ("image_mean", "data_config", "resize_size")  # attributes of transformers', timm's and torchvision's


class Preprocess(nn.Module):
    """Resizes images in [-1, 1] to `size` (height, width), and normalises pixels in [0, 1] by `mean` and `std`.

    With `resized`, the shorter side of images of another size becomes that many pixels, or both sides these, and the
    middle is cropped. Unless `enlarges`, smaller images keep their size.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        size: int | Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        resized: int | tuple[int, int] | None = None,
        mode: str = "bilinear",
        enlarges: bool = True,
    ) -> None:
        super().__init__()
        self.size: tuple[int, ...] = (size, size) if isinstance(size, int) else tuple(size)
        self.resized, self.mode, self.enlarges = resized, mode, enlarges
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch colours rows columns"]:
        channels = len(self.mean)
        coloured = x.expand(-1, max(x.shape[1], channels), -1, -1)
        resized = fit(coloured, (channels, *self.sides(*x.shape[2:])), self.mode)
        top, left = (max(0, (side - crop) // 2) for side, crop in zip(resized.shape[2:], self.size, strict=True))
        pixels = (resized[..., top : top + self.size[0], left : left + self.size[1]] + 1) / 2
        return (pixels - self.mean.to(x.device)) / self.std.to(x.device)  # they may not have moved with the model

    def sides(self, height: int, width: int) -> tuple[int, ...]:
        """The sides to which images of this size are resized."""
        if not self.enlarges and height <= self.size[0] and width <= self.size[1]:
            return height, width
        if self.resized is None or (height, width) == self.size:
            return self.size
        if not isinstance(self.resized, int):
            return (*self.resized,)
        least = min(height, width)
        return height * self.resized // least, width * self.resized // least


def is_processor(thing: Any) -> bool:
    """Whether it prepares pictures, not images in [-1, 1]; `preprocess_of` refuses those that it cannot read."""
    described = getattr(thing, "image_processor", thing)
    if any(hasattr(described, name) for name in PROCESSORS) or type(thing).__name__.endswith(("ToTensor", "ToImage")):
        return True
    return any(map(is_processor, getattr(thing, "transforms", ())))


def preprocess_of(model: nn.Module, processor: Any = None, side: int = 224) -> nn.Module:
    """A differentiable function of images [batch, channels, height, width] in [-1, 1] to `model`'s input.

    Parameters
    ----------
    model
        A classifier of transformers with its saved processor, or of timm with its pretrained_cfg. Any other module gets
        the images unchanged, with one warning.
    processor
        The image processor of transformers, or torchvision's `weights.transforms()`, to use instead.
    side
        The side of images if neither the processor nor the model gives it.

    Raises
    ------
    InputError
        If a model of transformers was not loaded and has no processor, or if a processor does not normalise images
        channel by channel.
    MissingError
        If the processor is missing.
    """
    if hasattr(processor, "resize_size"):  # torchvision's
        mode = _mode(processor.interpolation.value)
        return Preprocess(processor.crop_size * 2, processor.mean, processor.std, processor.resize_size[0], mode)
    config = getattr(model, "config", None)
    timm = getattr(processor, "data_config", None)
    if processor is None:
        timm = getattr(model, "pretrained_cfg", None) or getattr(config, "pretrained_cfg", None)
    if timm:
        own_size = (getattr(config, "model_args", None) or {}).get("img_size")
        own_size = own_size or getattr(getattr(model, "patch_embed", None), "img_size", None)
        is_whole = processor is not None or config is not None  # both prepare pictures
        return _as_timm(timm, own_size, is_whole or timm.get("fixed_input_size", False))
    name = getattr(model, "name_or_path", None)
    if processor is None and name is None:
        if not hasattr(model, "preprocess"):
            kind = type(model).__name__
            warn_once(
                f"{kind}: how its images are normalised is unknown; it gets them unchanged, in [-1, 1]. For others "
                "give processor= to guide, preprocess= to Practice"
            )
        return nn.Identity()
    if processor is None and not name:
        raise InputError(
            f"{type(model).__name__}: how its images are normalised is unknown: give its processor= to guide; "
            "preprocess= to Practice, perhaps a function of images in [-1, 1]"
        )
    return _as_processor(name or type(model).__name__, processor, image_size(config) or side)


def image_size(config: Any) -> int | None:
    """A transformers model's image size; CLIP's and SigLIP's is in their vision part."""
    return getattr(getattr(config, "vision_config", config), "image_size", None)


def _as_timm(config: Mapping[str, Any], own_size: Any, enlarges: bool) -> Preprocess:
    """Prepare images as timm's validation does. A network for any size may have been trained on smaller images."""
    size = own_size or config["input_size"][-2:]
    share = config.get("crop_pct") or 0.875
    shorter = None if config.get("crop_mode") == "squash" else floor(np.min(size) / share)
    mode = _mode(config.get("interpolation", "bicubic"))
    return Preprocess(size, config["mean"], config["std"], shorter, mode, enlarges)


def _as_processor(model: str, processor: Any, side: int) -> Preprocess:
    processor = processor or _read(model, side)
    processor = getattr(processor, "image_processor", processor)
    if not hasattr(processor, "image_mean"):
        raise InputError(
            f"processor = {processor!r}: should be a processor of transformers or "
            "weights.transforms(); preprocess= of Practice may be a function of images in [-1, 1]"
        )
    mean, std, (height, width) = _probe(model, processor)
    if not getattr(processor, "do_resize", False):
        return Preprocess(side, mean, std)
    return Preprocess((height, width), mean, std, _resized(processor, mean[0], std[0]), _mode(processor.resample))


def _mode(resample: Any) -> str:
    return "bicubic" if resample in BICUBIC else "bilinear"


def _read(model: str, side: int) -> Any:
    try:
        with reading(model, "image processor") as is_local:
            return AutoImageProcessor.from_pretrained(model, local_files_only=is_local, trust_remote_code=False)
    except MissingError as error:
        raise MissingError(
            f"{model}: no preprocessor_config.json could be read, which says how its images are normalised; put "
            'one there: {"image_processor_type": "ViTImageProcessor", "image_mean": [R, G, B], "image_std": '
            f'[R, G, B], "size": {{"height": {side}, "width": {side}}}}}'
        ) from error


def _probe(model: str, processor: Any) -> tuple[list[float], list[float], tuple[int, int]]:
    """Each channel's mean and deviation in [0, 1], and the size, by processing black and white images."""
    is_grey = np.size(processor.image_mean) == 1
    probes = [[0], [255], [255]] if is_grey else [[0, 0, 0], [255, 255, 255], [255, 0, 0]]
    pixels = _processed(processor, [np.tile(np.array(probe, np.uint8), (*PROBE_SIZE, 1)) for probe in probes])
    if pixels.ndim != 4:
        raise InputError(f"{model}: its image processor gives {list(pixels.shape)}: should be images [B, C, H, W]")
    black, white, red = pixels[:, :, pixels.shape[2] // 2, pixels.shape[3] // 2]
    if not np.allclose(red, [white[0], *black[1:]], atol=1e-6):
        raise InputError(f"{model}: its image processor orders channels differently from red, green, blue")
    if not np.isfinite(pixels).all() or not (white != black).all():
        raise InputError(f"{model}: its image processor gives no usable numbers: see its image_mean and image_std")
    std = 1 / (white - black)
    return (-black * std).tolist(), std.tolist(), pixels.shape[2:]


def _processed(processor: Any, images: list[np.ndarray]) -> np.ndarray:
    is_grey = images[0].shape[2] == 1
    own = {"input_data_format": "channels_last"} if is_grey else {}  # with one channel the axes would be ambiguous
    with np.errstate(all="ignore"):
        return np.asarray(processor(images=images, return_tensors="np", **own)["pixel_values"], np.float64)


def _resized(processor: Any, mean: float, std: float) -> int | tuple[int, int]:
    """The shorter side, or both, to which it resizes before it crops: by the slopes of ramps."""
    rows, columns = np.indices(RAMP) / np.reshape(RAMP, (2, 1, 1))
    noise = np.random.default_rng(0).random(RAMP)  # it and the slope across keep rounding from bending the lines
    ramps = [250 * rows + 5 * columns + noise, 250 * columns + 5 * rows + noise]
    images = [np.tile(ramp[..., None].astype(np.uint8), np.size(processor.image_mean)) for ramp in ramps]
    pixels = _processed(processor, images)
    sides = []
    for axis, values in enumerate(pixels[:, 0] * std + mean):
        line = values.mean(1 - axis)
        inner = slice(edge := len(line) // 8, len(line) - edge)  # filters bend at the image's edges
        sides.append(round(250 / 255 / np.polyfit(np.arange(len(line))[inner], line[inner], 1)[0]))
    height, width = sides
    is_uniform = abs(width - height * RAMP[1] / RAMP[0]) < 2
    return height if is_uniform else (height, width)
