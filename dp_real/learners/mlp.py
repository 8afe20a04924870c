"""The learner kind `mlp`: a multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

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
        """The network takes samples of any shape."""
        import torch
        from torch import nn

        widths = [torch.Size(task.sample_shape).numel(), *self.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], task.n_classes))
