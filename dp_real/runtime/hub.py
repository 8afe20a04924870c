"""Reads weights from a folder or the hub: safetensors only, and only what the user named is fetched.

What a name or a folder lacks is told before anything is read, so that `dp real plan` and a run say the same.

No code that comes with a model is run, and nobody is asked whether to run it. diffusers passes no trust_remote_code on
to the parts of a pipeline, but takes none of the Auto classes of transformers, which alone would ask.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub.utils import HFValidationError, validate_repo_id
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from dp_base.errors import InputError, MissingError
from dp_real.runtime import processes

LIBRARIES: tuple[Any, ...] = (diffusers_logging, transformers_logging)
HUB_URL = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?!datasets/|spaces/)([\w.-]+/[\w.-]+)")
CHECKPOINTS = (".safetensors", ".ckpt")  # that may be a whole pipeline in one file
NAME = "name a folder that save_pretrained wrote, or a hub id as owner/name"
WHOLE = "must hold what save_pretrained writes, with safetensors"
# What a part must have one of, if this is in the name of its class; any other is a model, with weights.
FILES = {
    "Tokenizer": ("tokenizer.json", "vocab*", "*.model"),
    "Scheduler": ("scheduler_config.json",),
    "Processor": ("preprocessor_config.json", "processor_config.json"),
    "FeatureExtractor": ("preprocessor_config.json",),
}
ANY = "*.safetensors"
# Weights by the names that transformers and diffusers read, in one file or in shards; those of a variant are not read.
WEIGHTS = re.compile(r"(?:diffusion_pytorch_)?model(?:-\d+-of-(\d+))?\.safetensors")
VARIANT = re.compile(r"(?:diffusion_pytorch_)?model(?:-\d+-of-\d+)?\.(\w+)(?:-\d+-of-\d+)?\.safetensors")


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


def misnamed(model: str, pipeline: bool = False) -> str | None:
    """What a URL, or a file where a folder should be, is to be replaced by; None if `model` is neither.

    pipeline: whether it is to be a pipeline of diffusers, which a checkpoint in one file can be made into.
    """
    path = Path(model)
    if url := HUB_URL.match(model):
        return f"{model} is a URL; name the hub id: {url[1].removesuffix('.git')}"
    if "://" in model:
        return f"{model} is a URL; {NAME}"
    if path.is_file():
        return f"{model} is one file, not a folder; {_instead_of(path, pipeline)}"
    return None


def _instead_of(file: Path, pipeline: bool) -> str:
    """What to name instead of a file: the pipeline that it is in, or what it can be converted to."""
    inside = [folder for folder in file.absolute().parents[:2] if (folder / "model_index.json").is_file()]
    if pipeline and inside:
        return f"name the pipeline that it is in: {inside[0]}"
    if not pipeline or not file.name.endswith(CHECKPOINTS):
        return NAME
    kind, folder = "StableDiffusionPipeline", str(file.with_suffix(""))
    code = f"from diffusers import {kind}; {kind}.from_single_file({str(file)!r}).save_pretrained({folder!r})"
    others = "StableDiffusionXLPipeline for XL, StableDiffusion3Pipeline for 3"
    return f'convert it where there is a network, and name {folder}: python -c "{code}" ({others})'


def is_hub_id(model: str) -> bool:
    """Whether it may be the id of a model on the hub: owner/name."""
    try:
        validate_repo_id(model)
    except HFValidationError:
        return False
    return model.count("/") == 1 and not model.startswith("~") and not model.endswith(CHECKPOINTS)


def lacking(folder: Path, pipeline: bool = False) -> tuple[str, str] | None:
    """What a folder lacks of its model, or of the pipeline that its model_index.json names, and what to do; or None.

    Libraries do not refuse all of it: of a folder without files transformers makes a tokenizer that knows no word.
    """
    index, remedy = folder / "model_index.json", f"it {WHOLE}"
    if pipeline and not index.is_file():
        return "lacks model_index.json", remedy
    try:
        parts = _parts(dict(json.loads(index.read_text(encoding="utf-8")))) if index.is_file() else {"": ""}
    except (ValueError, TypeError):
        return "has a model_index.json that cannot be read", remedy
    lacks = {part: lack for part, kind in parts.items() if (lack := _lack(folder / part, kind))}
    if not lacks:
        return None
    variants = {_variant(folder / part) if lack == ANY else "" for part, lack in lacks.items()}
    if not all(variants):
        return f"lacks {', '.join(str(Path(part, lack)) for part, lack in lacks.items())}", remedy
    variant, new = min(variants), f"{folder}-plain"
    if not index.is_file():
        return f"has only {variant} weights", f"name the files without .{variant}"
    code = f"from diffusers import DiffusionPipeline as P; P.from_pretrained({str(folder)!r}, variant={variant!r})"
    remedy = f'write plain ones, and name {new}: python -c "{code}.save_pretrained({new!r})"'
    return f"has only {variant} weights in {', '.join(lacks)}", remedy


def _parts(index: dict[str, Any]) -> dict[str, str]:
    """The parts of a pipeline that are loaded, and the class of each: [library, class], or two nulls for no part."""
    pairs = {part: kind for part, kind in index.items() if isinstance(kind, list) and len(kind) == 2}
    return {part: kind[1] for part, kind in pairs.items() if isinstance(kind[1], str) and part != "safety_checker"}


def _lack(folder: Path, kind: str) -> str | None:
    """What is not in the folder of a part of this class; ".": the folder itself."""
    if not folder.is_dir():
        return "."
    files = next((files for name, files in FILES.items() if name in kind), None)
    if not any(any(folder.glob(each)) for each in files or ("config.json",)):
        return files[0] if files else "config.json"
    found = [match for file in folder.iterdir() if (match := WEIGHTS.fullmatch(file.name))]
    if files or any(len(found) >= int(match[1] or 1) for match in found):
        return None
    return f"*-of-{found[0][1]}.safetensors" if found else ANY


def _variant(folder: Path) -> str:
    """The variant of which weights are in the folder of a part, such as fp16; empty if there is none."""
    return next((match[1] for file in sorted(folder.iterdir()) if (match := VARIANT.fullmatch(file.name))), "")


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
    """Yield whether `model` is a folder, else a hub id. what: names the model in messages. pipeline: see `misnamed`.

    Raises MissingError if `model` is neither, or in place of what the block raises for files that it cannot read.
    """
    if fault := misnamed(model, pipeline):
        raise MissingError(fault)
    local = Path(model).is_dir()
    if not local and not is_hub_id(model):
        raise MissingError(f"{model}: no such folder; {NAME}")
    try:
        yield local
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        remedy = (
            f"the folder {WHOLE}"
            if local
            else f"fetch it where there is a network ({download(model)}), or name a folder that holds it"
        )
        cause = str(error).strip().partition("\n")[0]
        raise MissingError(f"{model}: no {what.removeprefix('a ')} could be read: {remedy}: {cause}") from error


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
