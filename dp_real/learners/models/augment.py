"""Augmentation of batches, row by row: crops and flips, Mixup and CutMix (paper App. D)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dp_base.errors import InputError


def crop_and_flip(
    x: Tensor, rng: np.random.Generator, *, least_area: float, flip: bool, size: Sequence[int] | None = None
) -> Tensor:
    """Resize a random window of each image [B, C, H, W] to `size` (Szegedy et al. 2015), mirrored with probability 1/2.

    The window's share of the area is uniform on [least_area, 1]. Its aspect ratio is log-uniform on [3/4, 4/3]; a side
    that would leave the image is cut off. least_area 0 takes whole images. size: [h, w]; none: H x W, to which windows
    are only enlarged, so that interpolation is bilinear. From larger images, windows of whole pixels are also shrunk,
    without aliasing. Raises InputError for x of another shape.
    """
    if x.dim() != 4:
        raise InputError(f"training.crop and training.flip take images [B, C, H, W]; these are {tuple(x.shape[1:])}")
    n = len(x)
    area = rng.uniform(least_area, 1, n) if least_area else np.ones(n)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), n)) if least_area else np.ones(n)
    wide, high = np.minimum(np.sqrt(area * ratio), 1), np.minimum(np.sqrt(area / ratio), 1)
    mirrored = flip & (rng.random(n) < 0.5)
    across, down = rng.uniform(-1, 1, n) * (1 - wide), rng.uniform(-1, 1, n) * (1 - high)  # centres, in [-1, 1]
    if size is not None and list(x.shape[2:]) != [*size]:
        columns, rows = _pixels(across, wide, x.shape[3]), _pixels(down, high, x.shape[2])
        windows = (image[:, :, row, column] for image, row, column in zip(x.split(1), rows, columns, strict=True))
        resized = torch.cat([F.interpolate(each, size, mode="bilinear", antialias=True) for each in windows])
        return torch.where(_on(x.device, mirrored).view(n, 1, 1, 1), resized.flip(3), resized)
    affine = np.zeros((n, 2, 3), np.float32)  # from the window's coordinates in [-1, 1] to the image's
    affine[:, 0, 0] = wide * np.where(mirrored, -1, 1)
    affine[:, 1, 1] = high
    affine[:, 0, 2], affine[:, 1, 2] = across, down
    grid = F.affine_grid(_on(x.device, affine), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def mix(x: Tensor, y: Tensor, rng: np.random.Generator, *, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019): blend each row of a batch with another.

    x: [B, C, H, W], any [B, ...] for Mixup; y: class probabilities [B, K].
    mixup, cutmix: the parameter a of the weight's Beta(a, a), 0 for none; with both, each row gets one at random.
    Under CutMix the label's weight is the area that is really kept: more than drawn if the window crosses the border.
    Raises InputError for CutMix of what are not images.
    """
    if cutmix and x.dim() != 4:
        raise InputError(
            f"training.cutmix cuts images [B, C, H, W]; these examples are {tuple(x.shape[1:])}: set it to 0"
        )
    n, partner = len(x), _on(x.device, rng.permutation(len(x)))
    is_cut = rng.random(n) < (0.5 if mixup and cutmix else float(cutmix > 0))
    weight = np.where(is_cut, rng.beta(cutmix or 1, cutmix or 1, n), rng.beta(mixup or 1, mixup or 1, n))
    kept = _on(x.device, weight.astype(np.float32)).view(n, 1, 1)
    if is_cut.any():
        rows, columns = (_on(x.device, _outside(size, np.sqrt(1 - weight), rng.random(n))) for size in x.shape[2:])
        cut = rows[:, :, None] | columns[:, None, :]
        kept = torch.where(_on(x.device, is_cut).view(n, 1, 1), cut.float(), kept)
    pixels = kept.unsqueeze(1) if x.dim() == 4 else kept.flatten(1).view(n, *[1] * (x.dim() - 1))
    share = kept.flatten(1).mean(1, keepdim=True)
    return pixels * x + (1 - pixels) * x[partner], share * y + (1 - share) * y[partner]


def _outside(size: int, length: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Bool [B, size]: which positions lie outside the window of relative `length` around `centre`."""
    position = (np.arange(size) + 0.5) / size
    return np.abs(position - centre[:, None]) > length[:, None] / 2


def _pixels(centre: np.ndarray, length: np.ndarray, size: int) -> list[slice]:
    """The window of each row, in pixels: at `centre` in [-1, 1], of relative `length`, and at least one pixel."""
    begin = np.rint((centre + 1 - length) / 2 * size).astype(int)
    end = np.rint((centre + 1 + length) / 2 * size).astype(int)
    return [slice(min(first, size - 1), max(last, first + 1)) for first, last in zip(begin, end, strict=True)]


def _on(device: torch.device, values: np.ndarray) -> Tensor:
    """Copy to a device without waiting for its pending work."""
    return torch.from_numpy(values).to(device, non_blocking=True)
