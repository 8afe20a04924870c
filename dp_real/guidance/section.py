"""How samplers draw, and how they are guided."""

from collections.abc import Sequence
from numbers import Real
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PlainValidator, model_validator

from dp_real.runtime.section import Count, Rows, Section


class SamplingConfig(Section):
    """How samples are drawn: by DDIM, or by Euler for pipelines trained by flow matching."""

    steps: int = Field(default=20, ge=1, le=1000, description="of the sampler")
    guidance_scale: NonNegativeFloat = Field(
        default=1.0, description="in diffusers' convention, the paper's lambda + 1; 1 or less: no CFG"
    )
    block_size: Rows = Field(default=100, description="rows drawn together, which changes them by rounding")

    @property
    def branches(self) -> int:
        return 1 if self.guidance_scale <= 1 else 2


GUIDED_STEPS = 6  # of 30, as in the authors' earlier code
MAX_OMEGA = 1e30  # times an entropy, it is well within float32


def _strength(value: Any) -> float | Literal["auto"]:
    if value == "auto":
        return value
    if isinstance(value, Real) and 0 <= float(value) <= MAX_OMEGA:
        return float(value)
    raise ValueError(f"should be 'auto' or a number from 0 to {MAX_OMEGA:g}")


class GuidanceConfig(Section):
    """Entropy guidance, see dp_real.guidance.entropy."""

    SAMPLER_KEYS: ClassVar[tuple[str, ...]] = ("control", "scale", "through", "window", "every")
    """The keys of guided samplers. They have no effect if samples are selected instead."""

    candidates: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="plain samples drawn for each row, one of which is selected; 1: the sampler is guided",
    )
    likelihood_weight: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        description="w of the selection by entropy + w * log p(label | sample), with the generator's p",
    )
    omega: Annotated[float | Literal["auto"], PlainValidator(_strength)] = Field(
        default="auto", description="strength; 0: none; auto: adapted until wrong_share of the new rows is wrong"
    )
    wrong_share: float = Field(
        default=0.2, gt=0, lt=1, description="of the new rows; 0.4 where labels near boundaries are exact"
    )
    objective: str = Field(default="entropy", description="what makes a sample hard: entropy, or one registered")
    control: Literal["none", "random-direction"] = Field(
        default="none", description="for comparison: guide in random directions"
    )
    scale: Literal["relative", "raw"] = Field(
        default="relative",
        description="relative: a step's length is omega times the norm of x_t; raw: omega times the gradient's",
    )
    through: Literal["unet", "x0"] = Field(
        default="unet", description="the gradient's path; x0: without the denoiser, which is cheaper"
    )
    window: tuple[float, float] = Field(
        default=(0.0, 1.0), description="guided part of the trajectory, from 0 (noise) to 1 (image)"
    )
    every: Count = Field(default=1, description="1: guide each step there; 2: each second one")

    @model_validator(mode="after")
    def _check(self) -> "GuidanceConfig":
        if not is_window(self.window):
            raise ValueError(f"window = {list(self.window)} must be [begin, end] with 0 <= begin < end <= 1")
        if self.scale == "raw" and self.omega == "auto":
            raise ValueError("omega = 'auto' needs scale = 'relative'; give raw guidance a number")
        if self.scale == "raw" and self.control != "none":
            raise ValueError(f"control = {self.control!r} needs scale = 'relative', where a step's length is known")
        if self.candidates > 1 and self.of_sampler:
            raise ValueError(
                f"leave out {', '.join(self.of_sampler)}: candidates = {self.candidates} are plain samples"
            )
        if self.likelihood_weight and self.candidates == 1:
            raise ValueError(
                f"likelihood_weight = {self.likelihood_weight:g} is for the selection of samples: "
                "set candidates to at least 2"
            )
        return self

    @property
    def of_sampler(self) -> list[str]:
        """The SAMPLER_KEYS that are not at their defaults."""
        return [key for key in self.SAMPLER_KEYS if getattr(self, key) != type(self).model_fields[key].default]

    @property
    def guides_sampler(self) -> bool:
        """Whether the sampler is guided; if not, samples are plain."""
        return bool(self.omega) and self.candidates == 1

    def guided_steps(self, steps: int) -> list[int]:
        return [index for index in range(steps) if is_guided(index, steps, self.window, self.every)]


def is_window(window: tuple[float, float]) -> bool:
    """Whether [begin, end] is a part of the trajectory."""
    return isinstance(window, Sequence) and len(window) == 2 and 0 <= window[0] < window[1] <= 1


def is_guided(index: int, steps: int, window: tuple[float, float], every: int | None) -> bool:
    """Whether a step is guided: each `every`-th in a window of the trajectory (0 noise, 1 image), but never the last.

    After that nothing could repair the sample. `every` None guides six to eight of twelve steps or more, and
    all but the last of fewer.
    """
    every = every or max(1, steps // GUIDED_STEPS)
    begin = round(window[0] * steps)
    end = round(window[1] * steps)
    return begin <= index < min(end, steps - 1) and (index - begin) % every == 0
