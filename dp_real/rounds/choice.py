"""Chooses one of several candidates for each row, hard ones more often. It sees entropies only, so any data will do."""

import numpy as np

from dp_real.runtime.seeds import Stream, rng


def choose(hardness: np.ndarray, omega: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The chosen candidate of each row, int64 [B], candidate k of row b with P ∝ exp(omega[b]·hardness[b, k]).

    That is the density of entropy guidance, p(x)·exp(omega·H(x)), if the candidates are drawn from p: importance
    resampling, exact for many of them. hardness: entropies H in nats, [B, K], finite. omega: float [B], finite, in
    1/nat: 0: at random; large: the hardest. seeds: those that the candidates were drawn with, uint64 [B, K]. The choice
    in a row is a function of that row alone: the largest of omega·H + g, with a Gumbel variable g from each candidate's
    seed (the Gumbel-max trick).
    """
    gumbel = np.reshape([rng(int(seed), Stream.CHOICE).gumbel() for seed in seeds.flat], seeds.shape)
    strength = omega[:, np.newaxis].astype(np.float64)
    return (strength * hardness + gumbel).argmax(axis=1)
