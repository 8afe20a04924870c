"""Images as numbers: float32 in [-1, 1] to compute with, uint8 in 0 .. 255 to store, JPEG to store many."""

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
    """Convert float32 in [-1, 1] to uint8: round(127.5 (x + 1)), clipped."""
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_float(pixels: Tensor) -> Tensor:
    """Convert uint8 to float32 in [-1, 1]. Floats are returned as they are, and so are texts (dp_real.text.codes)."""
    return pixels / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels


def to_image(pixels: Tensor) -> Image.Image:
    """Convert uint8 [C, H, W], C = 1 or 3, to a Pillow image."""
    return Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy())


GREY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R 601-2), as Pillow reads real images


def fit(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Convert images [B, C, h, w] to [B, *shape], shape = [C, H, W]: grey if C is 1, resized to H x W."""
    channels, *size = shape
    if channels == 1 and images.shape[1] == len(GREY):
        images = (images * images.new_tensor(GREY).view(-1, 1, 1)).sum(1, keepdim=True)
    if list(images.shape[2:]) != size:
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    return images


def encode(pixels: Tensor, quality: int) -> list[bytes]:
    """Encode each image of uint8 [B, C, H, W], C = 1 or 3, as JPEG, with colours at full resolution."""

    def encoded(image: Tensor) -> bytes:
        with io.BytesIO() as buffer:
            to_image(image).save(buffer, "JPEG", quality=quality, subsampling=0)
            return buffer.getvalue()

    with ThreadPoolExecutor(own_cores()) as threads:  # encoding releases the interpreter's lock
        return list(threads.map(encoded, pixels))


def decode(files: Sequence[bytes], shape: Sequence[int]) -> Tensor:
    """Decode images to uint8 [B, *shape], shape = [C, H, W]."""
    pixels = torch.empty(len(files), shape[1], shape[2], shape[0], dtype=torch.uint8)
    for row, file in zip(pixels, files, strict=True):
        row.copy_(torch.from_numpy(np.array(Image.open(io.BytesIO(file)))).view(row.shape))
    return pixels.permute(0, 3, 1, 2)
