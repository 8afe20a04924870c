"""Checks a model's name or folder before anything is loaded."""

import math
import os
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.utils import HFValidationError, validate_repo_id
from safetensors import SafetensorError, safe_open

from dp_base.checksums import cached_digests, json_digest
from dp_base.errors import InputError
from dp_base.imports import install_command

READ = (".json", ".txt", ".model", ".jinja", ".safetensors")  # endings of the files that are read in a model's folder
CHECKPOINTS = (".safetensors", ".ckpt")  # endings of files that may be a whole pipeline
NAME_REMEDY = "name a folder that save_pretrained wrote, or a hub id as owner/name"
WHOLE = "must hold what save_pretrained, or a run, writes, with safetensors"

TIMM = "timm"  # the package, and the extra

WEIGHTS = re.compile(r"(?:diffusion_pytorch_)?model(?:-\d+-of-(\d+))?\.safetensors")
"""Names of weight files that transformers and diffusers read, whole or in shards."""


def size_of(folder: Path) -> int:
    """The numbers in a folder's weights, by their headers."""
    shapes: list[list[int]] = []
    for file in sorted(folder.glob("*.safetensors")):
        if WEIGHTS.fullmatch(file.name):
            try:
                with safe_open(file, "numpy") as opened:
                    shapes += [opened.get_slice(name).get_shape() for name in opened.keys()]  # noqa: SIM118
            except SafetensorError as error:
                raise InputError(f"{file} is no whole file of safetensors: {error}") from error
    return sum(map(math.prod, shapes))


def download_command(model: str) -> str:
    """Fetches a model's used files, not copies for other libraries or dtypes."""
    included = "".join(f" --include '{files}'" for files in ("*.json", "*.txt", "*.model", "*model*.safetensors"))
    excluded = "".join(f" --exclude '{files}'" for files in ("*fp16*", "*non_ema*", "safety_checker/*"))
    return f"hf download {model}{included}{excluded}"


def local_folder(model: str) -> Path | None:
    """The folder of a model, or of its files in the hub's cache; None if it is missing."""
    folder = Path(model)
    try:
        return folder if folder.is_dir() else Path(snapshot_download(model, local_files_only=True))
    except (OSError, ValueError):  # no hub id, or not fetched
        return None


def weights_digest(model: str) -> str:
    """A digest of a model's files, or its commit on the hub; empty if it is missing."""
    folder = local_folder(model)
    if folder is None or folder != Path(model):
        return folder.name if folder else ""
    every = (Path(place, name) for place, _, names in os.walk(folder, followlinks=True) for name in names)
    files = sorted(file for file in every if file.suffix in READ and file.is_file())
    names = [file.relative_to(folder).as_posix() for file in files]
    try:
        return json_digest([*cached_digests(folder, names).items()])
    except OSError:
        return ""


def is_hub_id(model: str) -> bool:
    """Whether a name may be owner/name on the hub."""
    try:
        validate_repo_id(model)
    except HFValidationError:
        return False
    if model.count("/") != 1 or model.startswith("~") or model.endswith(CHECKPOINTS):
        return False
    return not any(Path(model).parent.glob("*/config.toml"))  # OWNER is a folder of runs


def missing_package(error: ImportError) -> str:
    """The package that a library found missing, and how to install it."""
    cause = " ".join(str(error).split()).partition(". You can install it")[0]
    return f"{cause}: {install_command(TIMM)}" if TIMM in cause else cause
