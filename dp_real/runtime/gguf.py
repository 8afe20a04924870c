"""Language models in one file of GGUF, a flat format without code, as llama.cpp and Ollama have them."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_base.checksums import digest
from dp_base.errors import InputError, MissingError
from dp_base.extras import require_package
from dp_base.progress import Progress, silent
from dp_base.reading import foreign_file
from dp_real.runtime.cache import cached
from dp_real.runtime.model_folders import is_gguf, model_file

if TYPE_CHECKING:
    from collections.abc import Iterator

RECIPE = 1  # raise it when the same file gives another folder
NAME = "model.gguf"
EXTRA = "gguf"
MOST_TIMES = 4  # parameters that a model may have, for one that its file holds: embeddings may be shared


def as_folder(model: str, progress: Progress = silent) -> str:
    """Return the folder of a model's weights and tokenizer. That of a GGUF file is made on first use, and cached.

    A name that is no GGUF file's is returned as it is. Weights are unpacked to float32, four bytes a parameter.

    Raises
    ------
    MissingError
        If there is no such file, or the package gguf is missing.
    InputError
        If it holds no language model that transformers knows, or says that it is larger than it is.
    """
    if not is_gguf(model):
        return model
    file = model_file(model)
    require_package("gguf", EXTRA, "a GGUF file")

    def make(folder: Path) -> None:
        with foreign_file(model, "cannot be read as GGUF"), progress(f"unpacking {file.name}", 2) as advance:
            _unpack(file, folder, advance)

    return str(cached("gguf", {"recipe": RECIPE, "file": digest(file)}, make))


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


def _unpack(file: Path, folder: Path, advance: Any) -> None:
    """Write the model and the tokenizer of a file into a folder, as transformers has them."""
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    from dp_real.runtime.hub import quietly

    alone = folder / "alone"  # a folder in which transformers finds nothing but the file
    alone.mkdir()
    (alone / NAME).symlink_to(file.resolve())
    options: dict[str, Any] = {"gguf_file": NAME, "local_files_only": True, "trust_remote_code": False}
    with quietly(), _silent():
        plain = _empty_model(alone, options)
        read = AutoModelForCausalLM.from_pretrained(alone, dtype="float32", **options)
        # What was read still says that it is quantised, which it is no longer, and would not let itself be saved.
        plain.load_state_dict(read.state_dict(), assign=True)
        plain.save_pretrained(folder)
        advance(1)
        AutoTokenizer.from_pretrained(alone, **options).save_pretrained(folder)
        advance(1)
    shutil.rmtree(alone)


def _empty_model(folder: Path, options: dict[str, Any]) -> Any:
    """Return the model that a file describes, without weights.

    Raises InputError if it is much larger than what the file holds.
    """
    import torch
    from gguf import GGUFReader
    from transformers.models.auto.configuration_auto import AutoConfig
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM

    tensors = GGUFReader(folder / NAME).tensors
    held = sum(int(tensor.n_elements) for tensor in tensors)
    config: Any = AutoConfig.from_pretrained(folder, **options)
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
