from dp_real.runtime.seeds import Stream, rng, torch_rng


def test_positions_streams_and_seeds_are_independent():
    positions = [(0, Stream.NOISE), (1, Stream.NOISE), (0, Stream.BATCH), (0, Stream.NOISE, 1), (0, Stream.NOISE, 1, 0)]
    assert len({rng(*position).random() for position in positions}) == len(positions)
    assert len({torch_rng(*position).initial_seed() for position in positions}) == len(positions)
