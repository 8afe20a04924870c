import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationInfo, model_validator

from dp_base.errors import InputError
from dp_base.reading import foreign_file, read_json, read_plain_csv
from dp_real.data import DataConfig
from dp_real.data.sets.class_names import composed
from dp_real.data.sets.own import ClassName
from dp_real.generators import GENERATORS, GeneratorConfig, ImageCost, class_prompts
from dp_real.guidance.section import GuidanceConfig, SamplingConfig
from dp_real.runtime.section import ModelPlace, Templates, anchored, not_empty

if TYPE_CHECKING:
    from dp_real.data.examples import RealData, Task
    from dp_real.protocols import Generator


def _written(caption: str) -> str:
    if not caption.strip():
        raise ValueError("an empty caption could draw any class; write one, or leave it out")
    return caption


Captions = Annotated[tuple[Annotated[str, AfterValidator(_written)], ...], AfterValidator(not_empty)]


def _read_captions(prompts: Any, info: ValidationInfo) -> Any:
    """Read a CSV file's table class = prompts into the configuration, and so the run's record."""
    if not isinstance(prompts, str):
        return prompts
    if not prompts.lower().endswith(".csv"):
        raise ValueError(f"should be a list, ['{prompts}'], or a FILE.csv")
    prompts = anchored(prompts, info)
    with foreign_file(prompts):
        table = read_plain_csv(Path(prompts), dtype=str, keep_default_na=False)
        if not {"class", "caption"} <= set(table):
            raise InputError(f"{prompts}: needs the columns class and caption; it has {', '.join(map(str, table))}")
        of_classes = table.groupby(table["class"].map(composed), sort=False)["caption"]
        return {str(name): tuple(rows) for name, rows in of_classes}


@GENERATORS.named("diffusers", place=3)
class DiffusersConfig(GeneratorConfig):
    """A pipeline of diffusers: Stable Diffusion, FLUX, Qwen-Image, SANA, PixArt, DiT and others."""

    any_size: ClassVar[bool] = True

    kind: Literal["diffusers"]
    model: ModelPlace = Field(description="a folder, or a hub id, which is fetched unless it is in the hub's cache")
    prompts: Annotated[Templates | dict[ClassName, Captions], BeforeValidator(_read_captions)] = Field(
        default=("a photo of a {}",),
        description="templates, one of which a row's seed selects; {}: the class; also {definition}, {synonyms}; or "
        "class = [its prompts], or a FILE.csv of these with the columns class and caption",
    )
    prompts_per_class: int = Field(default=0, ge=0, description="use the first of each class's prompts; 0: all")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(default="float32", description="of its weights")
    size: int = Field(
        default=0, ge=0, le=2**14, description="pixels a side of drawn images; 0: the pipeline's usual size"
    )
    tiny_decoder: ModelPlace | None = Field(
        default=None,
        description="an AutoencoderTiny that decodes x0_hat for the guidance: madebyollin/taesd for 1 and 2 and DiT, "
        "taesdxl for XL, taesd3; none: the pipeline's decoder",
    )
    batch_size: int = Field(
        default=0,
        ge=0,
        le=10**6,
        description="rows on the GPU at a time; halved when memory runs out; 0: sampling.block_size",
    )
    checkpointing: bool = Field(default=False, description="recompute activations instead of storing them")
    compile: bool = Field(default=False, description="torch.compile denoiser and decoders; it takes minutes at first")

    @model_validator(mode="after")
    def _check_prompts(self) -> "DiffusersConfig":
        of_classes = self.prompts.values() if isinstance(self.prompts, dict) else [self.prompts]
        fewest = min(map(len, of_classes), default=0)
        if self.prompts_per_class >= fewest > 0:
            raise ValueError(f"prompts_per_class = {self.prompts_per_class}: some class has {fewest} prompts; 0 is all")
        return self

    def check_task(self, task: "Task") -> None:
        super().check_task(task)
        if not task.has_pictures:
            raise InputError(f"a pipeline draws images [1 or 3, height, width]; these are {[*task.sample_shape]}")

    def check_guidance(self, guidance: GuidanceConfig) -> None:
        from dp_real.generators.pipelines.generator import DDIM_PIPELINES

        name = self.index()["_class_name"]
        is_usual = guidance.scale == "relative" and (guidance.through == "x0" or guidance.control != "none")
        if guidance.guides_sampler and not is_usual and name not in DDIM_PIPELINES:
            raise InputError(
                f"{name} is guided with guidance.through = 'x0' and guidance.scale = 'relative' only; others can with "
                f"{', '.join(DDIM_PIPELINES)}"
            )

    def index(self) -> dict[str, Any]:
        """The pipeline's model_index.json. InputError for a pipeline that cannot be used."""
        from dp_real.generators.pipelines.loading import load_index

        return load_index(self.model)

    def opened(self) -> Any:
        """The loaded pipeline."""
        from dp_real.generators.pipelines.loading import load_pipeline

        return load_pipeline(self.model, self.dtype)

    def load(self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None) -> "Generator":
        from dp_real.generators.pipelines.generator import DIT, class_numbers, pipeline_generator
        from dp_real.generators.pipelines.loading import check_prompts, load_tiny_decoder

        index, task = self.index(), source.task
        if index["_class_name"] == DIT:
            if self.prompts != type(self).model_fields["prompts"].default:
                raise InputError(f"{DIT} draws classes by their numbers, and reads no prompts: leave them out")
            conditions = class_numbers(index.get("id2label", {}), task.classes)
        else:
            prompts = class_prompts(self.prompts, task)
            conditions = [of_class[: self.prompts_per_class or None] for of_class in prompts]
        pipe = self.opened()
        check_prompts(pipe, conditions)
        tiny = load_tiny_decoder(self.tiny_decoder, self.dtype) if self.tiny_decoder else None
        generator = pipeline_generator(
            pipe,
            conditions,
            task.sample_shape,
            sampling.steps,
            sampling.guidance_scale,
            tiny_decoder=tiny,
            size=(self.size, self.size) if self.size else None,
            batch_size=self.batch_size,
        )
        # The decoders of SANA and Qwen-Image do not support it, but their denoisers, which take most of the memory, do.
        for part in (generator.network, pipe.vae, tiny) if self.checkpointing else ():
            if part is not None and part._supports_gradient_checkpointing:
                part.enable_gradient_checkpointing()
        if self.compile:
            generator.compile()
        return generator

    def weights(self) -> dict[str, str]:
        places = {"model": self.model, "tiny_decoder": self.tiny_decoder}
        return {f"generator.{key}": place for key, place in places.items() if place}

    def image_cost(self, sampling: SamplingConfig, guidance: GuidanceConfig) -> ImageCost | None:
        """A known pipeline's cost, in proportion to the pixels."""
        size = known_size(self.model)
        if size is None:
            return None
        decoder = size.tiny if self.tiny_decoder else size.decoder
        if decoder is None:
            return None
        pixels = (self.size / size.side) ** 2 if self.size else 1
        guided_steps = len(guidance.guided_steps(sampling.steps))
        plain = sampling.steps * sampling.branches * size.denoiser.forward + size.decoder.forward
        # Guidance goes through the decoder, back to x0_hat, and on to x_t.
        guidance_step = decoder.forward + decoder.backward
        if guidance.through == "unet":
            again = size.denoiser.forward if self.checkpointing else 0
            guidance_step += sampling.branches * (size.denoiser.backward + again)
        return ImageCost(pixels * plain, pixels * (plain + guided_steps * guidance_step))


# costs of published pipelines, counted on their architectures: sizes.toml


class NetworkCost(NamedTuple):
    """The cost of one evaluation of a network."""

    forward: float  # TFLOP
    backward: float  # TFLOP, back to the input


class PipelineSize(NamedTuple):
    """The cost of an image of the usual size, `side` pixels square."""

    denoiser: NetworkCost
    decoder: NetworkCost
    side: int
    config: dict[str, Any]  # keys of its denoiser's configuration that identify it
    models: list[str]  # hub ids
    tiny: NetworkCost | None = None  # None: there is no AutoencoderTiny for such latents


@cache
def published() -> dict[str, PipelineSize]:
    """The pipelines of sizes.toml, by name."""
    text = (resources.files("dp_real.generators") / "sizes.toml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, PipelineSize]).validate_python(tomllib.loads(text))


def known_size(model: str) -> PipelineSize | None:
    """A pipeline's size, by hub id or denoiser's configuration; None: unknown."""
    from dp_real.runtime.model_folders import local_folder  # imports the hub's client

    folder = local_folder(model)
    files = [folder / part / "config.json" for part in ("transformer", "unet")] if folder else []
    own = next((read_json(file) for file in files if file.is_file()), {})
    known = (size for size in published().values() if model in size.models or size.config.items() <= own.items())
    return next(known, None)
