"""A small Stable Diffusion, trained here from real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_base.errors import InputError
from dp_base.progress import Progress, silent
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, TrainedHere
from dp_real.sections import CountOrNone, Rows, SamplingConfig, Templates

if TYPE_CHECKING:
    from dp_real.examples import RealData, Task
    from dp_real.protocols import Generator


TRIED, TRIED_STEPS = 8, 4  # samples that are drawn once it is trained, and the sampler's steps


@GENERATORS.named("latent", place=2)
class LatentConfig(TrainedHere):
    """A small Stable Diffusion for images of a few dozen pixels, trained here on first use."""

    recipe: ClassVar[int] = 2
    any_size: ClassVar[bool] = True

    kind: Literal["latent"]
    prompts: Templates = Field(
        default=("a photo of a {}", "a picture of a {}", "{}"),
        description="a row's seed picks one; {}: the class; also {definition}, {synonyms}",
    )
    vae_steps: CountOrNone = Field(
        default=1500, description="to train the VAE; 0: random weights, to try out what surrounds them"
    )
    vae_batch: Rows = Field(default=64, description="images of a training step")
    unet_steps: CountOrNone = Field(default=3600, description="to train the UNet; 0: likewise")
    unet_batch: Rows = Field(default=96, description="images of a training step")
    caption_dropout: float = Field(default=0.12, ge=0, lt=1, description="trains the unconditional branch of CFG")

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        """Load it from the cache, or train it.

        Raises InputError if the data have no square images whose side is a multiple of 8 to train on, DivergedError if
        what was trained is of no use: it is not cached then.
        """
        import torch

        from dp_real.generators.models.stable_diffusion import REMEDY, train_autoencoder, train_pipeline
        from dp_real.generators.pipelines.generator import PipelineGenerator
        from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
        from dp_real.generators.pipelines.load import load_autoencoder, load_pipeline
        from dp_real.runtime.finite import require_samples
        from dp_real.runtime.seeds import row_seeds
        from dp_real.text.prompts import class_prompts

        task = source.task
        self.check_task(task)
        examples, shape = self.imitated(source, data), task.sample_shape
        prompts = class_prompts(self.prompts, task.classes, task.definitions, task.synonyms)

        def train_vae(folder: Path, unfinished: Path) -> None:
            train_autoencoder(self, examples.x, source.split, progress, folder, unfinished)

        def train(folder: Path, unfinished: Path) -> None:
            vae = load_autoencoder(str(self.trained(source, examples, None, train_vae, ("vae_steps", "vae_batch"))))
            train_pipeline(self, examples, prompts, vae, source.split, progress, folder, unfinished)
            tried = torch.arange(min(task.n_classes, TRIED))
            trained = PipelineGenerator(LatentDiffusion(load_pipeline(str(folder)), TRIED_STEPS, 1.0), prompts, shape)
            samples = trained.sample(tried, row_seeds(source.split, 0, range(len(tried))), None)
            require_samples(samples, "the trained generator", REMEDY)

        plain = all(prompt.replace("{}", "").find("{") < 0 for prompt in self.prompts)
        folder = self.trained(source, examples, task.classes if plain else prompts, train)
        model = LatentDiffusion(load_pipeline(str(folder)), sampling.steps, sampling.guidance_scale)
        return PipelineGenerator(model, prompts, shape)

    def check_task(self, task: Task) -> None:
        """Raise InputError unless examples are square images whose side is a multiple of 8."""
        shape = task.sample_shape
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] % 8:
            raise InputError(
                f"generator.kind = 'latent' draws square images whose side is a multiple of 8; these have shape "
                f"{list(shape)}"
            )

    def training_seconds(self, task: Task) -> float:
        """From the pixels that the VAE and the UNet see, and the steps, by times measured on one core."""
        pixels, steps = task.sample_shape[1] ** 2, self.vae_steps + self.unet_steps
        return 1.8e-6 * pixels * (self.vae_steps * self.vae_batch + self.unet_steps * self.unet_batch) + 0.03 * steps
