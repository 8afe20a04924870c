"""RandAugment (Cubuk et al. 2020), as kornia has it."""

import torch
from torch import Tensor

from dp_base.errors import InputError, MissingError
from dp_base.extras import install_command
from dp_real.runtime.seeds import seeded

STRONGEST = 30  # kornia's scale of magnitudes, and the paper's


class RandAugment:
    """Applies `operations` of kornia's, chosen at random for each call, to all images of the call.

    Each image has signs of its own. magnitude: of STRONGEST. Raises MissingError without kornia.
    """

    def __init__(self, operations: int, magnitude: int) -> None:
        try:
            from kornia.augmentation.auto import RandAugment as OfKornia
        except ImportError as error:
            raise MissingError(
                f"training.randaugment needs kornia: {install_command('augment')}, or set it to 0"
            ) from error
        self.operations = OfKornia(n=operations, m=magnitude)

    @torch.no_grad()
    def __call__(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Images [B, C, H, W] in [-1, 1], changed: a function of x and `draw`. C is 1 or 3, as operations take colours.

        Raises InputError for another shape.
        """
        if x.dim() != 4 or x.shape[1] not in (1, 3):
            raise InputError(f"training.randaugment takes images [1 or 3, H, W]; these are {tuple(x.shape[1:])}")
        with seeded(draw):
            changed = self.operations((x.expand(-1, 3, -1, -1) + 1) / 2) * 2 - 1
        return changed[:, : x.shape[1]]
