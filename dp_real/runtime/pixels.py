"""Images as numbers: float32 in [-1, 1] to compute with, uint8 in 0 .. 255 to store, and JPEG to store many."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dp_real.runtime.distributed import own_cores

GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue (ITU-R 601-2), as in Pillow
JPEG_QUALITY = 95  # of JPEG files, from 1 to 100


def to_bytes(x: Tensor) -> Tensor:
    """float32 in [-1, 1] to uint8: round(127.5 (x + 1)), clipped to 0 .. 255."""
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]. Floats and wider integers, which are codes, do not change."""
    return pixels / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels


def to_image(pixels: Tensor) -> Image.Image:
    """uint8 [C, H, W], with C = 1 or 3, to a Pillow image."""
    is_grey = len(pixels) == 1
    return Image.fromarray(pixels[0].numpy() if is_grey else pixels.permute(1, 2, 0).contiguous().numpy())


def fit(images: Tensor, shape: Sequence[int], mode: str = "bilinear") -> Tensor:
    """Resize images to shape [C, H, W]; colour images become grey if C is 1. Other examples do not change."""
    if images.dim() != 4:
        return images
    channels, *size = shape
    if channels == 1 and images.shape[1] == len(GREY):
        images = (images * images.new_tensor(GREY).view(-1, 1, 1)).sum(1, keepdim=True)
    if list(images.shape[2:]) != size:
        images = F.interpolate(images, size, mode=mode, antialias=True)
    return images


def encode(pixels: Tensor) -> list[bytes]:
    """Each image of uint8 [B, C, H, W], C = 1 or 3, as JPEG with colours at full resolution."""

    def encode_one(image: Tensor) -> bytes:
        with io.BytesIO() as buffer:
            to_image(image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
            return buffer.getvalue()

    with ThreadPoolExecutor(own_cores()) as threads:  # encoding releases Python's lock
        return list(threads.map(encode_one, pixels))


def decode(files: Sequence[bytes], shape: Sequence[int]) -> Tensor:
    """Images as uint8 [B, C, H, W] with shape = [C, H, W]; in memory, channels are last."""
    channels, height, width = shape
    pixels = torch.empty(len(files), height, width, channels, dtype=torch.uint8)

    def decode_one(row: Tensor, file: bytes) -> None:
        decoded = np.array(Image.open(io.BytesIO(file), formats=["JPEG"]))
        row.copy_(torch.from_numpy(decoded).view(row.shape))

    with ThreadPoolExecutor(own_cores()) as threads:  # decoding releases Python's lock
        list(threads.map(decode_one, pixels, files))
    return pixels.permute(0, 3, 1, 2)
