"""Reads weights from a folder or the hub: safetensors only, and only what the user named is fetched.

No code that comes with a model is run, and nobody is asked whether to run it. diffusers passes no trust_remote_code on
to the parts of a pipeline, but takes none of the Auto classes of transformers, which alone would ask.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from dp_base.errors import InputError, MissingError
from dp_real.runtime import processes

LIBRARIES: tuple[Any, ...] = (diffusers_logging, transformers_logging)


def load(kind: Any, model: str, dtype: str = "float32", **options: Any) -> Any:
    """Load a model by `kind.from_pretrained`, safetensors only. model: a folder, or a hub id, which may be fetched.

    Raises MissingError if it is neither, or cannot be read, InputError if it needs code of its own.
    """
    with reading(model, kind.__name__) as local, no_code_of(model), quietly():
        loaded = kind.from_pretrained(
            model,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=local,
            trust_remote_code=False,
            **options,
        )
    return loaded.to(processes.device())


def download(model: str) -> str:
    """The command that fetches what is used of a model or a pipeline, not its copies for other libraries or dtypes."""
    included = "".join(f" --include '{files}'" for files in ("*.json", "*.txt", "*.model", "*model*.safetensors"))
    excluded = "".join(f" --exclude '{files}'" for files in ("*fp16*", "*non_ema*", "safety_checker/*"))
    return f"hf download {model}{included}{excluded}"


@contextmanager
def no_code_of(model: str) -> Iterator[None]:
    """Within the block, raise InputError in place of a library's advice to run code that comes with a model."""
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error) and "remote code" not in str(error):
            raise
        raise InputError(
            f"{model}: it needs code that comes with it (auto_map, or a module of its own), and such code is never run "
            "here; name a model whose classes transformers or diffusers has"
        ) from error


@contextmanager
def reading(model: str, what: str) -> Iterator[bool]:
    """Yield whether `model` is a folder, else a hub id. what: names the model in messages.

    Raises MissingError if `model` is neither, or in place of what the block raises for files that it cannot read.
    """
    local = Path(model).is_dir()
    if not local and (Path(model).is_absolute() or model.startswith(("./", "../", "~")) or model.count("/") != 1):
        raise MissingError(f"{model}: no such folder; put {what} there, or name a hub id")
    try:
        yield local
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        remedy = (
            "the folder must hold what save_pretrained writes, with safetensors"
            if local
            else f"fetch it where there is a network ({download(model)}), or name a folder that holds it"
        )
        raise MissingError(f"{model}: no {what.removeprefix('a ')} could be read: {remedy}") from error


@contextmanager
def quietly() -> Iterator[None]:
    """Within the block, diffusers and transformers print no remarks and no progress bars of reading and writing.

    The progress bars of downloads, which are the hub's own, stay.
    """
    before = [(library, library.get_verbosity(), library.is_progress_bar_enabled()) for library in LIBRARIES]
    try:
        for library in LIBRARIES:
            library.set_verbosity_error()
            library.disable_progress_bar()
        yield
    finally:
        for library, verbosity, bars in before:
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()
