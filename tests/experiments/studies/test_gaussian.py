"""The gaussian preset's generator: an exact posterior mean, and a sampler with no error but its steps."""

import numpy as np
import pytest
import torch
from dp_experiments.studies.gaussian.exact_score import GaussianGenerator, posterior_mean
from numpy.testing import assert_allclose
from scipy.stats import halfnorm, norm, truncnorm

from dp_real.runtime.seeds import row_seeds


@pytest.mark.parametrize("alpha_bar", [1e-6, 0.3, 0.9999])
@pytest.mark.parametrize("first", [-3.0, 0.01, 2.0])
def test_posterior_mean_is_that_of_a_truncated_normal(alpha_bar, first):
    """With x_0 on the wrong side by up to 300 standard deviations."""
    mean, sigma = alpha_bar**0.5 * first, (1 - alpha_bar) ** 0.5
    x = torch.tensor([[first, -0.7]] * 2, dtype=torch.float64)
    found = posterior_mean(x, torch.tensor(alpha_bar, dtype=torch.float64), torch.tensor([1.0, -1.0]).double())
    expected = truncnorm.mean([-mean / sigma, -np.inf], [np.inf, -mean / sigma], loc=mean, scale=sigma)
    assert_allclose(found[:, 0], expected, rtol=1e-6)
    assert_allclose(found[:, 1], alpha_bar**0.5 * -0.7)


def test_the_sampler_converges_to_the_data_with_its_steps():
    """Half-normal along w0 and normal elsewhere, at first order: twice the steps, half the error."""
    noise = torch.from_numpy(np.column_stack([norm.ppf((np.arange(500) + 0.5) / 500), np.ones(500)]))
    expected = halfnorm.ppf(norm.cdf(noise[:, 0].numpy()))
    errors = []
    for steps in (50, 100):
        x = GaussianGenerator(2, steps).from_noise(noise, torch.ones(500, dtype=torch.int64)).numpy()
        assert np.ptp(x[:, 1]) == 0
        errors.append([np.abs(x[:, 0] - expected).mean(), 1 - x[0, 1]])
        mirrored = GaussianGenerator(2, steps).from_noise(-noise, torch.zeros(500, dtype=torch.int64)).numpy()
        assert_allclose(mirrored, -x)
    ratios = np.divide(*errors)
    assert np.all((ratios > 1.7) & (ratios < 2.3)), ratios
    assert np.max(errors[-1]) < 0.02


def test_samples_are_of_their_class_and_guidance_scale_0_forgets_it():
    labels, seeds = torch.arange(200) % 2, row_seeds(0, 0, range(200))
    x = GaussianGenerator(5, 20).sample(labels, seeds, None)
    assert x.dtype == torch.float32
    assert torch.equal(x[:, 0] > 0, labels.bool())
    forgetful = GaussianGenerator(5, 20, guidance_scale=0.0)
    assert torch.equal(forgetful.sample(labels, seeds, None), forgetful.sample(1 - labels, seeds, None))
