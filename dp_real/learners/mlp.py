"""A multilayer perceptron."""

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
        """See LearnerConfig. It takes samples of any shape."""
        import torch
        from torch import nn

        widths = [torch.Size(task.sample_shape).numel(), *self.hidden]
        hidden = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-1], task.n_classes))
