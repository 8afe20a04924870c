"""The learner kinds `mlp` and `conv`."""

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


@LEARNERS.named("mlp", place=1)
class MLPConfig(LearnerConfig):
    """A multilayer perceptron on the flattened sample."""

    kind: Literal["mlp"]
    hidden: tuple[Width, ...] = Field(default=(64,), max_length=100, description="widths of the hidden layers")

    def network(self, task: Task) -> nn.Module:
        import torch
        from torch import nn

        widths = [torch.Size(task.sample_shape).numel(), *self.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], task.n_classes))


@LEARNERS.named("conv", place=2)
class ConvConfig(LearnerConfig):
    """A small convolutional classifier: a 3 x 3 convolution, 2 x 2 pooling and ReLU per width, then a hidden layer."""

    kind: Literal["conv"]
    widths: tuple[Width, ...] = Field(default=(32, 64), max_length=100, description="of the convolutions")
    hidden: Width = Field(default=128, description="width of the hidden layer")

    def network(self, task: Task) -> nn.Module:
        from torch import nn

        shape = task.sample_shape
        if len(shape) != 3:
            raise InputError(f"learner.kind = 'conv' takes images [C, H, W]; these samples have shape {list(shape)}")
        channels, height, width = shape
        reduction = 2 ** len(self.widths)  # of the sides, by the poolings
        if min(height, width) < reduction:
            pixels = f"{height} x {width} pixels"
            raise InputError(f"learner.widths = {list(self.widths)}: each halves the image of {pixels}: name fewer")
        widths = [channels, *self.widths]
        flat = widths[-1] * (height // reduction) * (width // reduction)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
            # ReLU after pooling gives the same result as before it, with a quarter of the work.
            layers.append(nn.Sequential(convolution, nn.MaxPool2d(2), nn.ReLU()))
        layers += [nn.Flatten(), nn.Linear(flat, self.hidden), nn.ReLU(), nn.Linear(self.hidden, task.n_classes)]
        return nn.Sequential(*layers)
