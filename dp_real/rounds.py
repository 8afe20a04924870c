"""How the examples of one round come about: plain, guided by a learner, or over-generated and pruned by one."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dp_real.config import Config, GuidanceConfig
from dp_real.guidance import EntropyGuidance, RandomGuidance, ascend
from dp_real.learner import assess
from dp_real.parallel import slices, spread
from dp_real.protocols import Generator, Learner
from dp_real.seeds import Stream, rng, row_seeds

# What guidance.omega = "auto" starts from and may choose: omega times the number of guided steps, which is what counts.
PUSH_START, PUSH_RANGE = 0.2, (0.02, 1.6)


@dataclass(frozen=True)
class Examples:
    """Rows for the pool, and their cost: samples drawn for them, kept or not, and passes through the denoiser."""

    x: Tensor
    y: Tensor
    seeds: np.ndarray
    omega: np.ndarray
    generated: int
    forwards: int
    backwards: int = 0


def forwards_per_sample(config: Config) -> int:
    """Classifier-free guidance evaluates the denoiser twice a step."""
    return config.sampling.steps * (1 if config.sampling.guidance_scale == 1 else 2)


def draw_plain(config: Config, generator: Generator, round_index: int, labels: Tensor) -> Examples:
    """Unguided samples of the classes int64 [n]."""
    n = len(labels)
    seeds = row_seeds(config.seed, round_index, range(n))
    x = in_blocks(slice(0, n), config.sampling.block_size, lambda b: generator.sample(labels[b], seeds[b], None))
    return Examples(x, labels, seeds, np.zeros(n, np.float32), n, n * forwards_per_sample(config))


def draw_pruned(config: Config, generator: Generator, round_index: int, labels: Tensor, selector: Learner) -> Examples:
    """Draw `practice.oversample` times as many plain samples; keep what the selector finds hardest of each class."""
    drawn = draw_plain(config, generator, round_index, labels.repeat(config.practice.oversample))
    hardest = assess(selector, drawn.x, drawn.y)[0].argsort(descending=True, stable=True)
    counts = labels.bincount(minlength=generator.n_classes).tolist()
    rows = torch.cat([hardest[drawn.y[hardest] == label][:count] for label, count in enumerate(counts)])
    return replace(drawn, x=drawn.x[rows], y=drawn.y[rows], seeds=drawn.seeds[rows], omega=drawn.omega[rows])


def draw_guided(
    config: Config, generator: Generator, round_index: int, labels: Tensor, selector: Learner, omega: float
) -> tuple[Examples, float]:
    """Samples that the selector finds hard, and the strength for the next round: omega, unless it steers itself.

    Under omega = "auto" the strength moves after every `guidance.steer_every` rows, a number that belongs to the
    configuration: the rows do not depend on how they were spread over batches or processes.
    """
    options, n = config.guidance, len(labels)
    seeds = row_seeds(config.seed, round_index, range(n))
    shares = (
        rng(config.seed, Stream.OMEGA, round_index).random(n, np.float32) if options.spread else np.ones(n, np.float32)
    )
    strengths = np.empty(n, np.float32)
    steps = guided_steps(config)

    def draw(block: slice) -> Tensor:
        guidance = make_guidance(options, selector.logits, torch.from_numpy(strengths[block]))
        if options.control == "random-direction":
            guidance = replace(guidance, through="x0")  # no gradient is needed
            guidance = RandomGuidance(**vars(guidance), seeds=seeds[block])
        if options.control == "finished":
            return ascend(guidance, generator.sample(labels[block], seeds[block], None), steps)
        return generator.sample(labels[block], seeds[block], guidance)

    parts = []
    for rows in slices(slice(0, n), options.steer_every or n):
        strengths[rows] = omega * shares[rows]
        parts.append(in_blocks(rows, config.sampling.block_size, draw))
        if options.omega == "auto":
            _, correct = assess(selector, parts[-1], labels[rows])
            omega = steer(omega * steps, 1 - correct.double().mean().item(), options.wrong_share) / steps
    through_denoiser = options.through == "unet" and options.control == "none"
    cost = {"forwards": n * forwards_per_sample(config), "backwards": n * steps if through_denoiser else 0}
    return Examples(torch.cat(parts), labels, seeds, strengths, n, **cost), omega


def make_guidance(
    options: GuidanceConfig, logits: Callable[[Tensor], Tensor], omega: float | Tensor
) -> EntropyGuidance:
    """Entropy guidance as configured, at a strength."""
    return EntropyGuidance(logits, omega, options.scale, options.apply, options.through, options.window, options.every)


def guided_steps(config: Config) -> int:
    """How many steps of the sampler are guided."""
    guidance, steps = make_guidance(config.guidance, lambda x: x, 0.0), config.sampling.steps
    return max(1, sum(guidance.guides(index, steps) for index in range(steps)))


def steer(push: float, wrong: float, target: float) -> float:
    """The push for the next rows, given what share of the last ones the learner gets wrong; a factor 2 at most."""
    factor = float(np.clip(target / wrong, 0.5, 2)) if wrong else 2.0
    return float(np.clip(push * factor, *PUSH_RANGE))


def in_blocks(rows: slice, size: int, draw: Callable[[slice], Tensor]) -> Tensor:
    """Draw rows in blocks of `size`; a block is drawn whole, whoever draws it, so that it is the same bit for bit."""
    return torch.cat(spread(draw, slices(rows, size)))
