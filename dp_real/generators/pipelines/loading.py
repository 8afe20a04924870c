"""Loads pipelines of diffusers: safetensors only, and no safety checker, which would blacken images."""

import json
import logging
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import torch
from huggingface_hub import hf_hub_download

from dp_base.errors import InputError, MissingError
from dp_real import distributed
from dp_real.generators.pipelines.generator import OWN_LOOP
from dp_real.generators.pipelines.guide import check_class
from dp_real.generators.pipelines.sizes import RANDOM
from dp_real.runtime.hub import load, reading
from dp_real.runtime.model_folders import lacking


def load_index(model: str) -> dict[str, Any]:
    """Read model_index.json, and refuse a pipeline that cannot be used."""
    if model == RANDOM:
        return {"_class_name": "StableDiffusionPipeline"}
    with reading(model, "a diffusers pipeline", pipeline=True) as local:
        path = Path(model, "model_index.json") if local else hf_hub_download(model, "model_index.json")
        index = dict(json.loads(Path(path).read_text(encoding="utf-8")))
    name = str(index.get("_class_name"))
    kind = getattr(diffusers, name, None)
    if not isinstance(kind, type) or ("prompt" not in signature(kind.__call__).parameters and name not in OWN_LOOP):
        raise InputError(f"{model}: {name} is no pipeline of diffusers that draws images for prompts, or DiTPipeline")
    check_class(kind)
    return index


def load_pipeline(model: str, dtype: str = "float32") -> Any:
    """Load a pipeline with weights of type `dtype`."""
    index = load_index(model)
    if Path(model).is_dir():
        lack = lacking(Path(model), pipeline=True)
        if lack:
            raise MissingError(f"{model} {'; '.join(lack)}")
    absent = [name for name, part in index.items() if part == [None, None]]
    options: dict[str, Any] = dict.fromkeys(absent)
    if index["_class_name"] == "StableDiffusionPipeline":
        options |= {"safety_checker": None, "requires_safety_checker": False}
        if any(index.get("safety_checker") or ()) and distributed.this_process().is_main_process:
            logging.getLogger(__name__).warning("%s: its safety checker is off; it would blacken images", model)
    return load(getattr(diffusers, index["_class_name"]), model, dtype, **options)


def load_tiny_decoder(model: str, dtype: str = "float32") -> Any:
    """Load an AutoencoderTiny from a folder or the hub."""
    kind: Any = diffusers.AutoencoderTiny
    return kind().to(distributed.device(), getattr(torch, dtype)) if model == RANDOM else load(kind, model, dtype)
