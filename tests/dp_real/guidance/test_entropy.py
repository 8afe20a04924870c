"""Guidance raises the learner's entropy, row by row, by the amount asked for."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from torch.testing import assert_close

from dp_base.errors import DivergedError
from dp_real.generators.models.denoiser import Denoiser, DenoiserGenerator
from dp_real.guidance.entropy import EntropyGuidance, RandomGuidance, assess, entropy, raise_score, sample
from dp_real.guidance.section import is_guided
from dp_real.runtime.seeds import row_seeds
from tests.dp_real.generators.tiny_pipelines import classifier_of
from tests.refusals import refusal


@pytest.fixture(scope="module")
def classifier(data):
    """Unsure enough of real digits to have gradients everywhere."""
    return classifier_of(data.train.x)


def test_entropy_in_nats_at_its_limits():
    rare, never = -1e4, -math.inf
    logits = torch.tensor([[0, 0, 0, 0], [1e4, 0, 0, 0], [math.log(3), 0, rare, rare], [math.log(3), 0, never, never]])
    expected = torch.tensor([math.log(4), 0, *[math.log(4) - 0.75 * math.log(3)] * 2])
    assert_close(entropy(logits), expected)
    assert_close(assess(lambda x: x, logits, torch.tensor([0, 0, 0, 1])), (expected, torch.tensor([1, 1, 1, 0]).bool()))
    none = assess(lambda x: x, logits[:0], torch.zeros(0).long())  # in a process without rows
    assert [len(each) for each in none] == [0, 0]
    (slope,) = torch.autograd.grad(entropy(logits.requires_grad_()).sum(), logits)
    assert_close(slope[3], slope[2])
    for bad in (math.nan, never):
        with refusal("the learner's logits are not finite", DivergedError):
            assess(lambda x, bad=bad: x.new_full((4, 4), bad), logits.detach(), torch.zeros(4).long())


def margin(logits):
    """How close the second class is to the first one."""
    top = logits.log_softmax(-1).topk(2).values
    return top[:, 1] - top[:, 0]


@pytest.mark.parametrize(
    ("logits", "objective", "message"),
    [
        (lambda x: (2 * x).detach(), entropy, "has no gradient"),
        (lambda x: x.detach() * torch.ones(4, requires_grad=True), entropy, "has no gradient"),
        (lambda x: x, lambda logits: logits.argmax(1).float(), "has no gradient"),
        (lambda x: x.detach().numpy(), entropy, "logits of type ndarray: should be a tensor"),
        (lambda x: x[0], entropy, r"logits \[4\]: should be a tensor \[3, classes\]"),
        (lambda x: x.mean(0, keepdim=True), entropy, r"logits \[1, 4\]: should be a tensor \[3, classes\]"),
        (lambda x: x, Tensor.mean, r"the objective gave \[\] for 3 rows of logits"),
        (lambda x: x[:, :1], entropy, "a classifier of one logit"),
        (lambda x: x, len, "the objective gave a int for 3 rows of logits"),
    ],
)
def test_what_gives_no_number_or_gradient_a_row_is_told(logits, objective, message):
    x = torch.ones(3, 4, requires_grad=True)
    with refusal(message):
        EntropyGuidance(logits, 0.1, objective=objective).gradient(x, x)


def test_an_estimate_that_does_not_come_from_x_is_told():
    x = torch.ones(3, 4, requires_grad=True)
    for x0_hat, leaf in ((x.detach(), x), (2 * x, x.detach())):
        with refusal("x0_hat does not depend on x"):
            EntropyGuidance(lambda x: x, 0.1).gradient(x0_hat, leaf)


@pytest.mark.parametrize("objective", [entropy, margin])
@pytest.mark.parametrize("denoiser", [nn.Linear(8, 8).double(), nn.Identity()])
def test_gradient_is_that_of_the_whole_chain(classifier, denoiser, objective):
    """With respect to x_t through a denoiser, and to x0_hat; in double precision."""
    exact = copy.deepcopy(classifier).double()
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(objective(exact(denoiser(x))).sum(), x)
    assert_close(EntropyGuidance(exact, 1.0, objective=objective).gradient(denoiser(x), x), expected)


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
def test_guided_samples_are_harder_than_plain_ones_from_the_same_noise(generator, classifier, options):
    """A negative strength makes them easier, and none leaves them as they are, bit for bit."""
    labels, seeds = torch.arange(100) % 10, row_seeds(0, 0, range(100))
    plain, guidance = generator.sample(labels, seeds, None), EntropyGuidance(classifier, **options)

    def guided(sign):
        return generator.sample(labels, seeds, replace(guidance, omega=sign * guidance.omega))

    easier, before, harder = (entropy(classifier(x)).mean() for x in (guided(-1), plain, guided(+1)))
    assert easier < before < harder - 0.05  # the sign is the code's, not an accident of leaving the data
    assert guided(0).equal(plain)


def test_relative_push_has_the_asked_length_even_for_a_vanishing_gradient():
    x, direction = torch.randn(2, 3, 64)
    sizes = torch.tensor([[1], [1e-30], [0]])  # the square of the second underflows in float32
    length = 0.1 * x.norm(dim=1, keepdim=True) * sizes.sign()
    expected = x + length * nn.functional.normalize(direction)
    assert_close(EntropyGuidance(entropy, 0.1).move(x, sizes * direction), expected)


def test_a_learner_may_be_so_sure_that_its_gradient_is_all_but_nothing(classifier):
    """Through a denoiser in half precision, each row of the gradient is scaled on its own, whatever the others are."""
    torch.manual_seed(0)
    x = torch.randn(3, 1, 8, 8)
    offset = torch.tensor([[0.0], [15.0], [30.0]]) * torch.eye(3)[0]
    through = {}
    for dtype in (torch.float32, torch.float16):
        leaf = x.clone().requires_grad_()
        x0_hat = (0.5 * leaf.to(dtype) ** 3).float()
        through[dtype] = EntropyGuidance(lambda x: classifier(x) + offset, 1.0).gradient(x0_hat, leaf).flatten(1)
    assert through[torch.float32].abs().amax(1)[2] < 6e-8  # float16's smallest number
    unit = [part / part.norm(dim=1, keepdim=True) for part in through.values()]
    assert_close(unit[0], unit[1], atol=5e-3, rtol=0)


def ddim(kind="epsilon", steps=10, **options):
    scheduler = DDIMScheduler(prediction_type=kind, clip_sample=False, beta_schedule="squaredcos_cap_v2", **options)
    scheduler.set_timesteps(steps)
    return scheduler


ANSWERS = {
    "epsilon": lambda x0, noise, a, sigma: noise,
    "sample": lambda x0, noise, a, sigma: x0,
    "v_prediction": lambda x0, noise, a, sigma: a * noise - sigma * x0,
}
"""Of a denoiser that sees through x_t = a x0 + sigma noise."""


@pytest.mark.parametrize("kind", ANSWERS)
def test_raw_guidance_is_the_same_whatever_the_denoiser_predicts(kind):
    """x_t does not change; the noise in it falls by omega sigma g (eq. 7 with its sign mended)."""
    scheduler, answer = ddim(kind), ANSWERS[kind]
    t = int(scheduler.timesteps[4])
    a = float(scheduler.alphas_cumprod[t]) ** 0.5
    sigma = (1 - a**2) ** 0.5
    x0, noise, gradient = torch.randn(3, 4, 64)
    omega = 0.7
    x = a * x0 + sigma * noise
    raised = raise_score(scheduler, t, answer(x0, noise, a, sigma), omega * gradient)
    noise = noise - omega * sigma * gradient
    assert_close(raised, answer((x - sigma * noise) / a, noise, a, sigma), atol=1e-5, rtol=1e-5)


def test_where_nothing_but_noise_is_left_the_score_cannot_be_raised():
    scheduler = ddim("v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    first = int(scheduler.timesteps[0])
    assert scheduler.alphas_cumprod[first] == 0
    output = torch.randn(2, 16)
    assert raise_score(scheduler, first, output, torch.ones(2, 16)).equal(output)


@pytest.mark.parametrize(
    ("options", "guided"),
    [
        ({}, list(range(9))),  # never the last
        ({"every": 5}, [0, 5]),
        ({"window": (0.3, 0.7)}, [3, 4, 5, 6]),
        ({"window": (0.5, 1.0), "every": 2}, [5, 7]),
    ],
)
def test_which_steps_are_guided(options, guided):
    guidance = EntropyGuidance(entropy, 0.1, **options)
    assert [index for index in range(10) if guidance.guides(index, 10)] == guided


def test_a_pipeline_of_any_length_is_pushed_about_as_far_as_the_papers():
    counts = [sum(is_guided(index, steps, (0.0, 1.0), None) for index in range(steps)) for steps in range(1, 101)]
    assert counts[:11] == [*range(11)]
    assert set(counts[11:]) == {6, 7, 8}


def test_the_sampler_needs_only_a_denoiser_and_a_scheduler():
    """Plain sampling is the scheduler's own loop, bit for bit."""
    scheduler = ddim(steps=5)
    x = by_hand = torch.randn(2, 64)
    expected, seen = [], {}
    for t in scheduler.timesteps:
        by_hand, x0_hat = scheduler.step(0.1 * by_hand, int(t), by_hand, return_dict=False)
        expected.append(x0_hat)
    assert sample(lambda x, t: 0.1 * x, scheduler, x, callback=seen.__setitem__).equal(by_hand)
    assert [*seen] == [0, 1, 2, 3, 4]
    assert_close([*seen.values()], expected)


@pytest.mark.parametrize(("shape", "is_clipped"), [((64,), False), ((1, 8, 8), True)])
def test_the_denoiser_draws_images_within_their_range_and_vectors_of_any_size(shape, is_clipped):
    """One that has learned nothing leaves the noise almost as it is, which exceeds 1 in places."""
    denoiser = Denoiser(shape, 2, width=8, blocks=1)
    guidance = EntropyGuidance(lambda x: x.flatten(1), -0.5)
    for guided in (None, guidance):
        x = DenoiserGenerator(denoiser, shape, 2, 6, 1.0).sample(torch.tensor([0, 1]), row_seeds(0, 0, [0, 1]), guided)
        assert bool((x.abs() <= 1).all()) == is_clipped


def test_random_directions_belong_to_the_row(classifier):
    """Directions differ between steps and rows. They can be repeated, whichever rows are drawn together."""
    guidance = RandomGuidance(classifier, 0.1, seeds=row_seeds(0, 0, range(5)))
    x = torch.zeros(5, 2, 3)
    part = guidance.for_rows(slice(1, 3))
    steps, again = (torch.stack([each.gradient(x, x) for _ in range(2)]) for each, x in ((guidance, x), (part, x[1:3])))
    assert again.equal(steps[:, 1:3])
    assert len(steps.unique()) == 60


def test_for_random_directions_nothing_is_decoded(classifier):
    """For a latent model, decoding costs about as much as a step."""
    guidance = RandomGuidance(classifier, 0.1, through="x0", seeds=row_seeds(0, 0, range(2)))
    sample(lambda x, t: 0.1 * x, ddim(steps=4), torch.randn(2, 1, 8, 8), guidance=guidance, decode=None)
