"""Guidance raises the learner's entropy, row by row, by the amount asked for."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from dp_real.examples import RealData
from dp_real.guidance.entropy import EntropyGuidance, RandomGuidance, entropy
from dp_real.guidance.sampler import DDIM, sample
from dp_real.protocols import Generator
from dp_real.runtime.seeds import row_seeds


@pytest.fixture(scope="module")
def classifier(data: RealData) -> nn.Module:
    """Trained on real digits for a moment: unsure enough to have gradients everywhere."""
    assert data.generator is not None
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


def margin(logits: Tensor) -> Tensor:
    """How close the second class is to the first one."""
    top = logits.log_softmax(-1).topk(2).values
    return top[:, 1] - top[:, 0]


@pytest.mark.parametrize("objective", [entropy, margin])
@pytest.mark.parametrize("through", ["unet", "x0"])
def test_gradient_agrees_with_finite_differences(
    classifier: nn.Module, through: str, objective: Callable[[Tensor], Tensor]
):
    """With respect to x_t through a denoiser, and to x0_hat; in double precision."""
    exact = copy.deepcopy(classifier).double()
    torch.manual_seed(1)
    inner = nn.Linear(64, 64).double()

    def x0_of(x: Tensor) -> Tensor:
        return torch.tanh(inner(x)) if through == "unet" else x

    x = torch.randn(3, 64, dtype=torch.float64, requires_grad=True)
    gradient = EntropyGuidance(exact, 1.0, objective=objective).gradient(x0_of(x), x)
    direction = torch.randn_like(x)
    step = 1e-5
    with torch.no_grad():
        up, down = (objective(exact(x0_of(x + sign * step * direction))) for sign in (1, -1))
    torch.testing.assert_close((gradient * direction).sum(1), (up - down) / (2 * step), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"omega": 0.05},
        {"omega": 0.05, "through": "x0"},
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
    moved = EntropyGuidance(classifier, 0.1).move(x, gradient) - x
    lengths = moved.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([0.1, 0.1, 0.0]), atol=1e-6, rtol=1e-5)
    cosine = nn.functional.cosine_similarity(moved.flatten(1), direction.flatten(1))[:2]
    torch.testing.assert_close(cosine, torch.ones(2))


def ddim(kind: Literal["epsilon", "sample", "v_prediction"] = "epsilon", steps: int = 10, **options: Any) -> DDIM:
    scheduler: Any = DDIMScheduler(
        prediction_type=kind, clip_sample=False, beta_schedule="squaredcos_cap_v2", **options
    )
    scheduler.set_timesteps(steps)
    return DDIM(scheduler)


def level(solver: Any, index: int) -> tuple[float, float]:
    """a and sigma of x_t = a x0 + sigma noise."""
    alpha_bar = float(solver.scheduler.alphas_cumprod[solver.timesteps[index]])
    return alpha_bar**0.5, (1 - alpha_bar) ** 0.5


SOLVERS: dict[str, tuple[Any, Callable[..., Tensor]]] = {
    "epsilon": (ddim("epsilon"), lambda x0, noise, a, sigma: noise),
    "sample": (ddim("sample"), lambda x0, noise, a, sigma: x0),
    "v": (ddim("v_prediction"), lambda x0, noise, a, sigma: a * noise - sigma * x0),
}
"""Each with the answer of a denoiser that sees through x_t = a x0 + sigma noise."""


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_steps_on_the_line_from_noise_to_x0(name: str):
    solver, answer = SOLVERS[name]
    x0, noise = torch.randn(2, 3, 16)
    a, sigma = level(solver, 4)
    x, x0_hat = solver.step(answer(x0, noise, a, sigma), 4, a * x0 + sigma * noise)
    torch.testing.assert_close(x0_hat, x0, atol=1e-5, rtol=0)
    a, sigma = level(solver, 5)
    torch.testing.assert_close(x, a * x0 + sigma * noise, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SOLVERS)
def test_raw_guidance_is_the_same_whatever_the_denoiser_predicts(classifier: nn.Module, name: str):
    """x_t does not change; the noise in it falls by omega sigma g (eq. 7 with its sign mended)."""
    solver, answer = SOLVERS[name]
    x0, noise, gradient = torch.randn(3, 4, 64)
    guidance = EntropyGuidance(classifier, torch.tensor([0.7, 0, -0.2, 1.0]), "raw")
    a, sigma = level(solver, 4)
    x = a * x0 + sigma * noise
    noise = noise - torch.tensor([0.7, 0, -0.2, 1.0]).view(4, 1) * sigma * gradient
    output = answer(x0, (x - a * x0) / sigma, a, sigma)
    torch.testing.assert_close(
        solver.raise_score(output, guidance.weigh(gradient), 4),
        answer((x - sigma * noise) / a, noise, a, sigma),
        atol=1e-5,
        rtol=1e-5,
    )


def test_where_nothing_but_noise_is_left_the_score_cannot_be_raised():
    solver = ddim("v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    assert level(solver, 0) == (0, 1)
    output = torch.randn(2, 16)
    assert torch.equal(solver.raise_score(output, torch.ones(2, 16), 0), output)


def test_which_steps_are_guided(classifier: nn.Module):
    def guided(**options) -> list[int]:
        guidance = replace(EntropyGuidance(classifier, 0.1), **options)
        return [index for index in range(10) if guidance.guides(index, 10)]

    assert guided() == list(range(9))  # never the last
    assert guided(every=5) == [0, 5]
    assert guided(window=(0.3, 0.7)) == [3, 4, 5, 6]
    assert guided(window=(0.5, 1.0), every=2) == [5, 7]


def test_the_sampler_needs_only_a_denoiser_and_a_solver():
    """Plain sampling is the scheduler's own loop, bit for bit."""
    solver = ddim(steps=5)
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    by_hand = x
    for t in solver.timesteps:
        by_hand = solver.scheduler.step(0.1 * by_hand, int(t), by_hand).prev_sample
    seen = []
    sampled = sample(lambda x, t: 0.1 * x, solver, x, callback=lambda index, x0_hat: seen.append((index, x0_hat)))
    assert torch.equal(sampled, by_hand)
    assert [index for index, _ in seen] == [0, 1, 2, 3, 4]
    alpha_bar = solver.scheduler.alphas_cumprod[solver.timesteps[0]]
    torch.testing.assert_close(seen[0][1], (x - (1 - alpha_bar).sqrt() * 0.1 * x) / alpha_bar.sqrt())


def test_a_learner_may_be_so_sure_that_its_gradient_is_all_but_nothing(classifier: nn.Module):
    """Through a denoiser in half precision, each row of the gradient is scaled on its own, whatever the others are."""
    x = torch.randn(3, 1, 8, 8)
    offset = torch.tensor([[0.0], [15.0], [30.0]]) * torch.eye(10)[0]
    through = {}
    for dtype in (torch.float32, torch.float16):
        leaf = x.clone().requires_grad_()
        x0_hat = (0.5 * leaf.to(dtype) ** 3).float()
        through[dtype] = EntropyGuidance(lambda x: classifier(x) + offset, 1.0).gradient(x0_hat, leaf).flatten(1)
    assert through[torch.float32].abs().amax(1)[2] < 6e-8  # float16's smallest number
    unit = [part / part.norm(dim=1, keepdim=True) for part in through.values()]
    torch.testing.assert_close(unit[0], unit[1], atol=5e-3, rtol=0)


def test_guidance_of_some_rows(classifier: nn.Module):
    guidance = EntropyGuidance(classifier, torch.arange(5.0))
    assert torch.equal(torch.as_tensor(guidance.for_rows(slice(1, 3)).omega), torch.tensor([1.0, 2.0]))
    assert EntropyGuidance(classifier, 0.3).for_rows(slice(1, 3)).omega == 0.3


def test_random_directions_belong_to_the_row(classifier: nn.Module):
    """Directions differ between steps and rows. They can be repeated, whichever rows are drawn together."""
    guidance = RandomGuidance(classifier, 0.1, seeds=row_seeds(0, 0, range(5)))
    x = torch.zeros(5, 2, 3)
    first, second = (guidance.gradient(x, x) for _ in range(2))
    part = guidance.for_rows(slice(1, 3))
    assert torch.equal(part.gradient(x[1:3], x[1:3]), first[1:3])
    assert torch.equal(part.gradient(x[1:3], x[1:3]), second[1:3])
    assert len({*first.flatten().tolist(), *second.flatten().tolist()}) == 60


def test_for_random_directions_nothing_is_decoded(classifier: nn.Module):
    """For a latent model, decoding costs about as much as a step."""
    decoded: list[Tensor] = []

    def decode(x0_hat: Tensor) -> Tensor:
        decoded.append(x0_hat)
        return x0_hat

    noise, options = torch.randn(2, 1, 8, 8), {"omega": 0.1, "through": "x0"}
    for guidance, times in (
        (EntropyGuidance(classifier, **options), 3),
        (RandomGuidance(classifier, **options, seeds=row_seeds(0, 0, range(2))), 0),
    ):
        decoded.clear()
        sample(lambda x, t: 0.1 * x, ddim(steps=4), noise, guidance=guidance, decode=decode)
        assert len(decoded) == times
