"""FLOPs against what is known of each operation, and that counting leaves no trace."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dp_real.accounts import MeasuredFlops
from dp_real.config import Config, parse_config
from dp_real.examples import Task
from dp_real.learners.models.network import NetworkLearner
from dp_real.pool import Pool
from dp_real.pool.storages import open_storage
from dp_real.protocols import Generator
from dp_real.rounds import Rounds, SampleDrawer
from dp_real.runs.prepare import fresh_learner
from dp_real.runtime.flops import count
from dp_real.sections import TrainingConfig

HEADS = torch.ones(1, 2, 5, 8)  # two heads of five rows
LAYER, ROW = nn.Linear(6, 4), torch.ones(1, 6, requires_grad=True)


@pytest.mark.parametrize(
    ("work", "flops"),
    [
        (lambda: torch.ones(3, 5) @ torch.ones(5, 7), 2 * 3 * 5 * 7),
        (lambda: F.conv2d(torch.ones(2, 4, 6, 6), torch.ones(8, 4, 3, 3), padding=1), 2 * 2 * 8 * 6 * 6 * 4 * 3 * 3),
        (lambda: F.scaled_dot_product_attention(HEADS, HEADS, HEADS), 2 * 2 * 2 * 5 * 5 * 8),
        (lambda: torch.ones(100).exp().sum(), 0),
        (lambda: torch.autograd.grad(LAYER(ROW).sum(), ROW), 2 * 2 * 6 * 4),  # torch's own counter fails at modules
    ],
    ids=["product", "convolution", "attention", "element-wise", "gradient"],
)
def test_known_operations(work, flops: int):
    assert count(work) == flops


def layers(*widths: int, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(*(part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.Dropout(dropout))))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_row_of_training_is_a_forward_pass_and_two_backward_ones_but_for_the_first_layers_input(ema: float):
    task = Task((12,), tuple("abcde"))
    training = TrainingConfig(steps=1, ema_decay=ema)
    learner = NetworkLearner(layers(12, 9, 5, dropout=0.5), task, training, seed=0)
    before = {name: value.clone() for name, value in learner.tensors().items()}
    drawn = torch.get_rng_state()
    assert learner.row_flops((12,)) == 2 * (2 * 12 * 9 + 3 * 9 * 5)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in learner.tensors().items())
    assert all(weight.grad is None for weight in learner.module.parameters())


def drawer(config: Config, generator: Generator) -> SampleDrawer:
    return SampleDrawer(config, generator, open_storage(config.pool.storage, config.task.sample_shape))


def test_guidance_costs_what_it_adds(config: Config, generator: Generator):
    """A gradient through the denoiser at every step but the last; through x0, the learner's alone."""
    learner = fresh_learner(config)
    flops = {}
    plain = 0
    for through in ("unet", "x0"):
        raw = config.model_dump()
        asked = parse_config(raw | {"guidance": raw["guidance"] | {"through": through}})
        measured = MeasuredFlops(drawer(asked, generator), learner)
        plain = measured.plain
        flops[through] = measured.guided
    assert flops["x0"] == plain + 7 * 2 * 2 * (64 * 64 + 64 * 10)  # the learner forward, and back to its input
    assert plain == 8 * 8 * 2 * 64 * 64  # steps, and layers of the small denoiser
    assert flops["unet"] == flops["x0"] + 7 * 6 * 2 * 64 * 64  # back through all but the time's two layers


def test_counting_changes_no_sample(config: Config, generator: Generator, tmp_path: Path):
    learner = fresh_learner(config)
    drawn = torch.get_rng_state()
    rounds = Rounds(config, Pool(tmp_path, config.task.sample_shape, config=config.pool), generator)

    def sample() -> list[Any]:
        rows = rounds.draw(1, torch.arange(10), learner).batch.table()
        return rows.drop_columns("seconds").to_pylist()

    before = sample()
    assert MeasuredFlops(drawer(config, generator), learner).guided > 0
    assert sample() == before
    assert torch.equal(torch.get_rng_state(), drawn)


def test_what_a_generator_keeps_of_its_first_sample_is_not_counted(config: Config):
    """Encoded prompts, for example. A sample is counted once, however often its cost is asked for."""
    calls: list[bool] = []

    class Keeps:
        def sample(self, labels: torch.Tensor, seeds: Any, guidance: Any) -> torch.Tensor:
            calls.append(guidance is None)
            return torch.ones(5, 50 if len(calls) == 1 else 3) @ torch.ones(50 if len(calls) == 1 else 3, 7)

        def offload(self) -> None:
            pass

    generator: Any = Keeps()
    measured = MeasuredFlops(drawer(config, generator), fresh_learner(config))
    assert [measured.plain, measured.plain] == [2 * 5 * 3 * 7] * 2
    assert calls == [True, True]
    assert measured.guided == 2 * 5 * 3 * 7
    assert calls == [True, True, False, False]
