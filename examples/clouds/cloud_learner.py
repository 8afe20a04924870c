"""A learner: any torch module that maps examples to logits. The training itself is dp's own."""

from typing import TYPE_CHECKING, Literal

from dp_real.data.examples import Task
from dp_real.learners import LEARNERS, LearnerConfig

if TYPE_CHECKING:
    from torch import nn


@LEARNERS.named("layer")
class LayerConfig(LearnerConfig):
    """Logits that are linear in the example. Its fields are the keys of [learner] in a configuration."""

    kind: Literal["layer"]
    bias: bool = True

    def network(self, task: Task) -> "nn.Module":
        """A fresh network for this task. Its weights are drawn by torch, whose seed is set before."""
        from torch import nn

        return nn.Linear(task.sample_shape[0], task.n_classes, bias=self.bias)
