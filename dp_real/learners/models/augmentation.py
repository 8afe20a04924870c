"""All augmentation that a configuration asks for, as a function of the seed, the step and the process."""

from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional as F

from dp_real.examples import Task
from dp_real.learners.models.augment import crop_and_flip, mix
from dp_real.learners.models.randaugment import RandAugment
from dp_real.runtime.pixels import fit
from dp_real.runtime.seeds import Stream, rng, torch_rng
from dp_real.sections import TrainingConfig


class Augmentation:
    """Crops, flips, changes and mixes the rows of a step, as the section [training] says.

    Raises MissingError if RandAugment is asked for and kornia is not installed.
    """

    def __init__(self, task: Task, config: TrainingConfig, seed: int) -> None:
        self.task = task
        self.config = config
        self.seed = seed
        self.randaugment: RandAugment | None = None
        if config.randaugment:
            self.randaugment = RandAugment(config.randaugment, config.randaugment_magnitude)

    def __call__(
        self, x: Shaped[Tensor, "batch *stored"], y: Shaped[Tensor, "batch *classes"], step: int, rank: int
    ) -> tuple[Shaped[Tensor, "batch *sample"], Shaped[Tensor, "batch *targets"]]:
        """Augment the rows of a step that the process of this rank has.

        x are codes as int32, or images, which may be larger than the module takes. They come back at the module's size.
        y are labels, int64 [B], or probabilities, float [B, K]. They come back as probabilities if examples are mixed.
        """
        config = self.config
        if config.crop or config.flip:
            draw = rng(self.seed, Stream.CROP, step, rank)
            size = self.task.sample_shape[1:]
            x = crop_and_flip(x, draw, least_area=config.crop, flip=config.flip, size=size)
        x = at_task_size(x, self.task)
        if self.randaugment:
            x = self.randaugment(x, torch_rng(self.seed, Stream.RANDAUGMENT, step, rank))
        if config.mixup or config.cutmix:
            if y.dim() == 1:
                y = F.one_hot(y, self.task.n_classes).float()
            x, y = mix(x, y, rng(self.seed, Stream.MIX, step, rank), mixup=config.mixup, cutmix=config.cutmix)
        return x, y


def at_task_size(x: Shaped[Tensor, "batch *stored"], task: Task) -> Shaped[Tensor, "batch *sample"]:
    """Return examples as the module takes them. Images of another size, which a pool may keep, are resized."""
    is_image = x.dim() == 4
    if x.shape[1:] == task.sample_shape or not is_image:
        return x
    return fit(x, task.sample_shape)
