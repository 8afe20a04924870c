"""The gaussian preset's parts: an exact posterior mean, a sampler with no error but its steps, and runs."""

import json

import numpy as np
import pytest
import torch
from dp_experiments.presets.presets import load_preset
from dp_experiments.studies.gaussian.exact_score import GaussianGenerator, posterior_mean
from scipy.stats import halfnorm, norm, truncnorm

from dp_real.data.examples import Task
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.learners.models.linear import LinearLearner
from dp_real.runs.run import run
from dp_real.runtime.seeds import row_noise, row_seeds


@pytest.fixture(scope="module")
def config():
    few = ["practice.initial=40", "practice.increment=40", "practice.additions=2", "sampling.steps=10"]
    more = ["data.dimension=20", "data.test=2000", "guidance.omega=0.02", "training.steps=6"]
    return load_preset("gaussian", few + more)


# -- the generator -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha_bar", [1e-6, 0.3, 0.9999])
@pytest.mark.parametrize("first", [-3.0, 0.01, 2.0])
def test_posterior_mean_is_that_of_a_truncated_normal(alpha_bar, first):
    """With x_0 on the wrong side by up to 300 standard deviations."""
    mean, sigma = alpha_bar**0.5 * first, (1 - alpha_bar) ** 0.5
    x = torch.tensor([[first, -0.7]] * 2, dtype=torch.float64)
    found = posterior_mean(x, torch.tensor(alpha_bar, dtype=torch.float64), torch.tensor([1.0, -1.0]).double())
    expected = truncnorm.mean([-mean / sigma, -np.inf], [np.inf, -mean / sigma], loc=mean, scale=sigma)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], alpha_bar**0.5 * -0.7)


def test_posterior_mean_has_the_right_gradient():
    x = torch.tensor([[-2.0, 0.3], [0.01, 1.0], [2.5, -1.0]], dtype=torch.float64, requires_grad=True)
    sign = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: posterior_mean(x, torch.tensor(0.97, dtype=torch.float64), sign), x)


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
        np.testing.assert_allclose(mirrored, -x)
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


@pytest.mark.parametrize("loss", ["ridge", "logistic"])
def test_guidance_brings_samples_to_the_learners_boundary(loss):
    learner = LinearLearner(Task((20,), ("-1", "1")), lam=0.01, loss=loss)
    pool = row_noise(row_seeds(0, 0, range(60)), (20,))
    learner.train_step(pool, (pool[:, 0] > 0).long())
    generator, labels, seeds = GaussianGenerator(20, 30), torch.arange(100) % 2, row_seeds(0, 1, range(100))

    def margin(x):
        return (x.double() @ learner.weight).abs().mean()

    plain, still, guided = (
        generator.sample(labels, seeds, EntropyGuidance(learner.logits, omega) if omega is not None else None)
        for omega in (None, 0.0, 0.03)
    )
    assert torch.equal(still, plain)
    assert margin(guided) < 0.15 * margin(plain)
    assert entropy(learner.logits(guided)).mean() > entropy(learner.logits(plain)).mean()


# -- the data ----------------------------------------------------------------------------------------------------------


# -- runs --------------------------------------------------------------------------------------------------------------


def test_a_run_trains_on_its_whole_pool(config, tmp_path):
    unbroken = run(config, tmp_path / "unbroken")
    assert unbroken["samples_generated"] == 120
    assert unbroken["test_accuracy"] > 0.8
    losses = [json.loads(line)["train_loss"] for line in (tmp_path / "unbroken/metrics.jsonl").read_text().splitlines()]
    assert len(set(losses)) == 3  # one solution a pool
