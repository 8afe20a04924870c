import numpy as np
import torch

from dp_real.runtime.seeds import Stream, rng, row_noise, row_seeds, torch_rng


def test_positions_streams_and_seeds_are_independent():
    positions = [(0, Stream.NOISE), (1, Stream.NOISE), (0, Stream.BATCH), (0, Stream.NOISE, 1), (0, Stream.NOISE, 1, 0)]
    draws = [rng(*position).random() for position in positions]
    assert len(set(draws)) == len(draws)
    assert rng(0, Stream.NOISE, 1).random() == draws[3]
    assert len({torch_rng(*position).initial_seed() for position in positions}) == len(positions)


def test_a_rows_noise_does_not_depend_on_its_batch():
    seeds = row_seeds(3, 1, range(5))
    whole = row_noise(seeds, (2, 3))
    assert whole.shape == (5, 2, 3)
    assert torch.equal(whole[3:4], row_noise(row_seeds(3, 1, [3]), (2, 3)))
    assert not torch.equal(whole[0], row_noise(row_seeds(3, 2, [0]), (2, 3))[0])
    assert row_noise(np.zeros(0, np.uint64), (2,)).shape == (0, 2)
