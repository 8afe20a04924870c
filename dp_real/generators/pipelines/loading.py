"""Loads pipelines of diffusers: safetensors only, and no safety checker, which would blacken images."""

import json
import logging
import math
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from huggingface_hub import hf_hub_download
from torch import nn
from transformers import PreTrainedTokenizerBase

from dp_base.errors import InputError
from dp_real.generators.pipelines.generator import DDIM_PIPELINES
from dp_real.guidance.guide import check_class
from dp_real.runtime import distributed
from dp_real.runtime.hub import load, quietly, reading, require_distinct_prompts, require_words


def load_index(model: str) -> dict[str, Any]:
    """Read model_index.json, and refuse a pipeline that cannot be used."""
    with reading(model, "a diffusers pipeline") as local:
        path = Path(model, "model_index.json") if local else hf_hub_download(model, "model_index.json")
        index = dict(json.loads(Path(path).read_text(encoding="utf-8")))
    name = str(index.get("_class_name"))
    check_draws_images(getattr(diffusers, name, None), name, model)
    return index


def check_draws_images(kind: Any, name: str, where: str) -> None:
    """InputError for a class of pipelines that cannot draw images of given classes."""
    if not isinstance(kind, type) or (
        "prompt" not in signature(kind.__call__).parameters and name not in DDIM_PIPELINES
    ):
        raise InputError(f"{where}: {name} is no pipeline of diffusers that draws images for prompts, or DiTPipeline")
    check_class(kind)


def load_pipeline(model: str, dtype: str = "float32") -> Any:
    """Load a pipeline with weights of type `dtype`."""
    index = load_index(model)
    parts: dict[str, Any] = {name: None for name, part in index.items() if part == [None, None]}
    if index["_class_name"] == "StableDiffusionPipeline":
        parts |= {"safety_checker": None, "requires_safety_checker": False}
        if any(index.get("safety_checker") or ()) and distributed.this_process().is_main_process:
            logging.getLogger(__name__).warning("%s: its safety checker is off; it would blacken images", model)
    kind = getattr(diffusers, index["_class_name"])
    with reading(model, kind.__name__) as local, quietly():
        parts |= {
            name: load(network, model, dtype, subfolder=name)
            for name, part in index.items()
            if name not in parts and (network := _network(part))
        }
        pipe = kind.from_pretrained(
            model,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=local,
            trust_remote_code=False,
            **parts,
        )
    for name, part in pipe.components.items():
        if isinstance(part, PreTrainedTokenizerBase):
            require_words(part, str(Path(model, name)))
    return pipe


def check_prompts(pipe: Any, prompts: Sequence[Sequence[Any]]) -> None:
    """InputError if the prompts of two classes have the same tokens."""
    parameter = signature(type(pipe).__call__).parameters.get("max_sequence_length")
    max_tokens: Any = (parameter and parameter.default) or math.inf
    tokenizers = (part for part in pipe.components.values() if isinstance(part, PreTrainedTokenizerBase))
    require_distinct_prompts(prompts, [(each, int(min(each.model_max_length, max_tokens))) for each in tokenizers])


def _network(named: Any) -> Any:
    """The class of a part with weights, of which the pipeline itself would not report missing ones."""
    libraries: dict[Any, Any] = {"diffusers": diffusers, "transformers": transformers}
    library, name = named if isinstance(named, list) and len(named) == 2 else (None, "")
    kind = getattr(libraries.get(library), name, None)
    return kind if isinstance(kind, type) and issubclass(kind, nn.Module) else None


def load_tiny_decoder(model: str, dtype: str = "float32") -> Any:
    """Load an AutoencoderTiny from a folder or the hub."""
    return load(diffusers.AutoencoderTiny, model, dtype)
