"""Guidance raises the learner's entropy, row by row, by the amount asked for."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import nn

from dp_real.guidance import EntropyGuidance, entropy
from dp_real.protocols import Generator, RealData
from dp_real.sampling import sample_ddim
from dp_real.seeds import row_seeds


@pytest.fixture(scope="module")
def classifier(data: RealData) -> nn.Module:
    """Trained on real digits for a moment: unsure enough to have gradients everywhere."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data.generator.x), data.generator.y).backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def test_entropy_in_nats_at_its_limits():
    logits = torch.tensor([[0.0, 0, 0, 0], [1e4, 0, 0, 0], [math.log(3), 0, -math.inf, -math.inf]])
    expected = [math.log(4), 0, math.log(4) - 0.75 * math.log(3)]
    logits[2, 2:] = -1e4
    torch.testing.assert_close(entropy(logits), torch.tensor(expected))


@pytest.mark.parametrize("through", ["unet", "x0"])
def test_gradient_agrees_with_finite_differences(classifier: nn.Module, through: str):
    """With respect to x_t through a denoiser, and to x0_hat; in double precision."""
    classifier = classifier.double()
    try:
        torch.manual_seed(1)
        inner = nn.Linear(64, 64).double()

        def x0_of(x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(inner(x)) if through == "unet" else x

        x = torch.randn(3, 64, dtype=torch.float64, requires_grad=True)
        gradient = EntropyGuidance(classifier, 1.0).gradient(x0_of(x), x)
        direction = torch.randn_like(x)
        step = 1e-5
        with torch.no_grad():
            up, down = (entropy(classifier(x0_of(x + sign * step * direction))) for sign in (1, -1))
        torch.testing.assert_close((gradient * direction).sum(1), (up - down) / (2 * step), rtol=1e-6, atol=1e-9)
    finally:
        classifier.float()


@pytest.mark.parametrize(
    "options",
    [
        {"omega": 0.05},
        {"omega": 0.05, "through": "x0"},
        {"omega": 0.05, "apply": "before"},
        {"omega": 0.1, "every": 2},
        {"omega": 0.1, "window": (0.25, 0.8)},
        {"omega": 3.0, "scale": "raw"},
        {"omega": 3.0, "scale": "raw", "through": "x0"},
    ],
    ids=str,
)
def test_guided_samples_are_harder_than_plain_ones_from_the_same_noise(
    generator: Generator, classifier: nn.Module, options: dict
):
    labels, seeds = torch.arange(100) % 10, row_seeds(0, 0, range(100))

    def mean_entropy(sign: int) -> float:
        guidance = EntropyGuidance(classifier, **{**options, "omega": sign * options["omega"]})
        return entropy(classifier(generator.sample(labels, seeds, guidance))).mean().item()

    plain = entropy(classifier(generator.sample(labels, seeds, None))).mean().item()
    assert mean_entropy(+1) > plain + 0.05
    assert mean_entropy(-1) < plain  # the sign is the code's, not an accident of leaving the data


def test_omega_zero_is_plain_sampling_bit_for_bit(generator: Generator, classifier: nn.Module):
    labels, seeds = torch.arange(20) % 10, row_seeds(0, 0, range(20))
    plain = generator.sample(labels, seeds, None)
    for scale in ("relative", "raw"):
        assert torch.equal(plain, generator.sample(labels, seeds, EntropyGuidance(classifier, 0.0, scale)))


@pytest.mark.parametrize("scale", ["relative", "raw"])
def test_a_batch_is_its_rows_one_by_one(generator: Generator, classifier: nn.Module, scale):
    labels, seeds = torch.arange(12) % 10, row_seeds(0, 0, range(12))
    omega = torch.linspace(0.0, 0.1, 12)

    def sample(rows: slice) -> torch.Tensor:
        return generator.sample(labels[rows], seeds[rows], EntropyGuidance(classifier, omega[rows], scale))

    single = torch.cat([sample(slice(i, i + 1)) for i in range(12)])
    torch.testing.assert_close(sample(slice(None)), single, atol=2e-5, rtol=0)


def test_relative_push_has_the_asked_length_even_for_a_vanishing_gradient(classifier: nn.Module):
    x, gradient = torch.randn(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    direction = gradient.clone()
    gradient[1] *= 1e-30  # its square underflows in float32
    gradient[2] = 0
    moved = EntropyGuidance(classifier, 0.1).push(x, gradient) - x
    lengths = moved.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([0.1, 0.1, 0.0]), atol=1e-6, rtol=1e-5)
    cosine = nn.functional.cosine_similarity(moved.flatten(1), direction.flatten(1))[:2]
    torch.testing.assert_close(cosine, torch.ones(2))


def test_raw_guidance_is_the_same_for_every_prediction_type(classifier: nn.Module):
    """eps - omega sqrt(1 - alpha_bar) g, whether the denoiser predicts eps, v or x0."""
    x, eps, gradient = torch.randn(3, 4, 64).unbind(0)
    guidance = EntropyGuidance(classifier, 0.7, "raw")
    stepped = {}
    for kind in ("epsilon", "v_prediction", "sample"):
        scheduler = DDIMScheduler(prediction_type=kind, clip_sample=False, beta_schedule="squaredcos_cap_v2")
        scheduler.set_timesteps(10)
        t = 400
        alpha_bar = scheduler.alphas_cumprod[t]
        x0 = (x - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()
        output = {"epsilon": eps, "v_prediction": alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x0, "sample": x0}
        shifted = guidance.shift_noise(output[kind], gradient, alpha_bar, kind)
        stepped[kind] = scheduler.step(shifted, t, x, return_dict=False)[0]
        expected = eps - 0.7 * (1 - alpha_bar).sqrt() * gradient
    torch.testing.assert_close(guidance.shift_noise(eps, gradient, alpha_bar, "epsilon"), expected)
    torch.testing.assert_close(stepped["epsilon"], stepped["v_prediction"])
    torch.testing.assert_close(stepped["epsilon"], stepped["sample"])


def test_which_steps_are_guided(classifier: nn.Module):
    def guided(**options) -> list[int]:
        guidance = replace(EntropyGuidance(classifier, 0.1), **options)
        return [index for index in range(10) if guidance.guides(index, 10)]

    assert guided() == list(range(9))  # never the last
    assert guided(every=5) == [0, 5]
    assert guided(window=(0.3, 0.7)) == [3, 4, 5, 6]
    assert guided(window=(0.5, 1.0), every=2) == [5, 7]


def test_the_sampler_needs_only_a_denoiser_and_a_scheduler(classifier: nn.Module):
    """Plain sampling is the scheduler's own loop, bit for bit."""
    scheduler = DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(5)
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    by_hand = x
    for t in scheduler.timesteps:
        by_hand = scheduler.step(0.1 * by_hand, int(t), by_hand).prev_sample
    seen = []
    sampled = sample_ddim(
        lambda x, t: 0.1 * x, scheduler, x, callback=lambda index, x0_hat: seen.append((index, x0_hat))
    )
    assert torch.equal(sampled, by_hand)
    assert [index for index, _ in seen] == [0, 1, 2, 3, 4]
    alpha_bar = scheduler.alphas_cumprod[scheduler.timesteps[0]]
    torch.testing.assert_close(seen[0][1], (x - (1 - alpha_bar).sqrt() * 0.1 * x) / alpha_bar.sqrt())
