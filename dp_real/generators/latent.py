"""A small Stable Diffusion, trained here from real images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from dp_base.progress import Progress, silent
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig, Templates
from dp_real.sections import SamplingConfig

if TYPE_CHECKING:
    from dp_real.examples import RealData
    from dp_real.protocols import Generator


@GENERATORS.named("latent", place=2)
class LatentConfig(GeneratorConfig):
    """A small Stable Diffusion for images of a few dozen pixels, trained here on first use."""

    kind: Literal["latent"]
    prompts: Templates = Field(
        default=("a photo of a {}", "a picture of a {}", "{}"), description="a row's seed picks one; {}: the class"
    )
    vae_steps: NonNegativeInt = Field(default=1500, description="0: random weights, to try out what surrounds them")
    vae_batch: PositiveInt = 64
    unet_steps: NonNegativeInt = Field(default=3600, description="likewise")
    unet_batch: PositiveInt = 96
    caption_dropout: float = Field(default=0.12, ge=0, lt=1, description="trains the unconditional branch of CFG")

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        """From the cache, else trained now."""
        from dp_real.generators.models.stable_diffusion import load_latent

        return load_latent(self, sampling, source, data or source.load(), progress)
