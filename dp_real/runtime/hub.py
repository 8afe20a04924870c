"""Reads weights from a folder or the hub: safetensors only, no code of a model, and nothing that is not named."""

# diffusers does not pass trust_remote_code on to parts, but takes no Auto class of transformers, which alone would ask.

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from dp_base.errors import InputError, MissingError
from dp_real import distributed
from dp_real.runtime.model_folders import NAME, WHOLE, download_command, held, is_hub_id, misnamed, missing_package

MOST_TIMES = 30  # as many parts or numbers as a folder's weights have may be made to read it: they may be packed
MOST_PARTS = 10_000
MOST_NUMBERS = 10**9
"""What may be made besides, such as a fresh last layer."""

LIBRARIES: tuple[Any, ...] = (diffusers_logging, transformers_logging)


def load(kind: Any, model: str, dtype: str = "float32", **options: Any) -> Any:
    """By `kind.from_pretrained`; MissingError if it is not there, InputError if broken."""
    with reading(model, kind.__name__) as is_local, quietly():
        with _no_larger_than(model) if is_local else nullcontext():
            loaded = kind.from_pretrained(
                model,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                local_files_only=is_local,
                trust_remote_code=False,
                **options,
            )
        _require_finite(loaded, model)
    return loaded.to(distributed.device())


def load_tokenizer(model: str, side: Literal["left", "right"]) -> Any:
    """The tokenizer that pads on a side; without a padding token, by its end token, which is masked."""
    with reading(model, "a tokenizer") as local, quietly():
        tokenizer: Any = AutoTokenizer.from_pretrained(model, local_files_only=local, trust_remote_code=False)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            where = Path(model, "tokenizer_config.json") if Path(model).is_dir() else f"{model}'s tokenizer_config.json"
            raise InputError(f"{where}: there is neither a padding nor an end token in it; give it a pad_token")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = side
    return tokenizer


def _require_finite(loaded: Any, model: str) -> None:
    for part in getattr(loaded, "components", {"": loaded}).values():
        for name, weight in part.named_parameters() if isinstance(part, nn.Module) else ():
            if weight.is_floating_point() and not weight.isfinite().all():
                raise InputError(f"{model}: {name} of {type(part).__name__} is not finite")


@contextmanager
def _no_larger_than(folder: str) -> Iterator[None]:
    """InputError for a network much larger than its weights: 10⁶ layers in a config would take hours."""
    there = held(Path(folder))
    parts = MOST_PARTS + MOST_TIMES * there.tensors
    numbers = MOST_NUMBERS + MOST_TIMES * there.numbers

    def count(_: nn.Module, __: str, made: Any) -> None:
        nonlocal parts, numbers
        parts -= 1
        numbers -= made.numel() if isinstance(made, nn.Parameter) else 0
        if parts < 0 or numbers < 0:
            raise InputError(f"{folder}: its config asks for much more than the {there.numbers:,} numbers in it")

    with register_module_parameter_registration_hook(count), register_module_module_registration_hook(count):
        yield


@contextmanager
def reading(model: str, what: str, pipeline: bool = False) -> Iterator[bool]:
    """Make errors of reading a model MissingError or InputError; yields whether it is a folder."""
    if fault := misnamed(model, pipeline):
        raise MissingError(fault)
    is_local = Path(model).is_dir()
    if not is_local and not is_hub_id(model):
        raise MissingError(f"{model}: no such folder; {NAME}")
    problem = f"{model}: no {what.removeprefix('a ')} could be read"
    try:
        yield is_local
    except (InputError, MissingError, torch.OutOfMemoryError):
        raise
    except ImportError as error:  # of a package that only some models need, such as timm
        raise MissingError(f"{model}: {missing_package(error)}") from error
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        if is_local:
            remedy = f"the folder {WHOLE}"
        else:
            command = download_command(model)
            remedy = f"fetch it where there is a network ({command}), or name a folder that holds it"
        cause = str(error).strip().partition("\n")[0]
        raise MissingError(f"{problem}: {remedy}: {cause}") from error
    except Exception as error:  # libraries raise anything for a broken folder
        if type(error).__module__.partition(".")[0] in ("httpx", "httpcore"):
            raise
        if "trust_remote_code" in str(error) or "remote code" in str(error):  # a library's advice to run it
            raise InputError(
                f"{model}: it needs code that comes with it (auto_map, or a module of its own), and such code is never "
                "run here; name a model whose classes transformers or diffusers has"
            ) from error
        cause = " ".join(str(error).split())[:200]
        raise InputError(f"{problem}: {type(error).__name__}: {cause}") from error


@contextmanager
def quietly() -> Iterator[None]:
    """Keep diffusers and transformers from printing, but for bars of downloads."""
    with ExitStack() as at_end:
        for library in LIBRARIES:
            at_end.callback(library.set_verbosity, library.get_verbosity())
            if library.is_progress_bar_enabled():
                at_end.callback(library.enable_progress_bar)
            library.set_verbosity_error()
            library.disable_progress_bar()
        yield
