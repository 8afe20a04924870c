"""Randomness in which each draw is a function of the seed, the stream and the position, and never of earlier draws.

So a resumed run repeats one that was not interrupted, and a row of the pool is the same in any process and batch.
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
    START = 12


def sequence(seed: int, stream: Stream, *position: int) -> np.random.SeedSequence:
    """Return the seed sequence at a position of a stream. Positions such as (7,) and (7, 0) differ."""
    return np.random.SeedSequence(seed, spawn_key=(int(stream), *position))


def rng(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """Return a numpy generator at a position of a stream."""
    return np.random.Generator(np.random.PCG64(sequence(seed, stream, *position)))


def torch_rng(seed: int, stream: Stream, *position: int) -> torch.Generator:
    """Return a generator of torch, on the CPU, at a position of a stream."""
    state = int(sequence(seed, stream, *position).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)  # torch takes signed seeds


@contextmanager
def seeded(draw: torch.Generator) -> Iterator[None]:
    """Within the block, let torch's global generator start from the seed of `draw`. Layers take no other generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.initial_seed())
        yield


def row_seeds(seed: int, round_index: int, rows: Sequence[int]) -> np.ndarray:
    """Return seeds uint64 [B], one for each row of a round. A row's seed is enough to draw its noise again."""
    return _states([sequence(seed, Stream.NOISE, round_index, row) for row in rows])


def next_seeds(seeds: np.ndarray) -> np.ndarray:
    """Return seeds uint64 [B] that replace `seeds`, uint64 [B], whose samples cannot be used."""
    return _states([sequence(int(seed), Stream.REDRAW) for seed in seeds])


def _states(sequences: Sequence[np.random.SeedSequence]) -> np.ndarray:
    """uint64 [B]."""
    return np.array([each.generate_state(1, np.uint64)[0] for each in sequences], np.uint64)


def row_uniforms(seeds: np.ndarray, count: int) -> np.ndarray:
    """Return uniform draws on [0, 1), float64 [B, count]. Row i depends on seeds[i] alone."""
    draws = np.empty((len(seeds), count))
    for row, seed in enumerate(seeds):
        draws[row] = np.random.Generator(np.random.PCG64(int(seed))).random(count)
    return draws


def row_noise(seeds: np.ndarray, shape: Sequence[int]) -> Tensor:
    """Return standard normal noise, float32 [B, *shape]. Row i depends on seeds[i] alone."""
    noise = np.empty((len(seeds), *shape), np.float32)
    for row, seed in enumerate(seeds):
        noise[row] = np.random.Generator(np.random.PCG64(int(seed))).standard_normal(shape, np.float32)
    return torch.from_numpy(noise)
