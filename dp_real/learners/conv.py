"""A small convolutional classifier."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dp_base.errors import InputError
from dp_real.learners import LEARNERS, LearnerConfig
from dp_real.sections import Width

if TYPE_CHECKING:
    from torch import nn

    from dp_real.examples import Task


@LEARNERS.named("conv", place=2)
class ConvConfig(LearnerConfig):
    """A small convolutional classifier: a 3 x 3 convolution, 2 x 2 pooling and ReLU per width, then a hidden layer."""

    kind: Literal["conv"]
    widths: tuple[Width, ...] = Field(default=(32, 64), max_length=100, description="of the convolutions")
    hidden: Width = Field(default=128, description="width of the hidden layer")

    def network(self, task: Task) -> nn.Module:
        """See LearnerConfig. Raises InputError for samples that are not images [C, H, W], or too small ones."""
        from torch import nn

        shape = task.sample_shape
        if len(shape) != 3:
            raise InputError(f"learner.kind = 'conv' takes images [C, H, W]; these samples have shape {list(shape)}")
        widths = [shape[0], *self.widths]
        halved = [side // 2 ** len(self.widths) for side in shape[1:]]
        if min(halved) < 1:
            pixels = f"{shape[1]} x {shape[2]} pixels"
            raise InputError(f"learner.widths = {list(self.widths)}: each halves the image of {pixels}: name fewer")
        stages = [  # the largest value's ReLU is the largest ReLU, with a quarter of the work
            nn.Sequential(nn.Conv2d(*pair, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()) for pair in pairwise(widths)
        ]
        hidden = [nn.Flatten(), nn.Linear(widths[-1] * halved[0] * halved[1], self.hidden), nn.ReLU()]
        return nn.Sequential(*stages, *hidden, nn.Linear(self.hidden, task.n_classes))
