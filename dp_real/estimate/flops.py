"""FLOPs of what is done for one sample, counted on a sample that is drawn for this and thrown away."""

import contextlib
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dp_base.errors import MissingError
from dp_real.config import Config
from dp_real.pool.storage import Storage
from dp_real.protocols import Generator, Learner
from dp_real.rounds.blocks import Blocks
from dp_real.rounds.costs import SampleFlops
from dp_real.rounds.source import GeneratedRounds, Sampled
from dp_real.runtime.flops import count
from dp_real.runtime.seeds import row_seeds


class MeasuredFlops(SampleFlops):
    """SampleFlops of a generator. Each count is made once, on first use.

    It is 0 if the sample does not fit into the device's memory: counting needs attention as separate matrix products,
    which take more memory than the fused kernel.
    """

    def __init__(self, config: Config, generator: Generator, learner: Learner) -> None:
        self._generator, self._learner = generator, learner
        storage = Storage(config.pool, config.pool_shape)
        self._rounds = GeneratedRounds(config, generator, storage, Blocks(1))
        self._choosing = config.guidance.candidates > 1
        self._label, self._seeds = torch.zeros(1, dtype=torch.int64), row_seeds(config.seed, 0, range(1))
        self._soft = config.pool.soft_labels
        self._known: dict[str, int] = {}

    def __call__(self, guided: bool) -> int:
        """See SampleFlops."""
        return self._once("guided", self._guided) if guided else self._once("plain", self._plain)

    def of_labels(self) -> int:
        """See SampleFlops."""
        return self._once("labels", self._labels) if self._soft else 0

    def _once(self, name: str, work: Callable[[], object]) -> int:
        if name not in self._known:  # a bound method as key would keep itself, and the generator, in memory
            self._known[name] = _counted(work)
        return self._known[name]

    @cached_property
    def _sample(self) -> Tensor:
        return self._plain()

    def _labels(self) -> Tensor | None:
        return self._rounds.posterior(self._sample)

    def _plain(self) -> Tensor:
        return self._generator.sample(self._label, self._seeds, None)

    def _guided(self) -> Sampled:
        omega = np.zeros(1, np.float32)
        if self._choosing:
            return self._rounds.chosen(self._learner, self._label, [self._seeds], omega, "samples")
        return self._rounds.guided(self._learner, self._label, self._seeds, omega)


def _counted(work: Callable[[], object]) -> int:
    """FLOPs of doing `work` a second time.

    The first time is not counted. It fills the generator's caches, such as encoded prompts, by its usual attention: the
    attention that is used for counting rounds differently.
    """
    with contextlib.suppress(MissingError):
        work()
        return count(work)
    return 0
