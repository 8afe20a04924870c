"""The size of a JPEG file, measured on images of noise that stand for photographs."""

from functools import cache

import numpy as np
import torch

from dp_real.runtime.pixels import encode

CONTRAST = 0.23  # standard deviation of a pixel, as a share of its range
COMMON = 0.9  # share of the variance that the three colours have in common
TRIED = 4  # images


@cache
def jpeg_bytes(shape: tuple[int, int, int]) -> float:
    """The mean bytes of an image [C, H, W] of the pool: about 71,000 for [3, 224, 224].

    The images have the spectrum of natural ones, whose amplitudes fall as 1 / frequency (Field 1987).
    """
    channels, height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf  # removes the mean
    noise = np.random.default_rng(0).standard_normal((TRIED, 1 + channels, height, width))
    planes = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(height, width))
    planes /= planes.std((-2, -1), keepdims=True)
    x = COMMON**0.5 * planes[:, :1] + (1 - COMMON) ** 0.5 * planes[:, 1:]
    pixels = (127.5 + 255 * CONTRAST * x).clip(0, 255).astype(np.uint8)
    return float(np.mean([len(file) for file in encode(torch.from_numpy(pixels))]))
