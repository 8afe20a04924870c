"""Kinds of generators, a file each: its configuration section, what it needs and costs, and its loader.

These files import no torch, so that commands which only read configurations start quickly. `load` imports what draws
the samples: `models` has the small generators that are trained here, `pipelines` those of diffusers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import Field

from dp_base.checksums import reading
from dp_base.errors import InputError
from dp_base.progress import Progress, silent
from dp_base.registry import Registry
from dp_real.data import DataConfig
from dp_real.sections import CountOrNone, GuidanceConfig, SamplingConfig, Section

if TYPE_CHECKING:
    from torch import nn

    from dp_real.examples import RealData, Task, TrainingExamples
    from dp_real.protocols import Generator

Module = TypeVar("Module", bound="nn.Module")


@dataclass(frozen=True)
class ImageCost:
    """The cost of one image, known before anything is measured.

    plain, guided: TFLOP of an unguided and a guided image, without the learner's part of the guidance. The rest are
    bytes. weights: of the whole generator. resting: of it, on the device while the learner trains. kept: for the
    backward pass of a guided image.
    """

    plain: float
    guided: float
    weights: float
    resting: float
    kept: float


class GeneratorConfig(Section):
    """Base of the [generator] sections. The key `kind` says which."""

    if TYPE_CHECKING:
        kind: Any  # str, a literal in each kind

    trained_here: ClassVar[bool] = False
    any_size: ClassVar[bool] = False  # whether what it loads is AnySize
    denoises: ClassVar[bool] = True  # in steps that guidance can push; if not, it can only choose among samples
    text: ClassVar[bool | None] = False  # draws texts (dp_real.text.codes); None: either these or numbers
    doubts: ClassVar[bool] = False  # knows log p(label | sample) (LikelihoodGenerator)

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        """Load the generator. A kind that is trained here is trained now if it is not in the cache.

        source: the data that its samples imitate. data: the examples of `source`, if they are loaded already. Raises
        MissingError if weights or data are not there, InputError if they do not fit. Both say what to do.
        """
        raise NotImplementedError

    def check(self, source: DataConfig) -> None:
        """Raise ValueError for data that this kind cannot imitate."""

    def check_task(self, task: Task) -> None:
        """Raise InputError for examples of a form that this kind cannot draw."""

    def training_seconds(self, task: Task) -> float:
        """Roughly how long one core trains it, before its first use; 0: it is not trained here."""
        return 0.0

    @property
    def precision(self) -> str:
        """Name of the torch dtype that samples are computed in."""
        return "float32"

    @property
    def remedy(self) -> str:
        """What to do if its samples are of no use and no other key is to blame."""
        return f"the weights of generator.kind = '{self.kind}' are of no use"

    def weights(self) -> dict[str, str]:
        """The folders or hub ids that it reads, each under the configuration key that names it."""
        return {}

    @property
    def shows_examples(self) -> bool:
        """Whether its prompts show real validation examples, which it may repeat."""
        return False

    def tokens(self, task: Task) -> tuple[int, int]:
        """About how many tokens a sample takes: those of its prompt, and the most that are generated."""
        return 0, 0

    def image_cost(self, sampling: SamplingConfig, guidance: GuidanceConfig) -> ImageCost | None:
        """The cost of one image; None if it is not known."""
        return None


class TrainedHere(GeneratorConfig):
    """Base of kinds that are trained on real examples on first use, and then kept in the user's cache."""

    trained_here: ClassVar[bool] = True
    recipe: ClassVar[int]  # raise it when training changes, so that results of the older recipe are not used

    real: CountOrNone = Field(
        default=0, description="train on so many of the real examples, as many of each class; 0: on all"
    )

    def imitated(self, source: DataConfig, data: RealData | None) -> TrainingExamples:
        """The real examples to train on: with `real`, those that practice.start = "real" begins with.

        Raises InputError if the data have none, or fewer, and for a number below that of the classes.
        """
        import torch

        from dp_real.examples import Examples, balanced_rows

        examples = (data or source.load()).generator
        if examples is None:
            lack = (
                "data.train must name them" if hasattr(source, "train") else f"data.source = '{source.source}' has none"
            )
            raise InputError(f"generator.kind = '{self.kind}' is trained on real examples; {lack}")
        if self.real > len(examples.y):
            raise InputError(f"generator.real = {self.real}: there are {len(examples.y)} real training examples")
        if not self.real:
            return examples
        if self.real < source.task.n_classes:
            raise InputError(f"generator.real = {self.real}: fewer examples than the {source.task.n_classes} classes")
        rows = torch.from_numpy(balanced_rows(examples.y.numpy(), self.real, source.split))
        return Examples(examples.x[rows], examples.y[rows])

    def trained(
        self,
        source: DataConfig,
        examples: TrainingExamples,
        classes: object,
        train: Callable[[Path, Path], None],
        keys: tuple[str, ...] = (),
    ) -> Path:
        """The folder that `train` filled, now or earlier. It is cached by the examples' content, not by their place.

        classes: what the training uses of the classes, their number or their names; it is part of the key, too. train:
        takes the folder, and another one for what lets it go on after a kill. keys: of this section, for a part that
        depends on no others; (): on all.
        """
        from dp_real.runtime.cache import cached

        depends = {
            "recipe": self.recipe,
            "generator": self.model_dump(mode="json", include=set(keys) or None, exclude={"real"}),
            "classes": classes,
            "images": examples.fingerprint(),
            "seed": source.split,
        }
        return cached(f"generators/{source.source}", depends, train, resumable=True)

    def trained_module(
        self,
        source: DataConfig,
        examples: TrainingExamples,
        n_classes: int,
        make: Callable[[], Module],
        train: Callable[[Path], Module],
        keys: tuple[str, ...] = (),
    ) -> Module:
        """make(), with the weights of train(unfinished), which was called now or earlier; see `trained`."""
        from safetensors.torch import load_file, save_file

        def fill(folder: Path, unfinished: Path) -> None:
            save_file(train(unfinished).state_dict(), folder / "model.safetensors")

        folder = self.trained(source, examples, n_classes, fill, keys)
        module = make()
        with reading(folder / "model.safetensors", f"remove {folder}, and it is trained again"):
            module.load_state_dict(load_file(folder / "model.safetensors"))
        return module


GENERATORS: Registry[type[GeneratorConfig]] = Registry("generators", "dp_real.generators")
