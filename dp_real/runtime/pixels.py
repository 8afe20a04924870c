"""Images as numbers: float32 in [-1, 1] to compute with, bytes 0 .. 255 to keep, JPEG to keep many."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dp_real.runtime.processes import own_cores


def to_bytes(x: Tensor) -> Tensor:
    """uint8, round(127.5 (x + 1)); what lies outside [-1, 1] is clipped."""
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_float(pixels: Tensor) -> Tensor:
    """float32 in [-1, 1] of bytes; floats stay as they are."""
    return pixels if pixels.is_floating_point() else pixels / 127.5 - 1


def to_image(pixels: Tensor) -> Image.Image:
    """A picture of uint8 [C, H, W], C = 1 or 3."""
    return Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy())


def fit(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Images as a learner takes them, [B, *shape]: grey if it takes one channel, resized to its height and width."""
    channels, *size = shape
    if channels == 1:
        images = images.mean(1, keepdim=True)
    if list(images.shape[2:]) != size:
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    return images


def encode(pixels: Tensor, quality: int) -> list[bytes]:
    """A JPEG, colours at full resolution, of each image of uint8 [B, C, H, W], C = 1 or 3."""

    def encoded(image: Tensor) -> bytes:
        with io.BytesIO() as buffer:
            to_image(image).save(buffer, "JPEG", quality=quality, subsampling=0)
            return buffer.getvalue()

    with ThreadPoolExecutor(own_cores()) as threads:  # encoding releases the interpreter's lock
        return list(threads.map(encoded, pixels))


def decode(files: Sequence[bytes], shape: Sequence[int]) -> Tensor:
    """uint8 [B, *shape] of encoded images [C, H, W]."""
    pixels = torch.empty(len(files), shape[1], shape[2], shape[0], dtype=torch.uint8)
    for row, file in zip(pixels, files, strict=True):
        row.copy_(torch.from_numpy(np.array(Image.open(io.BytesIO(file)))).view(row.shape))
    return pixels.permute(0, 3, 1, 2)
