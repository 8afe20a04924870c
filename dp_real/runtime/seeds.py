"""Counter-based randomness: every draw is a pure function of (seed, stream, position), never of earlier draws.

So a resumed run repeats an unbroken one, and a row of the pool is the same on any rank and in any batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """Independent uses of randomness within one run."""

    NOISE = 0
    BATCH = 1
    LEARNER_INIT = 2
    GENERATOR = 3
    SPLIT = 4
    OMEGA = 5
    MIX = 6
    DROPOUT = 7
    CROP = 8
    REDRAW = 9
    CHOICE = 10
    RANDAUGMENT = 11


def sequence(seed: int, stream: Stream, *position: int) -> np.random.SeedSequence:
    """The seed sequence at a position of a stream. With `spawn_key`, positions (7, 1) and (7, 1, 0) differ."""
    return np.random.SeedSequence(seed, spawn_key=(int(stream), *position))


def rng(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """A numpy generator at a position of a stream."""
    return np.random.Generator(np.random.PCG64(sequence(seed, stream, *position)))


def torch_rng(seed: int, stream: Stream, *position: int) -> torch.Generator:
    """A CPU torch generator at a position of a stream."""
    state = int(sequence(seed, stream, *position).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


@contextmanager
def seeded(draw: torch.Generator) -> Iterator[None]:
    """Within the block, torch's global generator starts from the seed of `draw`. Layers take no other generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.initial_seed())
        yield


def row_seeds(seed: int, round_index: int, rows: Sequence[int]) -> np.ndarray:
    """Seeds uint64 [B], one per row of a round. A row's seed is all that is needed to draw its noise again."""
    states = [sequence(seed, Stream.NOISE, round_index, row).generate_state(1, np.uint64) for row in rows]
    return np.concatenate(states) if states else np.zeros(0, np.uint64)


def next_seeds(seeds: np.ndarray) -> np.ndarray:
    """Seeds uint64 [B] to draw rows with in place of those of `seeds`, uint64 [B], whose samples are of no use."""
    states = [sequence(int(seed), Stream.REDRAW).generate_state(1, np.uint64) for seed in seeds]
    return np.concatenate(states) if states else np.zeros(0, np.uint64)


def row_uniforms(seeds: np.ndarray, count: int) -> np.ndarray:
    """Uniform draws on [0, 1), float64 [B, count]. Row i depends on seeds[i] alone."""
    rows = [np.random.Generator(np.random.PCG64(int(seed))).random(count) for seed in seeds]
    return np.stack(rows) if rows else np.empty((0, count))


def row_noise(seeds: np.ndarray, shape: Sequence[int]) -> Tensor:
    """Standard normal noise float32 [B, *shape]. Row i depends on seeds[i] alone."""
    rows = [np.random.Generator(np.random.PCG64(int(seed))).standard_normal(shape, np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, *shape)
