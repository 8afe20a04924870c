"""Generators. A file of this room is a kind: its section of the configuration, what it needs and costs, and its loader.

Such a file is quick to import: commands that only read configurations need no torch. What draws the samples is imported
by `load`; `models` has the small generators that are trained here, `pipelines` those of diffusers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from dp_base.progress import Progress, silent
from dp_base.registry import Registry
from dp_real.data import DataConfig
from dp_real.sections import GuidanceConfig, SamplingConfig, Section

if TYPE_CHECKING:
    from dp_real.examples import Examples, RealData
    from dp_real.protocols import Generator


@dataclass(frozen=True)
class ImageCost:
    """What an image costs before anything is measured.

    plain, guided: TFLOP of an image; the learner's part of guidance is not in it. Bytes: weights, of the whole
    generator; resting, of it, on the device while the learner trains; kept, of a guided image, for the way back.
    """

    plain: float
    guided: float
    weights: float
    resting: float
    kept: float


class GeneratorConfig(Section):
    """Base of the sections [generator], told apart by `kind`."""

    if TYPE_CHECKING:
        kind: Any  # str, a literal in each kind

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        """The generator, trained now if it is one that is trained here and not in the cache.

        source: what it draws samples like; data: its examples, if they are loaded already. Raises MissingError where
        weights or data are not there, InputError where they do not fit; both say what to do.
        """
        raise NotImplementedError

    def check(self, source: DataConfig) -> None:
        """Raise ValueError for data that this kind cannot draw samples like."""

    @property
    def precision(self) -> str:
        """The torch dtype that samples are computed in."""
        return "float32"

    def weights(self) -> dict[str, str]:
        """Folders or hub ids that it reads, by the key that names each."""
        return {}

    def image_cost(self, sampling: SamplingConfig, guidance: GuidanceConfig) -> ImageCost | None:
        """Of one image; None where it is not known."""
        return None


class TrainedHere(GeneratorConfig):
    """Base of kinds that are trained on real examples on first use, and kept in the user's cache from then on."""

    recipe: ClassVar[int]  # raised when what training does changes: what an older recipe made is then left alone

    def trained(self, source: DataConfig, examples: Examples, classes: object, train: Callable[[Path], None]) -> Path:
        """The folder that `train` filled, now or earlier: it depends on the examples, wherever they were read.

        classes: what else it depends on of these.
        """
        from dp_real.runtime.cache import cached, fingerprints

        depends = {
            "recipe": self.recipe,
            "generator": self.model_dump(mode="json"),
            "classes": classes,
            "images": fingerprints(examples.x, examples.y),
            "seed": source.split,
        }
        return cached(f"generators/{source.source}", depends, train)


def _names_the_class(template: str) -> str:
    if "{}" not in template:
        raise ValueError("should have {} where the class's name goes, or all classes would be asked for alike")
    return template


Templates = Annotated[tuple[Annotated[str, AfterValidator(_names_the_class)], ...], Field(min_length=1)]
"""Prompts with {} in the place of the class's name."""

GENERATORS: Registry[type[GeneratorConfig]] = Registry("generators", "dp_real.generators")
