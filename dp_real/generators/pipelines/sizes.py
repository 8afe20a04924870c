"""The costs of published pipelines, counted on their architectures: sizes.toml."""

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from dp_base.reading import read_json


class NetworkCost(NamedTuple):
    """The cost of one evaluation of a network."""

    forward: float  # TFLOP
    backward: float  # TFLOP, back to the input


class PipelineSize(NamedTuple):
    """The cost of an image of the usual size, `side` pixels square."""

    denoiser: NetworkCost
    decoder: NetworkCost
    tiny: NetworkCost | None  # None: there is no AutoencoderTiny for such latents
    side: int
    config: dict[str, Any]  # keys of its denoiser's configuration that identify it
    models: list[str]  # hub ids


@cache
def published() -> dict[str, PipelineSize]:
    """The pipelines of sizes.toml, by name."""
    text = (resources.files("dp_real.generators.pipelines") / "sizes.toml").read_text(encoding="utf-8")
    sizes = {}
    for name, row in tomllib.loads(text).items():
        costs = {part: NetworkCost(*row[part]) if part in row else None for part in ("denoiser", "decoder", "tiny")}
        sizes[name] = PipelineSize(**row | costs)
    return sizes


def known_size(model: str) -> PipelineSize | None:
    """A pipeline's size, by hub id or denoiser's configuration; None: unknown."""
    for size in published().values():
        if model in size.models:
            return size
    from dp_real.runtime.model_folders import folder_here

    folder = folder_here(model)
    files = [folder / part / "config.json" for part in ("transformer", "unet")] if folder else []
    if file := next(filter(Path.is_file, files), None):
        own = read_json(file)
        return next((size for size in published().values() if size.config.items() <= own.items()), None)
    return None
