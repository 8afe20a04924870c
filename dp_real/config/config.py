"""A run's configuration: TOML in, a validated frozen object out. Unknown keys and impossible values are InputErrors."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainValidator,
    PositiveInt,
    ValidationError,
    model_validator,
)

from dp_base.errors import InputError
from dp_real.imagenet.classes import TASKS, Task


class Section(BaseModel):
    """Frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DigitsConfig(Section):
    """scikit-learn's digits."""

    source: Literal["digits"]
    split: NonNegativeInt = Field(
        default=0, description="which random split into generator, validation and test images"
    )


class FashionConfig(Section):
    """Fashion-MNIST, from its IDX files."""

    source: Literal["fashion"]
    folder: str = Field(
        default="/usr/share/datasets/fashion-mnist",
        description="holds train-images-idx3-ubyte and the other three, .gz or not; the default is Debian's",
    )
    split: NonNegativeInt = Field(default=0, description="which random split into generator and validation images")


class GaussianDataConfig(Section):
    """The theory's own data: x ~ N(0, I), y = 1[x_0 > 0] (dp_real.generators.models.gaussian)."""

    source: Literal["gaussian"]
    split: NonNegativeInt = Field(default=0, description="seed of the validation and test rows")
    dimension: PositiveInt = 200
    validation: PositiveInt = 1000
    test: PositiveInt = 50_000


def _classes(value: Any) -> tuple[str, ...] | Task | None:
    if value is None or value in TASKS:
        return value
    names = tuple(value) if isinstance(value, list | tuple) else ()
    if len(names) < 2 or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"should be a list of at least two names, or one of {', '.join(TASKS)}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is in it twice; prompts and folders could not tell the two apart")
    return names


class FolderConfig(Section):
    """Real images in folders, shards or data sets (dp_real.data.sets.places says how each is named)."""

    source: Literal["folder"]
    validation: str = Field(description="where the images are that patience watches")
    test: str | None = Field(default=None, description="likewise, for the final accuracy; none: validation once more")
    train: str | None = Field(default=None, description="likewise, for a generator that is trained here, and arm real")
    sets: dict[str, str] = Field(
        default={}, description="name = where: further sets for the end; they may have some of the classes only"
    )
    classes: Annotated[tuple[str, ...] | Task | None, BeforeValidator(_classes)] = Field(
        default=None, description="names in the order of the labels, or an ImageNet; none: validation's folders, sorted"
    )
    size: PositiveInt = Field(default=224, description="pixels a side: the shorter one resized, the longer one cropped")
    split: NonNegativeInt = Field(default=0, description="seed of a generator that is trained here")

    @model_validator(mode="after")
    def _check(self) -> "FolderConfig":
        taken = [name for name in ("validation", "test", "train") if name in self.sets]
        if taken:
            raise ValueError(f"sets.{taken[0]}: a set of that name is there already; call it something else")
        if self.classes is None and re.match("hub:|.*[.](tar|parquet)(#|$)", self.validation):
            raise ValueError(f"classes must be named: there are no folders in validation = {self.validation!r}")
        return self


class StandInConfig(Section):
    """Noise in the folders of ImageNet and its relatives: the whole path without the data (dp_real.data.stand_in)."""

    source: Literal["stand-in"]
    classes: Task = "imagenet100"
    size: PositiveInt = Field(default=32, description="pixels a side")
    images: PositiveInt = Field(default=1, description="of each class, in each set")
    split: NonNegativeInt = Field(default=0, description="seed of the noise")


class DenoiserConfig(Section):
    """A small class-conditional denoiser and how it is trained on first use (dp_real.generators.models.denoiser)."""

    kind: Literal["denoiser"]
    width: PositiveInt = 256
    blocks: PositiveInt = 3
    train_steps: PositiveInt = 3000
    train_batch: PositiveInt = 128
    train_learning_rate: float = Field(default=2e-3, gt=0)
    label_dropout: float = Field(default=0.1, ge=0, lt=1, description="trains the unconditional branch of CFG")


def _names_the_class(template: str) -> str:
    if "{}" not in template:
        raise ValueError("should have {} where the class's name goes, or all classes would be asked for alike")
    return template


Templates = Annotated[tuple[Annotated[str, AfterValidator(_names_the_class)], ...], Field(min_length=1)]


class LatentConfig(Section):
    """A small Stable Diffusion pipeline and how it is trained on first use."""

    kind: Literal["latent"]
    prompts: Templates = Field(
        default=("a photo of a {}", "a picture of a {}", "{}"), description="a row's seed picks one; {}: the class"
    )
    vae_steps: NonNegativeInt = Field(default=1500, description="0: random weights, to try out what surrounds them")
    vae_batch: PositiveInt = 64
    unet_steps: NonNegativeInt = Field(default=3600, description="likewise")
    unet_batch: PositiveInt = 96
    caption_dropout: float = Field(default=0.12, ge=0, lt=1, description="trains the unconditional branch of CFG")


class DiffusersConfig(Section):
    """A latent diffusion pipeline of diffusers: Stable Diffusion 1, 2, XL, 3, DiT (generators.pipelines.adapters)."""

    kind: Literal["diffusers", "stable-diffusion"]
    model: str = Field(description="a folder, or a hub id, which is fetched unless it is in the hub's cache")
    prompts: Templates = Field(
        default=("a photo of a {}",), description="a row's seed picks one; {}: the class. A DiT takes none"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    decoder: Literal["full", "tiny"] = Field(
        default="full", description="decodes x0_hat for the guidance; images always come from the pipeline's own"
    )
    tiny_decoder: str | None = Field(
        default=None, description="the AutoencoderTiny: madebyollin/taesd for 1 and 2 and DiT, taesdxl for XL, taesd3"
    )
    batch_size: NonNegativeInt = Field(
        default=0, description="rows on the GPU at a time, halved when memory runs out; 0: as many as fit"
    )
    checkpointing: bool = Field(default=False, description="compute activations twice instead of keeping them")
    slicing: bool = Field(default=False, description="decode row by row")
    compile: bool = Field(default=False, description="torch.compile the denoiser: minutes at first, then faster")
    offload: bool = Field(default=False, description="wait in the CPU's memory while the learner trains")

    @model_validator(mode="after")
    def _check(self) -> "DiffusersConfig":
        if self.decoder == "tiny" and self.tiny_decoder is None:
            raise ValueError("decoder = 'tiny' needs tiny_decoder, for example madebyollin/taesd")
        return self

    @property
    def guidance_decoder(self) -> str | None:
        """What decodes x0_hat for the guidance in place of the pipeline's own VAE."""
        return self.tiny_decoder if self.decoder == "tiny" else None


class GaussianConfig(Section):
    """The exact score of the gaussian data (dp_real.generators.models.gaussian)."""

    kind: Literal["gaussian"]


class SamplingConfig(Section):
    """DDIM, or Euler for a pipeline that was trained by flow matching."""

    steps: int = Field(default=20, ge=1, le=1000)
    guidance_scale: float = Field(
        default=1.0, ge=0, description="diffusers' convention, the paper's lambda + 1; 1: no CFG"
    )
    block_size: PositiveInt = Field(
        default=100, description="rows drawn together; part of the result, unlike a device batch"
    )


def _strength(value: Any) -> float | Literal["auto"]:
    if value == "auto":
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    raise ValueError("should be 'auto' or a number of at least 0")


class GuidanceConfig(Section):
    """Entropy guidance, see dp_real.guidance.entropy."""

    omega: Annotated[float | Literal["auto"], PlainValidator(_strength)] = Field(
        default="auto", description="strength; 0: none; auto: steered so that wrong_share of the new rows is wrong"
    )
    wrong_share: float = Field(default=0.4, gt=0, lt=1, description="of the rows, for the learner that guides them")
    steer_every: NonNegativeInt = Field(default=0, description="rows between moves of an automatic omega; 0: a round")
    spread: bool = Field(default=False, description="a row's strength is uniform on [0, omega]")
    selector: Literal["current", "first"] = Field(
        default="current", description="guided by the learner as it is, or as it was at the first addition"
    )
    control: Literal["none", "random-direction", "finished"] = Field(
        default="none", description="for comparison: push at random, or push finished samples only"
    )
    scale: Literal["relative", "raw"] = "relative"
    apply: Literal["after", "before"] = "after"
    through: Literal["unet", "x0"] = "unet"
    window: tuple[float, float] = (0.0, 1.0)
    every: PositiveInt = 1
    check: Literal["none", "diffusion-classifier"] = Field(
        default="none", description="of labels: draw again what the generator takes for another class (label_check)"
    )
    check_threshold: float = Field(default=0.3, ge=0, le=1, description="least probability of the label, among three")

    @model_validator(mode="after")
    def _check(self) -> "GuidanceConfig":
        if not 0 <= self.window[0] < self.window[1] <= 1:
            raise ValueError(f"window = {list(self.window)} must be [begin, end] with 0 <= begin < end <= 1")
        if self.scale == "raw" and self.apply == "before":
            raise ValueError("apply = 'before' is for scale = 'relative'; raw guidance acts inside the step")
        if self.scale == "raw" and self.omega == "auto":
            raise ValueError("omega = 'auto' is for scale = 'relative'; give raw guidance a number")
        return self


class MLPConfig(Section):
    """A perceptron on the flattened sample."""

    kind: Literal["mlp"]
    hidden: tuple[PositiveInt, ...] = (64,)


class ConvConfig(Section):
    """A small convolutional classifier: per width 3 x 3 convolution, ReLU, halving; then a hidden layer."""

    kind: Literal["conv"]
    widths: tuple[PositiveInt, ...] = (32, 64)
    hidden: PositiveInt = 128


class TransformersConfig(Section):
    """An image classifier of transformers, existing or by default a fresh ViT-B/16 (learners.models.classifier)."""

    kind: Literal["transformers"]
    model: str | None = Field(
        default=None, description="a folder, or a hub id, which is fetched unless it is in the hub's cache; none: fresh"
    )
    architecture: str = Field(default="vit", description="a fresh model's type, as transformers names it")
    config: dict[str, Any] = Field(
        default={}, description="a fresh model's sizes as transformers names them, e.g. patch_size"
    )

    @model_validator(mode="after")
    def _check(self) -> "TransformersConfig":
        if self.model and self.config:
            raise ValueError(f"config is for a fresh model; the sizes of model = {self.model!r} are its own")
        return self


class LinearConfig(Section):
    """Ridge or logistic regression for two classes, solved on the whole pool at each step (learners.models.linear)."""

    kind: Literal["linear"]
    loss: Literal["ridge", "logistic"] = "ridge"
    lam: float = Field(gt=0, description="the penalty is lam/2 |w|², beside the mean loss of the rows")
    kappa: float = Field(default=1.0, gt=0, description="the entropy is that of sigmoid(kappa w·x)")


class PoolConfig(Section):
    """How the pool keeps its examples (dp_real.pool.pool)."""

    storage: Literal["float32", "uint8", "jpeg"] = Field(
        default="float32", description="as computed; images in bytes; images as JPEG files, always read from disk"
    )
    quality: int = Field(default=95, ge=1, le=100, description="of JPEG files")
    memory: float = Field(default=8.0, ge=0, description="GiB; a larger pool is read from disk as training goes on")


class TrainingConfig(Section):
    """AdamW under a warm-up, constant, cool-down schedule (WSD; paper App. D), counted in optimizer steps."""

    steps: PositiveInt
    batch_size: NonNegativeInt = Field(default=64, description="0: the whole pool")
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps")
    cooldown: float = Field(default=0.2, ge=0, lt=1, description="share of the steps; no data is added in it")
    ema_decay: float = Field(default=0.0, ge=0, lt=1, description="0: no averaging; the paper: 0.999")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    crop: float = Field(default=0.0, ge=0, le=1, description="least area of a random resized crop; 0: whole images")
    flip: bool = Field(default=False, description="mirror half of the images")
    mixup: float = Field(default=0.0, ge=0, description="Beta(a, a) of the mixing weight; 0: none; the paper: 0.5")
    cutmix: float = Field(default=0.0, ge=0, description="Beta(a, a) of the area kept; 0: none; the paper: 1.0")

    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="of the forward pass in training")
    keep_best: bool = Field(default=False, description="end with the weights of the best validation accuracy")

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


class PracticeConfig(Section):
    """Algorithm 1: N = initial, P = increment, k = additions, T_max = patience, tau = evaluate_every."""

    initial: PositiveInt
    increment: PositiveInt = 1
    additions: NonNegativeInt = 0
    patience: PositiveInt = 3
    patience_policy: Literal["fixed", "incremental"] = Field(
        default="fixed", description="incremental: T_max grows in proportion to the pool, from `patience` at N"
    )
    evaluate_every: PositiveInt = 50
    checkpoint_every: NonNegativeInt = Field(default=20, description="evaluations; 0: before additions only")
    oversample: PositiveInt = Field(default=1, description="draw this many times the rows, unguided; keep the hardest")
    examples: Literal["generated", "real"] = Field(default="generated", description="real: the generator's own images")
    new_sample_weight: float = Field(default=1.0, gt=0, description="how often the latest round's rows are drawn")
    branch: bool = Field(default=False, description="afterwards, cool down from each pool size: the scaling curve")
    early_stop: bool = Field(default=False, description="cool down once patience runs out with no addition left")
    seconds: float = Field(default=0.0, ge=0, description="budget: cool down after this long; 0: none")
    samples: NonNegativeInt = Field(
        default=0, description="budget: no addition that would take the samples generated beyond it; 0: none"
    )


DataConfig = Annotated[
    DigitsConfig | FashionConfig | GaussianDataConfig | FolderConfig | StandInConfig, Field(discriminator="source")
]
GeneratorConfig = Annotated[
    DenoiserConfig | LatentConfig | DiffusersConfig | GaussianConfig, Field(discriminator="kind")
]
LearnerConfig = Annotated[MLPConfig | ConvConfig | TransformersConfig | LinearConfig, Field(discriminator="kind")]


class Config(Section):
    """One run, complete."""

    name: str = Field(pattern=r"^[^/\\]+$", description="of the run and its folder")
    seed: NonNegativeInt = 0
    threads: NonNegativeInt = Field(default=0, description="torch threads; 0: torch's own choice")
    tracker: Literal["none", "tensorboard", "wandb"] = Field(default="none", description="a dashboard of the run")
    data: DataConfig
    generator: GeneratorConfig
    sampling: SamplingConfig = SamplingConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    learner: LearnerConfig
    training: TrainingConfig
    practice: PracticeConfig
    pool: PoolConfig = PoolConfig()

    @model_validator(mode="after")
    def _check(self) -> "Config":
        if self.generator.kind == "gaussian" and self.data.source != "gaussian":
            raise ValueError("generator.kind = 'gaussian' knows the score of data.source = 'gaussian' only")
        if self.learner.kind == "linear" and self.training.batch_size:
            raise ValueError("learner.kind = 'linear' is solved on the whole pool: training.batch_size must be 0")
        return self

    @model_validator(mode="after")
    def _check_practice(self) -> "Config":
        if self.practice.oversample > 1 and self.guidance.omega:
            raise ValueError("practice.oversample > 1 prunes plain samples: guidance.omega must be 0")
        if self.practice.examples == "real" and self.practice.additions:
            raise ValueError("practice.examples = 'real' cannot be added to: practice.additions must be 0")
        untrained = self.data.source == "gaussian" or (isinstance(self.data, FolderConfig) and self.data.train is None)
        if self.practice.examples == "real" and untrained:
            raise ValueError(
                "practice.examples = 'real' takes the images that train a generator: data.train names them"
            )
        return self

    @property
    def samples(self) -> int:
        """Pool size when every addition has been made, N + kP."""
        return self.practice.initial + self.practice.additions * self.practice.increment

    def to_toml(self) -> str:
        """Resolved and complete: reading it back gives an equal Config."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def load_config(path: Path, overrides: Iterable[str] = (), changes: Iterable[str] = (), **values: Any) -> Config:
    """Read a TOML file, then apply `key=value` overrides (dotted keys, TOML values) and top-level values.

    `changes` are overrides too, made first, and not by the user: complaints do not name them.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    overrides = list(overrides)
    for override in (*changes, *overrides):
        _set(raw, override)
    where = " ".join([str(path), *(f"--set {override}" for override in overrides)])
    return parse_config({"name": path.stem} | raw | values, where=where)


def parse_config(raw: Mapping[str, Any], where: str = "configuration") -> Config:
    """Validate; every problem becomes part of one InputError that names its key and what would be right."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{where}: " + "; ".join(_explain(problem) for problem in error.errors())) from error


def _set(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise InputError(f"--set {override}: must read key=value, for example practice.patience=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *path, last = key.split(".")
    for part in path:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            raise InputError(f"--set {override}: {part} is a value, not a section")
    raw[last] = value


def _explain(problem: Any) -> str:
    keys, section = _locate(problem["loc"])
    key = ".".join(keys)
    match problem["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(keys[-1], section.model_fields, n=1, cutoff=0.5)
            known = ", ".join(section.model_fields)
            hint = f"did you mean {'.'.join([*keys[:-1], near[0]])}?" if near else f"there are {known}"
            return f"unknown key {key}; {hint}"
        case "missing":
            return f"key {key} is missing"
        case "union_tag_not_found":
            return f"key {key}.{problem['ctx']['discriminator'].strip(chr(39))} is missing"
        case "union_tag_invalid":
            context = problem["ctx"]
            name = context["discriminator"].strip("'")
            return f"{key}.{name} = {context['tag']!r}: should be one of {context['expected_tags']}"
    message = problem["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(problem["input"], Mapping) else f" = {problem['input']!r}"
    where = f"{key}{shown}: " if key else ""
    return f"{where}{message[:1].lower()}{message[1:]}"


def _locate(loc: Iterable[str | int]) -> tuple[list[str], type[Section]]:
    """A problem's key as the file spells it, and the section that it is in.

    Where a section is one of several kinds, pydantic puts the kind's name into the location; no file has it there.
    """
    keys: list[str] = []
    section, kinds = Config, ()
    for part in loc:
        if kinds:
            section = next(kind for kind in kinds if part in _tags(kind))
            kinds = ()
            continue
        keys.append(str(part))
        field = section.model_fields.get(str(part))
        inner = get_args(field.annotation) or (field.annotation,) if field else ()
        sections = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, Section)]
        if len(sections) > 1:
            kinds = sections
        elif sections:
            section = sections[0]
    return keys, section


def _tags(section: type[Section]) -> tuple[Any, ...]:
    """What a kind of section is called, under `kind` or `source`."""
    fields = section.model_fields
    return tuple(tag for name in ("kind", "source") if name in fields for tag in get_args(fields[name].annotation))
