"""FLOPs against what is known of each operation, and that counting leaves no trace."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dp_real.config.config import Config, LinearConfig, TrainingConfig, parse_config
from dp_real.learners import fresh_learner
from dp_real.learners.models.linear import LinearLearner
from dp_real.learners.models.network import NetworkLearner
from dp_real.pool.pool import Pool
from dp_real.protocols import Generator
from dp_real.rounds.source import Source
from dp_real.runtime.flops import count


@pytest.mark.parametrize(
    ("work", "flops"),
    [
        (lambda: torch.ones(3, 5) @ torch.ones(5, 7), 2 * 3 * 5 * 7),
        (lambda: F.conv2d(torch.ones(2, 4, 6, 6), torch.ones(8, 4, 3, 3), padding=1), 2 * 2 * 8 * 6 * 6 * 4 * 3 * 3),
        (lambda: F.scaled_dot_product_attention(*torch.ones(3, 1, 2, 5, 8).unbind(0)), 2 * 2 * 2 * 5 * 5 * 8),
        (lambda: torch.ones(100).exp().sum(), 0),
    ],
    ids=["product", "convolution", "attention", "element-wise"],
)
def test_known_operations(work, flops: int):
    assert count(work) == flops


def test_a_gradient_taken_inside_counts():
    """Which torch's own FlopCounterMode does not allow for modules."""
    layer, x = nn.Linear(6, 4), torch.ones(1, 6, requires_grad=True)
    assert count(lambda: torch.autograd.grad(layer(x).sum(), x)) == 2 * 2 * 6 * 4


def layers(*widths: int, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(*(part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.Dropout(dropout))))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_row_of_training_is_a_forward_pass_and_two_backward_ones_but_for_the_first_layers_input(ema: float):
    learner = NetworkLearner(layers(12, 9, 5, dropout=0.5), 5, TrainingConfig(steps=1, ema_decay=ema), seed=0)
    before = {name: value.clone() for name, value in learner.tensors().items()}
    drawn = torch.get_rng_state()
    assert learner.row_flops((12,)) == 2 * (2 * 12 * 9 + 3 * 9 * 5)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in learner.tensors().items())
    assert all(weight.grad is None for weight in learner.module.parameters())


def test_a_learner_that_is_no_network_counts_none():
    learner = LinearLearner(LinearConfig(kind="linear", lam=0.01), (6,), 2)
    assert learner.row_flops((6,)) == 0


def test_guidance_costs_what_it_adds(config: Config, generator: Generator, tmp_path: Path):
    """A gradient through the denoiser at every step but the last; through x0, the learner's alone."""
    learner = fresh_learner(config, generator)
    flops, pool = {}, Pool(tmp_path / "pool", generator.sample_shape)
    for through in ("unet", "x0"):
        raw = config.model_dump()
        asked = parse_config(raw | {"guidance": raw["guidance"] | {"through": through}})
        flops[through] = Source(asked, generator, pool).sample_flops(True, learner)
        plain = Source(asked, generator, pool).sample_flops(False, learner)
    assert flops["x0"] == plain + 7 * 2 * 2 * (64 * 64 + 64 * 10)  # the learner forward, and back to its input
    assert plain == 8 * 8 * 2 * 64 * 64  # steps, and layers of the small denoiser
    assert flops["unet"] == flops["x0"] + 7 * 6 * 2 * 64 * 64  # back through all but the time's two layers


def test_counting_changes_no_sample(config: Config, generator: Generator, tmp_path: Path):
    learner, drawn = fresh_learner(config, generator), torch.get_rng_state()
    source = Source(config, generator, Pool(tmp_path / "pool", generator.sample_shape))

    def sample() -> list[Any]:
        return source.guided(1, torch.arange(10), learner)[0].to_pylist()

    before = sample()
    source.sample_flops(True, learner)
    assert sample() == before
    assert torch.equal(torch.get_rng_state(), drawn)
