"""Models in one file: GGUF, the flat format without code of llama.cpp and Ollama, or a zip of a model's folder."""

from __future__ import annotations

import contextlib
import io
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_base.checksums import digest
from dp_base.errors import InputError, MissingError
from dp_base.extras import require_package
from dp_base.progress import Progress, silent
from dp_base.reading import foreign_file
from dp_real.runtime.cache import cached
from dp_real.runtime.model_folders import GGUF, is_packed, model_file

if TYPE_CHECKING:
    from collections.abc import Iterator

RECIPE = 1  # raise it when the same file gives another folder
NAME = f"model{GGUF}"
MEMBERS = (".json", ".txt", ".model", ".safetensors")  # endings of what is taken out of a zip, all without code
MOST_LARGER = 20  # times that a zip's files may be larger than the zip
EXTRA = "gguf"
MOST_TIMES = 4  # parameters that a model may have, for one that its file holds: embeddings may be shared


def as_folder(model: str, progress: Progress = silent) -> str:
    """Return the folder of a model's weights and tokenizer. That of a packed one is made on first use, and cached.

    A name that is no packed file's is returned as it is. A GGUF file's weights are written as float32. Raises
    MissingError if there is no such file, or the package gguf is missing, InputError if it holds no model that
    transformers knows, or is larger than it should be.
    """
    if not is_packed(model):
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
    """Return how many parameters a file holds; 0 if the file or the package gguf is missing.

    Raises InputError if the file cannot be read.
    """
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
    """Write the model and the tokenizer into a folder, as transformers has them."""
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    from dp_real.runtime.hub import quietly

    alone = folder / "alone"  # a folder in which transformers finds nothing but the file
    alone.mkdir()
    (alone / NAME).symlink_to(file.resolve())
    options: dict[str, Any] = {"gguf_file": NAME, "local_files_only": True}
    with quietly(), _silent():
        plain = _empty_model(alone, options)
        read = AutoModelForCausalLM.from_pretrained(alone, dtype="float32", trust_remote_code=False, **options)
        # What was read still says that it is quantised, which it is no longer, and would not let itself be saved.
        plain.load_state_dict(read.state_dict(), assign=True)
        plain.save_pretrained(folder)
        advance(1)
        AutoTokenizer.from_pretrained(alone, trust_remote_code=False, **options).save_pretrained(folder)
        advance(1)
    shutil.rmtree(alone)


def _empty_model(folder: Path, options: dict[str, Any]) -> Any:
    """Return the model without weights. Raises InputError if it is much larger than what the file holds."""
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


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep the progress bar of unpacking, which has no switch, from the screen."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
