"""How badly a sample fits a class: small generators. (Those of diffusers: test_pipelines.)"""

import pytest
import torch

from dp_real.examples import RealData
from dp_real.generators.models.gaussian import GaussianGenerator
from dp_real.protocols import Generator
from dp_real.runtime.seeds import row_noise, row_seeds


@pytest.mark.parametrize("level", [0.3, 0.5, 0.7])
def test_real_digits_fit_their_own_class_best(generator: Generator, data: RealData, level: float):
    x, y = data.validation.x[:200], data.validation.y[:200]
    seeds = row_seeds(0, 0, range(200))
    own = generator.denoising_error(x, y, seeds, level)
    assert own.shape == (200,)
    others = torch.stack([generator.denoising_error(x, (y + shift) % 10, seeds, level) for shift in range(1, 10)])
    assert (own < others).double().mean() > 0.8


def test_rows_are_noised_by_their_own_seed_and_not_by_what_they_came_from(generator: Generator):
    labels, seeds = torch.arange(5), row_seeds(0, 0, range(5))
    x = generator.sample(labels, seeds, None)
    error = generator.denoising_error(x, labels, seeds, 0.5)
    torch.testing.assert_close(generator.denoising_error(x[2:], labels[2:], seeds[2:], 0.5), error[2:])
    assert (generator.denoising_error(x, labels, row_seeds(0, 1, range(5)), 0.5) - error).abs().min() > 1e-4


def test_the_exact_scores_error_is_that_of_the_half_normal_posterior():
    """Against numerical integration over what x_0 may have been, given x_t and its sign."""
    generator, seeds, level = GaussianGenerator(3, 10), row_seeds(0, 0, range(4)), 0.6
    x, labels = torch.tensor([[0.5, 1, -1], [-0.5, 0, 2], [2.0, 0, 0], [0.1, 0, 1]]), torch.tensor([1, 1, 1, 0])
    error = generator.denoising_error(x, labels, seeds, level)
    alpha_bar = generator.solver.scheduler.alphas_cumprod[round(level * 999)].double()
    x_t = alpha_bar.sqrt() * x + (1 - alpha_bar).sqrt() * row_noise(~seeds, (3,))
    grid = torch.linspace(-8, 8, 160_001, dtype=torch.double)
    for row in range(4):
        allowed = grid > 0 if labels[row] else grid < 0
        log_p = -(grid**2) / 2 - (x_t[row, 0] - alpha_bar.sqrt() * grid) ** 2 / (2 * (1 - alpha_bar))
        p = (log_p - log_p[allowed].max()).exp() * allowed
        estimate = torch.stack([(p * grid).sum() / p.sum(), *(alpha_bar.sqrt() * x_t[row, 1:])])
        assert error[row].item() == pytest.approx((estimate - x[row]).square().mean().item(), rel=1e-3)
