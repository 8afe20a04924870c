"""FLOPs of what is done for one sample, counted on a sample that is drawn for this and thrown away."""

import contextlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dp_base.errors import MissingError
from dp_real.protocols import Learner
from dp_real.rounds.samples import SampleDrawer, Samples
from dp_real.runtime.flops import count
from dp_real.runtime.seeds import row_seeds


class MeasuredFlops:
    """SampleFlops of a generator. Each count is made once, on first use.

    A count is 0 if the sample does not fit into the device's memory. Counting needs attention as separate matrix
    products, which take more memory than the fused kernel.
    """

    def __init__(self, drawer: SampleDrawer, learner: Learner) -> None:
        self._drawer = drawer
        self._learner = learner
        self._label = torch.zeros(1, dtype=torch.int64)
        self._seeds = row_seeds(drawer.config.seed, 0, range(1))
        self._known: dict[str, int] = {}

    def plain(self) -> int:
        """See SampleFlops."""
        return self._once("plain", self._draw_plain)

    def guided(self) -> int:
        """See SampleFlops."""
        return self._once("guided", self._draw_guided)

    def soft_labels(self) -> int:
        """See SampleFlops."""
        if not self._drawer.config.pool.soft_labels:
            return 0
        if "soft labels" not in self._known:
            sample = self._draw_plain()
            self._once("soft labels", lambda: self._drawer.posterior(sample))
        return self._known["soft labels"]

    def _draw_plain(self) -> Tensor:
        return self._drawer.generator.sample(self._label, self._seeds, None)

    def _draw_guided(self) -> Samples:
        omega = np.zeros(1, np.float32)
        if self._drawer.config.guidance.candidates > 1:
            return self._drawer.sample_chosen(self._learner, self._label, [self._seeds], omega)
        return self._drawer.sample_guided(self._learner, self._label, self._seeds, omega)

    def _once(self, name: str, work: Callable[[], object]) -> int:
        """The FLOPs of `work`, which are counted unless those of that name are known."""
        if name not in self._known:
            self._known[name] = _counted(work)
            self._drawer.generator.offload()
        return self._known[name]


def _counted(work: Callable[[], object]) -> int:
    """FLOPs of doing `work` a second time.

    The first time is not counted. It fills the generator's caches, such as encoded prompts, by its usual attention: the
    attention that is used for counting rounds differently.
    """
    with contextlib.suppress(MissingError):
        work()
        return count(work)
    return 0
