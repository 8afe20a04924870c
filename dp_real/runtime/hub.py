"""Reads weights from a folder or the hub: safetensors only, and nothing is fetched but what the user named.

No code that comes with a model is run, and nobody is asked whether to run it. diffusers does not pass trust_remote_code
on to the parts of a pipeline. But it takes none of the Auto classes of transformers, which alone would ask.
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
from dp_real.runtime.model_folders import NAME, WHOLE, download_command, is_hub_id, misnamed, missing_package

LIBRARIES: tuple[Any, ...] = (diffusers_logging, transformers_logging)


def load(kind: Any, model: str, dtype: str = "float32", **options: Any) -> Any:
    """Load a model by `kind.from_pretrained`, from safetensors only. `model` is a folder, or a hub id.

    A hub id that is not in the hub's cache is fetched. Raises MissingError if `model` is neither, or cannot be read.
    Raises InputError if the model needs code of its own.
    """
    with reading(model, kind.__name__) as is_local, no_code_of(model), quietly():
        loaded = kind.from_pretrained(
            model,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=is_local,
            trust_remote_code=False,
            **options,
        )
    return loaded.to(processes.device())


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
def reading(model: str, what: str, pipeline: bool = False) -> Iterator[bool]:
    """Run a block that reads a model. Yield whether `model` is a folder; otherwise it is a hub id.

    `what` names the model in messages, and `pipeline` is that of `misnamed`. Raises MissingError if `model` is neither
    a folder nor a hub id, and in place of what the block raises for files that it cannot read.
    """
    if fault := misnamed(model, pipeline):
        raise MissingError(fault)
    is_local = Path(model).is_dir()
    if not is_local and not is_hub_id(model):
        raise MissingError(f"{model}: no such folder; {NAME}")
    try:
        yield is_local
    except ImportError as error:  # of a library of its own, such as timm
        raise MissingError(f"{model}: {missing_package(error)}") from error
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        if is_local:
            remedy = f"the folder {WHOLE}"
        else:
            command = download_command(model)
            remedy = f"fetch it where there is a network ({command}), or name a folder that holds it"
        cause = str(error).strip().partition("\n")[0]
        raise MissingError(f"{model}: no {what.removeprefix('a ')} could be read: {remedy}: {cause}") from error


@contextmanager
def quietly() -> Iterator[None]:
    """Within the block, keep diffusers and transformers from printing warnings and the progress of reading and writing.

    The progress bars of downloads, which are the hub's own, stay.
    """
    before = [(library, library.get_verbosity(), library.is_progress_bar_enabled()) for library in LIBRARIES]
    try:
        for library in LIBRARIES:
            library.set_verbosity_error()
            library.disable_progress_bar()
        yield
    finally:
        for library, verbosity, has_progress_bars in before:
            library.set_verbosity(verbosity)
            if has_progress_bars:
                library.enable_progress_bar()
