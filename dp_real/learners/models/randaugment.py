"""RandAugment (Cubuk et al. 2020), as the library kornia has it."""

import torch
from jaxtyping import Float
from torch import Tensor

from dp_base.errors import InputError, MissingError
from dp_base.extras import install_command
from dp_real.runtime.seeds import seeded


class RandAugment:
    """Applies operations of kornia, chosen at random for each call, to all images of the call.

    Each image has signs of its own. The magnitude is between 0 and 30: kornia's scale, and the paper's. Raises
    MissingError if kornia is not installed.
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
        """Change images in [-1, 1] of 1 or 3 channels. The result is a function of the images and of `draw`.

        Operations take colours, so grey images are changed as colours. Raises InputError for another shape.
        """
        if x.dim() != 4 or x.shape[1] not in (1, 3):
            raise InputError(f"training.randaugment takes images [1 or 3, H, W]; these are {tuple(x.shape[1:])}")
        pixels = (x.expand(-1, 3, -1, -1) + 1) / 2
        with seeded(draw):
            changed = self.operations(pixels) * 2 - 1
        return changed[:, : x.shape[1]]
