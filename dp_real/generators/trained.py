from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from dp_base.errors import InputError
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, TrainedHere, class_prompts
from dp_real.guidance.section import SamplingConfig
from dp_real.runtime.section import Templates

if TYPE_CHECKING:
    from dp_real.data.examples import RealData, Task
    from dp_real.protocols import Generator


class DenoiserSizes(NamedTuple):
    """Sizes of hidden layers, residual blocks and training; the learning rate falls to 0."""

    width: int
    blocks: int
    train_steps: int
    train_learning_rate: float = 2e-3


DENOISERS = {"full": DenoiserSizes(256, 3, 3000), "light": DenoiserSizes(64, 1, 400), "none": DenoiserSizes(16, 1, 2)}


@GENERATORS.named("denoiser", place=1)
class DenoiserConfig(TrainedHere):
    """A small class-conditional diffusion model of vectors or tiny images, trained here on first use."""

    recipe: ClassVar[int] = 1

    kind: Literal["denoiser"]

    def load(self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None) -> "Generator":
        from dp_real.generators.models.denoiser import Denoiser, DenoiserGenerator, train_denoiser

        shape, n_classes = source.task.sample_shape, source.task.n_classes
        examples, sizes = self.training_examples(source, data), DENOISERS[self.training]

        def make() -> Denoiser:
            return Denoiser(shape, n_classes, sizes.width, sizes.blocks)

        denoiser = self.trained_module(source, examples, make, train_denoiser, sizes)
        return DenoiserGenerator(denoiser, shape, n_classes, sampling.steps, sampling.guidance_scale)

    def training_seconds(self, task: "Task") -> float:
        """Measured with default sizes."""
        return 0.009 * DENOISERS[self.training].train_steps


class Effort(NamedTuple):
    """The steps of a training, and the images per step."""

    steps: int
    batch: int


EFFORTS = {  # of the VAE, and of the UNet
    "full": (Effort(1500, 64), Effort(3600, 96)),
    "light": (Effort(800, 32), Effort(3600, 32)),
    "none": (Effort(0, 1), Effort(0, 1)),
}


@GENERATORS.named("latent", place=2)
class LatentConfig(TrainedHere):
    """A small Stable Diffusion for images of a few dozen pixels, trained here on first use."""

    recipe: ClassVar[int] = 2
    any_size: ClassVar[bool] = True

    kind: Literal["latent"]
    prompts: Templates = Field(
        default=("a photo of a {}", "a picture of a {}", "{}"),
        description="templates, one of which a row's seed selects; {}: the class; also {definition}, {synonyms}",
    )

    def load(self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None) -> "Generator":
        from dp_real.generators.models.denoiser import try_out
        from dp_real.generators.models.stable_diffusion import REMEDY, train_autoencoder, train_pipeline
        from dp_real.generators.pipelines.generator import DDIMPipelineGenerator
        from dp_real.generators.pipelines.loading import load_pipeline

        task, seed = source.task, source.split
        self.check_task(task)
        examples = self.training_examples(source, data)
        prompts = class_prompts(self.prompts, task)
        of_vae, of_unet = EFFORTS[self.training]

        def train_vae(folder: Path, unfinished: Path) -> None:
            train_autoencoder(examples.x, of_vae, seed, folder, unfinished)

        def train(folder: Path, unfinished: Path) -> None:
            vae = self.trained(source, examples, None, train_vae, {"training": self.training})
            train_pipeline(examples, prompts, vae, of_unet, seed, folder, unfinished)
            try_out(drawing(folder, 4, 1.0), 8, seed, REMEDY)

        def drawing(folder: Path, steps: int, guidance_scale: float) -> DDIMPipelineGenerator:
            return DDIMPipelineGenerator(load_pipeline(str(folder)), prompts, task.sample_shape, steps, guidance_scale)

        names_suffice = all("{" not in prompt.replace("{}", "") for prompt in self.prompts)
        settings = self.model_dump(mode="json", exclude={"real"})
        folder = self.trained(source, examples, task.classes if names_suffice else prompts, train, settings)
        return drawing(folder, sampling.steps, sampling.guidance_scale)

    def check_task(self, task: "Task") -> None:
        super().check_task(task)
        shape = task.sample_shape
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] % 8:
            raise InputError(
                f"generator.kind = 'latent' draws square images whose side is a multiple of 8; these have shape "
                f"{list(shape)}"
            )

    def training_seconds(self, task: "Task") -> float:
        pixels = task.sample_shape[1] ** 2
        return sum(1.8e-6 * pixels * steps * batch + 0.03 * steps for steps, batch in EFFORTS[self.training])
