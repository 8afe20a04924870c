"""Random numbers that depend on seed, stream and position, never on earlier draws.

So a resumed run equals an unbroken one, and a row is the same in any process.
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
    """The seed sequence at a position of a stream; (7,) and (7, 0) differ."""
    return np.random.SeedSequence(seed, spawn_key=(int(stream), *position))


def rng(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """numpy's generator at a position of a stream."""
    return np.random.default_rng(sequence(seed, stream, *position))


def torch_rng(seed: int, stream: Stream, *position: int) -> torch.Generator:
    """torch's generator, on the CPU, at a position of a stream."""
    state = int(sequence(seed, stream, *position).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)  # torch takes signed seeds


@contextmanager
def seeded(draw: torch.Generator) -> Iterator[None]:
    """Within the block seed torch's global generator, which layers use, from `draw`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.initial_seed())
        yield


def seed_layers(draw: torch.Generator, device: torch.device) -> None:
    """Seed the global generators, which layers such as dropout use, from `draw`.

    On a CPU only its own, since torch.manual_seed seeds every kind of device, which takes a hundred times as long.
    """
    start = torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed
    start(draw.initial_seed())


def row_seeds(seed: int, round_index: int, rows: Sequence[int]) -> np.ndarray:
    """Seeds uint64 [B], each of which determines its row's noise."""
    return _states([sequence(seed, Stream.NOISE, round_index, row) for row in rows])


def next_seeds(seeds: np.ndarray) -> np.ndarray:
    """Replacements for seeds whose samples cannot be used, uint64 [B]."""
    return _states([sequence(int(seed), Stream.REDRAW) for seed in seeds])


def _states(sequences: Sequence[np.random.SeedSequence]) -> np.ndarray:
    return np.array([each.generate_state(1, np.uint64)[0] for each in sequences], np.uint64)


def row_uniforms(seeds: np.ndarray, count: int) -> Tensor:
    """Uniform draws on [0, 1), float64 [count, B], column i from seeds[i] alone."""
    draws = np.empty((count, len(seeds)))
    for row, seed in enumerate(seeds):
        draws[:, row] = np.random.default_rng(int(seed)).random(count)
    return torch.from_numpy(draws)


def row_noise(seeds: np.ndarray, shape: Sequence[int]) -> Tensor:
    """Standard normal noise, float32 [B, *shape], row i from seeds[i] alone."""
    noise = np.empty((len(seeds), *shape), np.float32)
    for row, seed in enumerate(seeds):
        noise[row] = np.random.default_rng(int(seed)).standard_normal(shape, np.float32)
    return torch.from_numpy(noise)
