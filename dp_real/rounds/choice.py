"""Chooses one of several candidates for each row, hard ones more often. It sees entropies only, so any data will do."""

import numpy as np

from dp_real.runtime.seeds import Stream, rng


def choose(hardness: np.ndarray, omega: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The chosen candidate of each row, int64 [B]: candidate k of row b with P ∝ exp(omega[b]·hardness[b, k]).

    If the candidates are drawn from p, this is importance resampling for the density of entropy guidance,
    p(x)·exp(omega·H(x)). It is exact for many candidates. The choice in a row is a function of that row alone. It is
    the largest of omega·H + g, where g is a Gumbel variable drawn from the candidate's seed (the Gumbel-max trick).

    hardness: entropies H in nats, [B, K], finite. omega: float [B], finite, in 1/nat. 0 chooses at random, a large
    value the hardest. seeds: uint64 [B, K], those that the candidates were drawn with.
    """
    gumbel = np.reshape([rng(int(seed), Stream.CHOICE).gumbel() for seed in seeds.flat], seeds.shape)
    strength = omega[:, np.newaxis].astype(np.float64)
    return (strength * hardness + gumbel).argmax(axis=1)
