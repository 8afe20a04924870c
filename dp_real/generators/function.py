import traceback
from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dp_base.errors import Finding, InputError, MissingError
from dp_base.progress import Progress, silent
from dp_base.registry import code_digest
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig
from dp_real.sections import SamplingConfig

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Int32
    from torch import Tensor

    from dp_real.examples import RealData
    from dp_real.guidance import EntropyGuidance
    from dp_real.protocols import Generator, Labels, Seeds


@GENERATORS.named("function", place=5)
class FunctionConfig(GeneratorConfig):
    """A function of yours: a renderer, a simulator or a service, without a gradient (guidance.candidates)."""

    has_denoiser: ClassVar[bool] = False
    examples: ClassVar[str | None] = None

    kind: Literal["function"]
    call: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        description='"module:function", of labels int64 [B] and seeds uint64 [B]; gives samples [B, *shape], or texts',
    )

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None, progress: Progress = silent
    ) -> "Generator":
        return FunctionGenerator(self._function(), self._key, source)

    def requirements(self) -> list[Finding]:
        """Imports the function: a run would find out later only."""
        problem = None
        try:
            self._function()
        except (MissingError, InputError) as error:
            problem = str(error)
        return [Finding("generator", self.call, problem)]

    def _function(self) -> Callable[..., Any]:
        try:
            function = resolve_name(self.call)
        except (Exception, SystemExit) as error:  # the module may raise anything when it is imported
            raise MissingError(
                f"{self._key}: {type(error).__name__}: {error}; it should name a function of a module "
                "that Python finds: installed, or in a folder of PYTHONPATH"
            ) from error
        if not callable(function):
            raise InputError(f"{self._key} is of type {type(function).__name__}: should be a function")
        return function

    def code_digest(self) -> str:
        return code_digest(self.call.partition(":")[0])

    @property
    def remedy(self) -> str:
        return f"mend {self._key}"

    @property
    def _key(self) -> str:
        return f"generator.call = '{self.call}'"


class FunctionGenerator:
    """Samples of function(labels int64 [batch], seeds uint64 [batch]), in numpy.

    It returns floats [batch, *sample_shape], images in [-1, 1], or what else the data's `as_samples` takes. Row i must
    be a function of labels[i] and seeds[i] alone.
    """

    def __init__(
        self,
        function: "Callable[[np.ndarray, np.ndarray], Any]",
        name: str,
        source: DataConfig,
    ) -> None:
        self.function = function
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
        if guidance is not None:
            raise InputError(f"{self.name} gives no gradient: its samples cannot be guided")
        try:
            given = self.function(labels.numpy().copy(), seeds.copy())  # which it may change
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # it may raise anything
            at = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{at.filename}, line {at.lineno}"
            raise InputError(f"{self.name} raised {type(error).__name__}: {error} ({where})") from error
        return self.as_samples(given, len(labels), self.name)

    def offload(self) -> None:
        """Nothing is held here."""
