"""The costs of drawing, as counts rather than times."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from dp_real.sections import GuidanceConfig, SamplingConfig


@dataclass(frozen=True)
class Costs:
    """Samples drawn, kept or not; passes through the denoiser; FLOPs; samples drawn again for being of no use."""

    generated: int = 0
    forwards: int = 0
    backwards: int = 0
    flops: int = 0
    redrawn: int = 0

    def __add__(self, other: Costs) -> Costs:
        return Costs(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, count: int) -> Costs:
        """The costs of `count` such samples."""
        return Costs(*(count * cost for cost in astuple(self)))


class SampleFlops:
    """FLOPs of what is done for one sample. Here they are not counted, so 0; see dp_real.estimate.flops."""

    def __call__(self, guided: bool) -> int:
        """Of a plain sample, or of a candidate or a guided one."""
        return 0

    def of_labels(self) -> int:
        """Of its soft labels; 0 without them."""
        return 0


def plain_sample(forwards: int, flops: SampleFlops) -> Costs:
    """The costs of one plain sample, which passes `forwards` times through the denoiser."""
    return Costs(1, forwards, 0, flops(False))


def guided_sample(sampling: SamplingConfig, guidance: GuidanceConfig, flops: SampleFlops) -> Costs:
    """The costs of one guided sample. Only guidance through "unet", not a control, goes back through the denoiser."""
    through_denoiser = guidance.through == "unet" and guidance.control == "none"
    backwards = len(guidance.guided_steps(sampling.steps)) if through_denoiser else 0
    return Costs(1, sampling.forwards, backwards, flops(True))
