"""The costs of drawing a round, as counts rather than times."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import NamedTuple, Protocol

from dp_real.config import Config
from dp_real.rounds.policies import policy_name


class DrawCounts(NamedTuple):
    """What one process drew for a round."""

    rows: int = 0  # that were drawn, before any was pruned
    samples: int = 0  # generated for these rows, candidates and redrawn ones included
    redrawn: int = 0  # samples that were drawn in place of one of no use


@dataclass(frozen=True)
class GenerationCosts:
    """The costs of generating samples."""

    generated: int = 0  # samples, kept or not
    forwards: int = 0  # passes through the denoiser
    backwards: int = 0  # backward passes through the denoiser
    flops: int = 0
    redrawn: int = 0  # samples that were drawn in place of one of no use

    def __add__(self, other: GenerationCosts) -> GenerationCosts:
        return GenerationCosts(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


def no_price(index: int, counts: DrawCounts) -> GenerationCosts:
    """The costs of a round of a source that generates nothing."""
    return GenerationCosts()


class SampleFlops(Protocol):
    """The floating-point operations of what is done for one sample; usually `MeasuredFlops` of `sample_flops`."""

    def plain(self) -> int:
        """FLOPs of a plain sample."""
        ...

    def guided(self) -> int:
        """FLOPs of a guided sample, or of a candidate with what the learner and the generator do to judge it."""
        ...

    def soft_labels(self) -> int:
        """FLOPs of the soft labels of a sample; 0 if the pool keeps none."""
        ...


@dataclass(frozen=True)
class Prices:
    """Says what the rounds of a run cost, given the FLOPs of a sample."""

    config: Config
    flops: SampleFlops

    def price(self, index: int, counts: DrawCounts) -> GenerationCosts:
        """The costs of what was drawn for round `index`."""
        if not counts.samples:
            return GenerationCosts()
        policy = policy_name(self.config, index)
        flops = self.flops.guided() if policy in ("guided", "chosen") else self.flops.plain()
        return GenerationCosts(
            generated=counts.samples,
            forwards=counts.samples * self.config.forwards,
            backwards=counts.samples * self._backwards if policy == "guided" else 0,
            flops=counts.samples * flops + counts.rows * self.flops.soft_labels(),
            redrawn=counts.redrawn,
        )

    @property
    def _backwards(self) -> int:
        """Backward passes of one guided sample through the denoiser. The control needs no gradient."""
        guidance = self.config.guidance
        if guidance.through != "unet" or guidance.control != "none":
            return 0
        return len(self.config.guided_steps)
