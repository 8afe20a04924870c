"""Augments the rows of a training step (paper App. D)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from dp_base.errors import MissingError
from dp_base.imports import install_command
from dp_real.data.examples import Task
from dp_real.learners.section import TrainingConfig
from dp_real.runtime.pixels import fit
from dp_real.runtime.seeds import Stream, rng, seeded, torch_rng


class Augmentation:
    """Crops, flips, changes and mixes rows, as the section [training] says."""

    def __init__(self, task: Task, config: TrainingConfig, seed: int) -> None:
        self.task = task
        self.config = config
        self.seed = seed
        self.randaugment = RandAugment(config.randaugment, config.randaugment_magnitude) if config.randaugment else None

    def __call__(
        self, x: Shaped[Tensor, "batch *stored"], y: Shaped[Tensor, "batch *classes"], step: int, rank: int
    ) -> tuple[Shaped[Tensor, "batch *sample"], Shaped[Tensor, "batch *targets"]]:
        """x may be larger than the module's images; y are labels or probabilities. Mixed rows get probabilities."""
        config = self.config
        if config.crop or config.flip:
            draw, size = rng(self.seed, Stream.CROP, step, rank), self.task.sample_shape[1:]
            x = crop_and_flip(x, draw, least_area=config.crop, flip=config.flip, size=size)
        x = fit(x, self.task.sample_shape)
        if self.randaugment:
            x = self.randaugment(x, torch_rng(self.seed, Stream.RANDAUGMENT, step, rank))
        if config.mixup or config.cutmix:
            if y.dim() == 1:
                y = F.one_hot(y, self.task.n_classes).float()
            x, y = mix(x, y, rng(self.seed, Stream.MIX, step, rank), mixup=config.mixup, cutmix=config.cutmix)
        return x, y


class RandAugment:
    """RandAugment (Cubuk et al. 2020) by kornia: all images of a call share operations, not signs.

    The magnitude is between 0 and 30: kornia's scale, and the paper's.
    """

    def __init__(self, operations: int, magnitude: int) -> None:
        try:
            from kornia.augmentation.auto import RandAugment as KorniaRandAugment
        except ImportError as error:
            raise MissingError(
                f"training.randaugment needs kornia: {install_command('augment')}, or set it to 0"
            ) from error
        self.operations = KorniaRandAugment(n=operations, m=magnitude)

    @torch.no_grad()
    def __call__(
        self, x: Float[Tensor, "batch *sample"], draw: torch.Generator
    ) -> Float[Tensor, "batch channels height width"]:
        """Augment images; grey ones become colour images."""
        pixels = (x.expand(-1, 3, -1, -1) + 1) / 2
        with seeded(draw):
            changed = self.operations(pixels) * 2 - 1
        return changed[:, : x.shape[1]]


def crop_and_flip(
    x: Float[Tensor, "batch *sample"],
    rng: np.random.Generator,
    *,
    least_area: float,
    flip: bool,
    size: Sequence[int] | None = None,
) -> Float[Tensor, "batch channels new_height new_width"]:
    """Resize a random window of each image, and mirror it with probability 1/2 (Szegedy et al. 2015).

    The window's area is uniform on [least_area, 1], its aspect ratio log-uniform on [3/4, 4/3];
    then a side beyond the image's is cut to it. least_area = 0: whole images.
    """
    n, (height, width) = len(x), x.shape[2:]
    area = ratio = np.ones(n)
    if least_area:
        area, ratio = rng.uniform(least_area, 1, n), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), n))
    # Windows in the coordinates of F.affine_grid, from -1 to 1.
    wide = np.minimum(np.sqrt(area * ratio), 1)
    high = np.minimum(np.sqrt(area / ratio), 1)
    mirrored = flip & (rng.random(n) < 0.5)
    centre_x = rng.uniform(-1, 1, n) * (1 - wide)
    centre_y = rng.uniform(-1, 1, n) * (1 - high)
    if size is not None and [height, width] != [*size]:
        windows = zip(x.split(1), _pixels(centre_y, high, height), _pixels(centre_x, wide, width), strict=True)
        cut = [fit(image[:, :, rows, columns], (image.shape[1], *size)) for image, rows, columns in windows]
        images = torch.cat(cut)
        return torch.where(_on(x.device, mirrored).view(-1, 1, 1, 1), images.flip(3), images)
    affine = np.zeros((n, 2, 3), np.float32)  # from the window's coordinates to the image's
    affine[:, 0, 0] = wide * np.where(mirrored, -1, 1)
    affine[:, 1, 1] = high
    affine[:, 0, 2] = centre_x
    affine[:, 1, 2] = centre_y
    grid = F.affine_grid(_on(x.device, affine), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _pixels(centre: np.ndarray, length: np.ndarray, size: int) -> list[slice]:
    """Windows of at least one pixel."""
    begin = np.rint((centre + 1 - length) / 2 * size).astype(int)
    end = np.rint((centre + 1 + length) / 2 * size).astype(int)
    return [slice(min(first, size - 1), max(last, first + 1)) for first, last in zip(begin, end, strict=True)]


def mix(
    x: Float[Tensor, "batch *sample"],
    y: Float[Tensor, "batch classes"],
    rng: np.random.Generator,
    *,
    mixup: float,
    cutmix: float,
) -> tuple[Float[Tensor, "batch *sample"], Float[Tensor, "batch classes"]]:
    """Blend each row with another, by Mixup (Zhang et al. 2018), CutMix (Yun et al. 2019), or either at random.

    `mixup` and `cutmix` are the a of Beta(a, a); 0: never. Under CutMix a label's weight is the area really kept.
    """
    n = len(x)
    partner = _on(x.device, rng.permutation(n))
    is_cut = rng.random(n) < (0.5 if mixup and cutmix else float(cutmix > 0))
    cut_weight, mix_weight = (rng.beta(a or 1, a or 1, n) for a in (cutmix, mixup))
    weight = np.where(is_cut, cut_weight, mix_weight)
    # the row's own share of each pixel
    own_share = _on(x.device, weight.astype(np.float32)).view(n, *[1] * (x.dim() - 1))
    if is_cut.any():
        rows, columns = (_on(x.device, _outside(size, np.sqrt(1 - weight), rng.random(n))) for size in x.shape[2:])
        is_outside = rows[:, None, :, None] | columns[:, None, None, :]
        own_share = torch.where(_on(x.device, is_cut).view_as(own_share), is_outside.float(), own_share)
    share = own_share.flatten(1).mean(1, keepdim=True)
    return own_share * x + (1 - own_share) * x[partner], share * y + (1 - share) * y[partner]


def _outside(size: int, length: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Positions outside each row's window, bool [B, size]."""
    position = (np.arange(size) + 0.5) / size
    return np.abs(position - centre[:, None]) > length[:, None] / 2


def _on(device: torch.device, values: np.ndarray) -> Tensor:
    """Copy values to a device without waiting for its pending work."""
    return torch.from_numpy(values).to(device, non_blocking=True)
