"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), row by row (paper App. D)."""

import numpy as np
import torch
from torch import Tensor

from dp_real.errors import InputError


def mix(x: Tensor, y: Tensor, rng: np.random.Generator, *, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Blend each row of a batch with another; x [B, C, H, W] (any [B, ...] for Mixup), y class probabilities [B, K].

    mixup, cutmix: parameters a of the weight's Beta(a, a), 0 for none; with both, each row is dealt one of them.
    The label's weight under CutMix is the area that was really kept, which the border may enlarge.
    """
    if cutmix and x.dim() != 4:
        raise InputError(
            f"training.cutmix cuts images [B, C, H, W]; these examples are {tuple(x.shape[1:])}: set it to 0"
        )
    n, partner = len(x), torch.from_numpy(rng.permutation(len(x))).to(x.device)
    is_cut = rng.random(n) < (0.5 if mixup and cutmix else float(cutmix > 0))
    weight = np.where(is_cut, rng.beta(cutmix or 1, cutmix or 1, n), rng.beta(mixup or 1, mixup or 1, n))
    keep = np.broadcast_to(weight[:, None, None], (n, *(x.shape[2:] if is_cut.any() else (1, 1)))).copy()
    if is_cut.any():
        outside = [_outside(size, np.sqrt(1 - weight), rng.random(n)) for size in x.shape[2:]]
        keep[is_cut] = np.maximum(outside[0][:, :, None], outside[1][:, None, :])[is_cut]
    kept = torch.from_numpy(keep.astype(np.float32)).to(x.device)
    pixels = kept.unsqueeze(1) if x.dim() == 4 else kept.flatten(1).view(n, *[1] * (x.dim() - 1))
    share = kept.flatten(1).mean(1, keepdim=True)
    return pixels * x + (1 - pixels) * x[partner], share * y + (1 - share) * y[partner]


def _outside(size: int, length: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """[B, size]: 0 within the window of relative length around the centre, 1 outside it."""
    position = (np.arange(size) + 0.5) / size
    return (np.abs(position - centre[:, None]) > length[:, None] / 2).astype(float)
