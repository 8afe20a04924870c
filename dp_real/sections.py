"""The base of all configuration sections, the sections that every run has, and paths."""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from os.path import expanduser
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PlainValidator,
    ValidationInfo,
    model_validator,
)

from dp_base.errors import Finding
from dp_base.registry import code_digest

FOLDER = "folder"
"""The key of the validation context that has the folder from which relative paths are meant; none: they stay."""
HUB = "hub:"


class FromCommandLine(str):
    """A value given on the command line, where relative paths are meant from the current folder."""


def anchored(value: Any, info: ValidationInfo, only_if_there: bool = False) -> Any:
    """An absolute path for a relative one, if somebody says from where that is meant; ~ is the home folder."""
    if not isinstance(value, str):
        return value
    home = type(value)(expanduser(value))
    folder = Path.cwd() if isinstance(value, FromCommandLine) else (info.context or {}).get(FOLDER)
    if folder is None or not home or home.startswith(HUB) or os.path.isabs(home):
        return str(home)
    path = Path(os.path.normpath(Path(folder).absolute() / home))
    return str(path if path.exists() or not only_if_there else home)


Place = Annotated[str, BeforeValidator(anchored)]
"""A folder or files, where ~ is the home folder, or what of the hub is meant."""
ModelPlace = Annotated[str, BeforeValidator(partial(anchored, only_if_there=True))]
"""A folder of a model, or without such a folder its id on the hub."""


class Section(BaseModel):
    """Base of all sections: frozen, without unknown keys, inf, nan, or true and false in place of a number.

    A key whose default is None takes "none" for it, since TOML has no word for that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _check_values(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        known = {key: (value, cls.model_fields[key]) for key, value in values.items() if key in cls.model_fields}
        for key, (value, field) in known.items():
            if isinstance(value, bool) and field.annotation in (int, float):
                raise ValueError(f"{key} = {str(value).lower()}: should be a number")
        absent = [key for key, (value, field) in known.items() if value == "none" and field.default is None]
        return {**values, **dict.fromkeys(absent)}

    def code_digest(self) -> str:
        """Of the code that this kind runs; empty for this project's."""
        return code_digest(type(self).__module__)


class PartConfig(Section):
    """The base of sections that may read weights."""

    def weights(self) -> dict[str, str]:
        """Folders or hub ids by configuration key."""
        return {}

    def weights_digests(self) -> dict[str, str]:
        """Empty for weights that are not here."""
        from dp_real.runtime.model_folders import weights_digest

        return {key: weights_digest(model) for key, model in self.weights().items()}

    def requirements(self) -> list[Finding]:
        """Packages and keys, and `weights` that are neither a folder nor a hub id."""
        return []


Count = Annotated[int, Field(gt=0, le=10**9)]
"""A number of steps or examples."""
CountOrNone = Annotated[int, Field(ge=0, le=10**9)]
"""The same, or 0."""
Rows = Annotated[int, Field(gt=0, le=10**6)]
"""Rows that are held in memory together."""
Width = Annotated[int, Field(gt=0, le=2**14)]
"""A width of a network, or pixels a side."""
Share = Annotated[float, Field(ge=0, lt=1)]
"""A part of something, but never all."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A seed; TOML's integers end there."""


class SamplingConfig(Section):
    """How samples are drawn: DDIM, or Euler for a pipeline that was trained by flow matching."""

    steps: int = Field(default=20, ge=1, le=1000, description="of the sampler")
    guidance_scale: NonNegativeFloat = Field(
        default=1.0, description="diffusers' convention, the paper's lambda + 1; 1 or less: no CFG"
    )
    block_size: Rows = Field(default=100, description="rows drawn together; part of the result, unlike a device batch")

    @property
    def branches(self) -> int:
        return 1 if self.guidance_scale <= 1 else 2


LARGEST_OMEGA = 1e30  # times an entropy, it is well inside of float32


def _strength(value: Any) -> float | Literal["auto"]:
    if value == "auto":
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_OMEGA:
        return float(value)
    raise ValueError(f"should be 'auto' or a number from 0 to {LARGEST_OMEGA:g}")


PLACES = ("{}", "{definition}", "{synonyms}")
"""What stands for the class in a prompt."""


def not_empty(templates: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse to have no prompts."""
    if not templates:
        raise ValueError("should have at least one prompt")
    return templates


def template(*further: str) -> Callable[[str], str]:
    """A check that a prompt has a place for the class, and no others but `further` ones."""

    def checked(prompt: str) -> str:
        if not any(place in prompt for place in PLACES):
            raise ValueError("should have {} where the class's name goes, or all classes would be asked for alike")
        known = (*PLACES, *further)
        for place in re.findall(r"\{\w+\}", prompt):
            if place not in known:
                raise ValueError(f"{place} is no place for anything: {', '.join(known[:-1])} and {known[-1]} are")
        return prompt

    return checked


Templates = Annotated[tuple[Annotated[str, AfterValidator(template())], ...], AfterValidator(not_empty)]
"""Prompts with {}, {definition} or {synonyms} in place of the class."""


class GuidanceConfig(Section):
    """Entropy guidance, see dp_real.guidance.entropy."""

    SAMPLER_KEYS: ClassVar[tuple[str, ...]] = ("control", "scale", "through", "window", "every")
    """The keys that say how the sampler is guided. They mean nothing where samples are chosen instead."""

    candidates: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="plain samples drawn for a row, one of which is chosen; 1: the sampler is guided",
    )
    likelihood_weight: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        description="of choosing: so many times the generator's log p(label | sample) is added to the entropy",
    )
    omega: Annotated[float | Literal["auto"], PlainValidator(_strength)] = Field(
        default="auto", description="strength; 0: none; auto: steered so that wrong_share of the new rows is wrong"
    )
    wrong_share: float = Field(
        default=0.2, gt=0, lt=1, description="of the rows; 0.4 where labels are exact near boundaries"
    )
    objective: str = Field(default="entropy", description="what makes a sample hard; entropy, or one registered")
    control: Literal["none", "random-direction"] = Field(
        default="none", description="for comparison: guide in random directions"
    )
    scale: Literal["relative", "raw"] = Field(
        default="relative",
        description="relative: omega times the norm of x_t is a step's length; raw: omega times the gradient",
    )
    through: Literal["unet", "x0"] = Field(
        default="unet", description="what the gradient goes through; x0: not the denoiser, which is cheaper"
    )
    window: tuple[float, float] = Field(
        default=(0.0, 1.0), description="part of the trajectory that is guided, 0 being noise"
    )
    every: Count = Field(default=1, description="1: guide each step there; 2: every second one")

    @model_validator(mode="after")
    def _check(self) -> "GuidanceConfig":
        if not is_window(self.window):
            raise ValueError(f"window = {list(self.window)} must be [begin, end] with 0 <= begin < end <= 1")
        if self.scale == "raw" and self.omega == "auto":
            raise ValueError("omega = 'auto' is for scale = 'relative'; give raw guidance a number")
        if self.scale == "raw" and self.control != "none":
            raise ValueError(f"control = {self.control!r} is for scale = 'relative', where a step's length is known")
        if self.candidates > 1 and self.of_sampler:
            raise ValueError(
                f"leave out {', '.join(self.of_sampler)}, for guided samples: candidates = {self.candidates} are plain"
            )
        if self.likelihood_weight and self.candidates == 1:
            raise ValueError(
                f"likelihood_weight = {self.likelihood_weight:g} is for samples that are chosen: "
                "set candidates to at least 2"
            )
        return self

    @property
    def of_sampler(self) -> list[str]:
        """The SAMPLER_KEYS that are not at their defaults."""
        return [key for key in self.SAMPLER_KEYS if getattr(self, key) != type(self).model_fields[key].default]

    @property
    def guides_sampler(self) -> bool:
        """If not, samples are plain, and may be chosen among."""
        return bool(self.omega) and self.candidates == 1

    def guided_steps(self, steps: int) -> list[int]:
        return [index for index in range(steps) if is_guided(index, steps, self.window, self.every)]


def is_window(window: tuple[float, float]) -> bool:
    """A part [begin, end] of the trajectory."""
    return 0 <= window[0] < window[1] <= 1


def is_guided(index: int, steps: int, window: tuple[float, float], every: int) -> bool:
    """Each `every`-th step within a window of the trajectory (0 noise, 1 image), but never the last.

    No later step could repair the sample.
    """
    begin = round(window[0] * steps)
    end = round(window[1] * steps)
    return begin <= index < min(end, steps - 1) and (index - begin) % every == 0


class PoolConfig(Section):
    """How the pool keeps its examples (dp_real.pool)."""

    storage: str = Field(
        default="float32",
        description="float32, as computed; uint8, images in bytes; jpeg, images as files, always read from disk; "
        "or what the data's own kind is kept in",
    )
    distinct: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="drop examples that are as much like an earlier one as this, 1 being the same; 0: none are dropped",
    )
    marks: Place | None = Field(
        default=None, description="a CSV file of dp real review: the examples marked there are left out; none: all stay"
    )
    soft_labels: bool = Field(
        default=False,
        description="keep the generator's own probability of each class, and train on it in place of the label",
    )
    size: int = Field(
        default=0, ge=0, le=2**14, description="pixels a side, for crops with detail; 0: as the learner sees images"
    )


class TrainingConfig(Section):
    """AdamW with a schedule of warm-up, constant rate and cool-down (WSD; paper App. D). Lengths are in steps."""

    steps: Count = Field(description="optimizer steps")
    batch_size: int = Field(
        default=64, ge=0, le=10**6, description="rows of a step, over all processes; 0: the whole pool, in each"
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="AdamW's, between warm-up and cool-down")
    weight_decay: NonNegativeFloat = Field(default=0.0, description="AdamW's")
    max_grad_norm: NonNegativeFloat = Field(
        default=0.0, description="longer gradients are shortened to it; 0: none are"
    )
    warmup: Share = Field(default=0.1, description="share of the steps")
    cooldown: Share = Field(default=0.2, description="share of the steps; no data is added in it")
    ema_decay: Share = Field(default=0.0, description="0: no averaging; the paper: 0.999")
    label_smoothing: Share = Field(default=0.0, description="share of a label that all classes share")
    crop: float = Field(default=0.0, ge=0, le=1, description="least area of a random resized crop; 0: whole images")
    flip: bool = Field(default=False, description="mirror half of the images")
    mixup: float = Field(
        default=0.0, ge=0, le=1e6, description="Beta(a, a) of the mixing weight; 0: none; the paper: 0.5"
    )
    cutmix: float = Field(default=0.0, ge=0, le=1e6, description="Beta(a, a) of the area kept; 0: none; the paper: 1.0")
    randaugment: int = Field(
        default=0, ge=0, le=10, description="random operations on each batch's images (RandAugment); 0: none"
    )
    logit_adjustment: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="times the log of the classes' shares, among real rows or among generated ones as the row is, is "
        "added to logits in training; where classes are few, take label_smoothing = 0, or the rarest one is predicted "
        "everywhere",
    )
    balanced_batches: bool = Field(default=False, description="draw rows of each class alike, however few it has")
    randaugment_magnitude: int = Field(default=9, gt=0, lt=30, description="of these operations, of 30")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the forward pass in training and evaluation; guidance is float32"
    )
    compile: bool = Field(
        default=False, description="torch.compile the learner's training: minutes at first, then faster"
    )

    @property
    def warmup_steps(self) -> int:
        return round(self.warmup * self.steps)

    @property
    def cooldown_steps(self) -> int:
        return round(self.cooldown * self.steps)

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        if self.warmup + self.cooldown > 1:
            raise ValueError(f"warmup + cooldown = {self.warmup + self.cooldown:g} leaves no step between them")
        return self


class PracticeConfig(PartConfig):
    """Algorithm 1 of the paper: N = initial, P = increment, k = additions, T_max = patience, tau = evaluate_every."""

    initial: CountOrNone = Field(description="samples before training")
    increment: Count = Field(default=1, description="samples of an addition")
    additions: CountOrNone = Field(default=0, description="at most; 0: a static run")
    patience: Count = Field(default=3, description="evaluations without a new best accuracy, before samples are added")
    watch: Literal["accuracy", "balanced"] = Field(
        default="accuracy",
        description="what patience waits on; accuracy, of the validation examples, as in the paper; balanced, the mean "
        "of the classes' own, where classes are unequal",
    )
    min_delta: float = Field(default=0.0, ge=0, description="by which a new best accuracy exceeds the last one")
    patience_growth: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="T_max grows as (pool / N) to this power, from `patience` at N; 0: it is fixed; 1: in proportion",
    )
    in_warmup: bool = Field(
        default=False, description="add in warm-up, too, once the accuracy is above chance beyond doubt"
    )
    evaluate_every: Count = Field(default=50, description="optimizer steps between evaluations")
    oversample: int = Field(
        default=1, ge=1, le=1000, description="draw this many times the rows, unguided, and keep some"
    )
    keep: str = Field(
        default="hardest",
        description="which are kept; hardest, of additions only, or one that is registered, of the initial ones, too",
    )
    encoder: ModelPlace | None = Field(
        default=None,
        description="what sees images in the arms covariance, probe and zero-shot: a folder or hub id of transformers; "
        "none: a learner that the generator's real images train",
    )
    real: CountOrNone = Field(
        default=0, description="how many initial examples are real training images; the others are generated"
    )
    imbalance: float = Field(
        default=1.0,
        ge=1,
        le=1e6,
        description="of the real examples in the pool: how many times more the most frequent class has than the rarest",
    )
    classes: Literal["balanced", "fill"] = Field(
        default="balanced",
        description="of generated examples: balanced, all alike; fill, those first that have the fewest examples",
    )
    new_sample_weight: float = Field(
        default=1.0, gt=0, le=1e9, description="how often the latest round's rows are drawn"
    )

    def weights(self) -> dict[str, str]:
        return {"practice.encoder": self.encoder} if self.encoder else {}

    @property
    def initial_oversample(self) -> int:
        """Draws per initial example. Before training, no learner knows which are hard."""
        return 1 if self.keep == "hardest" else self.oversample

    @property
    def draws(self) -> bool:
        return self.additions > 0 or self.real < self.initial

    @model_validator(mode="after")
    def _check(self) -> "PracticeConfig":
        if self.imbalance > 1 and not self.real:
            raise ValueError(f"imbalance = {self.imbalance:g} is for real examples: set real")
        if self.real > self.initial:
            raise ValueError(f"real = {self.real}: at most all of the initial = {self.initial} examples")
        return self

    def t_max(self, pool_size: int) -> int:
        """In evaluations; with a growth of 1, patience takes as many passes over any pool."""
        return max(1, round(self.patience * (pool_size / (self.initial or self.increment)) ** self.patience_growth))


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("names one twice")
    return names


class CompareConfig(Section):
    """What `dp real compare` does unless its options say otherwise. A run does not look at it."""

    arms: Annotated[tuple[str, ...], AfterValidator(_distinct)] = Field(
        default=("practice", "static"), min_length=1, description="the last is the baseline"
    )
    seeds: int = Field(default=4, ge=1, le=100_000, description="runs of each arm, compared in pairs")
    splits: int = Field(default=0, ge=0, le=100_000, description="data splits, each with a generator; 0: one a seed")
