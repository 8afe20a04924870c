import re
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from dp_base.errors import DivergedError, Finding, InputError, MissingError
from dp_base.reading import shortened
from dp_base.registry import code_digest
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig
from dp_real.guidance.section import SamplingConfig
from dp_real.runtime.section import FOLDER, Place

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Int32
    from torch import Tensor

    from dp_real.data.examples import RealData
    from dp_real.guidance.entropy import EntropyGuidance
    from dp_real.protocols import Generator, Labels, Seeds


@GENERATORS.named("function", place=5)
class FunctionConfig(GeneratorConfig):
    """Your own function, such as a renderer, a simulator or a service, without a gradient (guidance.candidates)."""

    has_denoiser: ClassVar[bool] = False
    modality: ClassVar[str | None] = None

    may_change: ClassVar[tuple[str, ...]] = ("folder",)

    kind: Literal["function"]
    call: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        description='"module:function", of labels int64 [B] and seeds uint64 [B]; gives samples [B, *shape], or texts',
    )

    folder: Place | None = Field(
        default=None, validate_default=True, description="its module's folder; none: the file's, or Python's path"
    )

    @field_validator("folder")
    @classmethod
    def _beside_the_file(cls, folder: str | None, info: ValidationInfo) -> str | None:
        own_folder = (info.context or {}).get(FOLDER)
        if folder is None and own_folder is not None and _module_in(str(own_folder), info.data.get("call", "")):
            return str(own_folder.absolute())
        return folder

    def load(self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None) -> "Generator":
        return UserGenerator(unguided(self._function(), self._key), self._key, source)

    def requirements(self) -> list[Finding]:
        """Import the function, so that errors come before a run."""
        problem = None
        try:
            self._function()
        except (MissingError, InputError) as error:
            problem = str(error)
        return [Finding("generator", self.call, problem)]

    def _function(self) -> Callable[..., Any]:
        self._find()
        try:
            function = resolve_name(self.call)
        except (Exception, SystemExit) as error:  # the module may raise anything when it is imported
            raise MissingError(
                f"{self._key}: {type(error).__name__}: {error}; it should name a function of a module in the folder of "
                "the file, or one that is installed"
            ) from error
        own = _module_in(self.folder, self.call) if self.folder else None
        used = getattr(sys.modules[own.name], "__file__", None) if own else None
        if own and own.origin and used and Path(own.origin).resolve() != Path(used).resolve():
            raise InputError(f"{self._key} is that of {used}, not of {own.origin}: rename the latter's module")
        if not callable(function):
            raise InputError(f"{self._key} is of type {type(function).__name__}: should be a function")
        return function

    def _find(self) -> None:
        """Make the folder importable, after all others, so that it hides no installed module."""
        if self.folder and self.folder not in sys.path:
            sys.path.append(self.folder)

    def code_digest(self) -> str:
        self._find()
        return code_digest(self.call.partition(":")[0])

    @property
    def remedy(self) -> str:
        return f"mend {self._key}"

    @property
    def _key(self) -> str:
        return f"generator.call = '{self.call}'"


def _module_in(folder: str, call: str) -> ModuleSpec | None:
    """The module, or the package, of a function if it is in this folder."""
    return PathFinder.find_spec(re.split(r"[.:]", call)[0], [folder])


Draw = Callable[["Labels", "Seeds", "EntropyGuidance | None"], Any]


class UserGenerator:
    """Samples of a user's `draw`, whose errors become an InputError of one line.

    It returns floats [batch, *sample_shape], images in [-1, 1], or whatever the data's `as_samples` takes. Row i must
    be a function of labels[i], seeds[i] and the guidance alone.
    """

    def __init__(self, draw: Draw, name: str, source: DataConfig) -> None:
        self.draw = draw
        self.name = name
        self.as_samples = source.as_samples
        self.sample_shape = source.task.sample_shape
        self.n_classes = source.task.n_classes

    def sample(
        self,
        labels: "Labels",
        seeds: "Seeds",
        guidance: "EntropyGuidance | None",
    ) -> 'Float32[Tensor, "batch *sample"] | Int32[Tensor, "batch characters"]':
        try:
            samples = self.draw(labels.clone(), seeds.copy(), guidance)  # copies, since it may change them
        except (InputError, MissingError, DivergedError):  # of guidance, or of a generator of this package
            raise
        except (Exception, SystemExit) as error:  # it may raise anything
            at = traceback.extract_tb(error.__traceback__)[-1]
            said = shortened(" ".join(str(error).split()))
            raised = f"{type(error).__name__}: {said} ({at.filename}, line {at.lineno})"
            raise InputError(f"{self.name} raised {raised}") from error
        return self.as_samples(samples, len(labels), self.name)


def unguided(function: "Callable[[np.ndarray, np.ndarray], Any]", name: str) -> Draw:
    """The `draw` of a function of labels int64 [batch] and seeds uint64 [batch], in numpy."""

    def draw(labels: "Labels", seeds: "Seeds", guidance: "EntropyGuidance | None") -> Any:
        if guidance is not None:
            raise InputError(f"{name} gives no gradient: its samples cannot be guided, and omega should be 0")
        return function(labels.numpy(), seeds)

    return draw
