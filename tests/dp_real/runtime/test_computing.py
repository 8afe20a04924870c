"""FLOPs against what is known of each operation, and that counting leaves no trace."""

from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dp_real.data.examples import Task
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.learners.models.network import NetworkLearner
from dp_real.learners.section import TrainingConfig
from dp_real.pool import Pool
from dp_real.practice.rounds import Rounds
from dp_real.runs.prepare import fresh_learner
from dp_real.runtime.computing import FlopCounter, count, uncounted
from dp_real.runtime.seeds import row_seeds
from tests.dp_real.conftest import changed
from tests.dp_real.runs.folders import same_tensors

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
)
def test_known_operations(work, flops):
    assert count(work) == flops


def layers(*widths, dropout=0.0):
    return nn.Sequential(*(part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.Dropout(dropout))))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_row_of_training_is_a_forward_pass_and_two_backward_ones_but_for_the_first_layers_input(ema):
    task = Task((12,), tuple("abcde"))
    training = TrainingConfig(steps=1, ema_decay=ema)
    learner = NetworkLearner(layers(12, 9, 5, dropout=0.5), task, training, seed=0)
    before = deepcopy(learner.tensors())
    drawn = torch.get_rng_state()
    assert learner.row_flops((12,)) == 2 * (2 * 12 * 9 + 3 * 9 * 5)
    assert torch.get_rng_state().equal(drawn)
    assert same_tensors(learner.tensors(), before)
    assert all(weight.grad is None for weight in learner.module.parameters())


@pytest.mark.parametrize("through", ["unet", "x0"])
def test_guidance_costs_what_it_adds(config, generator, tmp_path, through):
    """A gradient through the denoiser at every step but the last; through x0, the learner's alone."""
    asked = changed(config, f"guidance.through={through}")
    pool = Pool(tmp_path / "pool", config.task.sample_shape, config=config.pool)
    rounds = Rounds(asked, pool, tmp_path / "drawing", generator)
    plain, guided = (
        rounds.draw(index, torch.arange(40) % 10, fresh_learner(config).logits).costs["flops"] for index in (0, 1)
    )
    assert plain == 40 * 8 * 8 * 2 * 64 * 64  # steps, and layers of the small denoiser
    extra = 7 * 2 * 2 * (64 * 64 + 64 * 10)  # the learner forward, and back to its input
    extra += 7 * 6 * 2 * 64 * 64 if through == "unet" else 0  # back through all but the time's two layers
    assert guided == plain + 40 * extra


def test_counting_changes_no_sample(config, generator):
    labels, seeds = torch.arange(10), row_seeds(0, 0, range(10))
    guidance = EntropyGuidance(fresh_learner(config).logits, 0.1)
    drawn = torch.get_rng_state()
    plain = generator.sample(labels, seeds, guidance)
    with FlopCounter() as counter:
        counted = generator.sample(labels, seeds, guidance)
        before = counter.total
        with uncounted():
            generator.sample(labels, seeds, None)
    assert counter.total == before > 0
    assert plain.equal(counted)
    assert torch.get_rng_state().equal(drawn)


def test_fused_attention_counts_as_its_products():
    x = HEADS.clone().requires_grad_()
    with FlopCounter() as counter:
        F.scaled_dot_product_attention(x, x, x).sum().backward()
    product = 2 * 2 * 5 * 5 * 8
    assert counter.total == (2 + 5) * product  # its way back computes one of them again
