"""FLOPs of drawing one sample, counted on one that is drawn for that and thrown away."""

import contextlib
from collections.abc import Callable

import numpy as np
import torch

from dp_base.errors import MissingError
from dp_real.config import Config
from dp_real.pool.storage import Storage
from dp_real.protocols import Generator, Learner
from dp_real.rounds.blocks import Blocks
from dp_real.rounds.costs import SampleFlops
from dp_real.rounds.source import GeneratedRounds
from dp_real.runtime.flops import count
from dp_real.runtime.seeds import row_seeds


def sample_flops(config: Config, generator: Generator, learner: Learner) -> SampleFlops:
    """Of a plain sample, and of a guided one if any is to be drawn.

    0 where one does not fit into the device's memory: attention is counted as the matrix products that it is made of,
    and these take more memory than the fused kernel does.
    """
    rounds = GeneratedRounds(config, generator, Storage(config.pool, config.task.sample_shape), Blocks(1))
    label, seeds = torch.zeros(1, dtype=torch.int64), row_seeds(config.seed, 0, range(1))
    omega = np.zeros(1, np.float32)
    plain, guided = _counted(lambda: generator.sample(label, seeds, None)), 0
    if config.practice.additions and config.guidance.omega:
        guided = _counted(lambda: rounds.guided(learner, label, [seeds], omega, temperature=1.0))
    generator.rest()
    return SampleFlops(plain, guided)


def _counted(work: Callable[[], object]) -> int:
    with contextlib.suppress(MissingError):
        return count(work)
    return 0
