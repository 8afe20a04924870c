"""Kinds of generators, without torch, so that reading a configuration stays quick."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import Field

from dp_base.errors import InputError
from dp_base.reading import own_file
from dp_base.registry import Registry
from dp_real.data import DataConfig
from dp_real.guidance.section import GuidanceConfig, SamplingConfig
from dp_real.runtime.section import CountOrZero, PartConfig

if TYPE_CHECKING:
    from torch import nn

    from dp_real.data.examples import RealData, Task, TrainingExamples
    from dp_real.protocols import Generator

PLACE = re.compile(r"\{(definition|synonyms)?\}")
Module = TypeVar("Module", bound="nn.Module")


class ImageCost(NamedTuple):
    """TFLOP of an image."""

    plain: float
    guided: float


class GeneratorConfig(PartConfig):
    """Base of the [generator] sections; the key `kind` selects one."""

    if TYPE_CHECKING:
        kind: Any  # str, a literal in each kind

    trained_here: ClassVar[bool] = False  # whether it is trained on first use, and then cached
    any_size: ClassVar[bool] = False  # whether what it loads is AnySize
    has_denoiser: ClassVar[bool] = True  # whether its steps can be guided; if not, samples can only be selected
    has_likelihood: ClassVar[bool] = False  # whether it knows log p(label | sample) (LikelihoodGenerator)
    modality: ClassVar[str | None] = "array"  # what it draws (DataConfig.modality); None: whatever the data are
    may_change: ClassVar[tuple[str, ...]] = ()  # keys that no sample depends on: a run may continue with other values

    def load(self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None) -> "Generator":
        """Load the generator, or train it if it is trained here and not in the cache.

        Raises MissingError without weights or data, and InputError if they do not fit.
        """
        raise NotImplementedError

    def check(self, source: DataConfig) -> None:
        """Raise ValueError for data that this kind cannot imitate."""

    def check_guidance(self, guidance: GuidanceConfig) -> None:
        """Raise InputError for guidance that this kind does not support."""

    def check_task(self, task: "Task") -> None:
        """Raise InputError for examples that this kind cannot draw."""
        class_prompts(getattr(self, "prompts", ()), task)

    def training_seconds(self, task: "Task") -> float:
        """A rough training time in seconds of one core; 0: not trained here."""
        return 0.0

    @property
    def precision(self) -> str:
        return getattr(self, "dtype", "float32")

    @property
    def remedy(self) -> str:
        """What to do if samples are of no use and no other key is to blame."""
        return f"the weights of generator.kind = '{self.kind}' are of no use"

    @property
    def shows_examples(self) -> bool:
        return False

    def tokens(self, task: "Task") -> tuple[int, int]:
        """About the tokens of a sample's prompt, and at most its answer's."""
        return 0, 0

    def image_cost(self, sampling: SamplingConfig, guidance: GuidanceConfig) -> ImageCost | None:
        """An image's cost; None: unknown."""
        return None


class TrainedHere(GeneratorConfig):
    """Base of kinds that are trained on real examples on first use, and then kept in the user's cache."""

    trained_here: ClassVar[bool] = True
    recipe: ClassVar[int]  # raise it when the training changes, so that no older weights are used

    real: CountOrZero = Field(
        default=0, description="number of real examples to train on, equally many of each class; 0: all"
    )
    training: Literal["full", "light", "none"] = Field(
        default="full",
        description="light: fewer steps, for a first look or simple images; none: hardly any, to try out "
        "what surrounds it",
    )

    def training_examples(self, source: DataConfig, data: "RealData | None") -> "TrainingExamples":
        """The examples to train on. With the key `real` practice.real begins with these."""
        import torch

        from dp_real.data.examples import Examples
        from dp_real.data.sets.real_rows import balanced_rows

        examples = (data or source.load()).train
        if examples is None:
            can_name_them = hasattr(source, "train")
            lack = "data.train must name them" if can_name_them else f"data.source = '{source.source}' has none"
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
        examples: "TrainingExamples",
        classes: object,
        train: Callable[[Path, Path], None],
        settings: Mapping[str, Any],
    ) -> Path:
        """The folder that `train` filled, cached by the examples' content and `settings`.

        `train` takes that folder, and one for checkpoints in case it is killed.
        """
        import torch

        from dp_real.runtime.cache import cached

        depends = {
            "recipe": self.recipe,
            "generator": dict(settings),
            "classes": classes,
            "images": examples.fingerprint(),
            "seed": source.split,
            "threads": torch.get_num_threads(),  # changes sums by rounding
        }
        return cached(f"generators/{source.source}", depends, train, resumable=True)

    def trained_module(
        self,
        source: DataConfig,
        examples: "TrainingExamples",
        make: Callable[[], Module],
        train: Callable[..., Module],
        sizes: Any,
    ) -> Module:
        """What `make` returns, with the weights of train(sizes, examples, classes, seed, unfinished)."""
        from safetensors.torch import load_file, save_file

        n_classes = source.task.n_classes

        def fill(folder: Path, unfinished: Path) -> None:
            trained = train(sizes, examples, n_classes, source.split, unfinished)
            save_file(trained.state_dict(), folder / "model.safetensors")

        folder = self.trained(source, examples, n_classes, fill, {"kind": self.kind, **sizes._asdict()})
        module = make()
        with own_file(folder / "model.safetensors", f"remove {folder}, and it is trained again"):
            module.load_state_dict(load_file(folder / "model.safetensors"))
        return module


def class_prompts(templates: Sequence[str] | Mapping[str, Sequence[str]], task: "Task") -> list[list[str]]:
    """The prompts of each class, given or by templates. In templates its name replaces missing synonyms."""
    if isinstance(templates, Mapping):
        for name in task.classes:
            if name not in templates:
                raise InputError(f"generator.prompts: class {name!r} has none; write one")
        for name in templates:
            if name not in task.classes:
                raise InputError(
                    f"generator.prompts: {name!r} is none of the classes; leave it out, or correct its name"
                )
        return [list(templates[name]) for name in task.classes]
    prompts = []
    for name, definition, words in zip_longest(task.classes, task.definitions, task.synonyms, fillvalue=""):
        asking = [template for template in templates if "{definition}" in template]
        if asking and not definition:
            raise InputError(f"prompt {asking[0]!r}: class {name!r} has no definition; write one in data.definitions")
        words = {"{}": name, "{definition}": definition, "{synonyms}": words or name}
        prompts.append([PLACE.sub(lambda place, words=words: words[place[0]], template) for template in templates])
    return prompts


GENERATORS: Registry[type[GeneratorConfig]] = Registry("generators", "dp_real.generators")
