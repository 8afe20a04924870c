"""Published text-to-image architectures (published.toml), made without memory for their weights, and what they cost."""

import tomllib
from pathlib import Path

import diffusers
import torch

from dp_real.generators.diffusers import NetworkCost
from dp_real.runtime.computing import count

KNOWN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
PUBLISHED, DECODERS = KNOWN["pipelines"], KNOWN["decoders"]


def made(config):
    return getattr(diffusers, config["_class_name"]).from_config(config).eval().requires_grad_(False)


def told(value):
    """What a denoiser is told about one row."""
    if isinstance(value, dict):
        return {name: told(part) for name, part in value.items()}
    if isinstance(value, int):
        return torch.tensor([value])
    return torch.empty(value) if isinstance(value[0], int) else value


def cost_of(part, latent):
    """What a part of frozen weights costs for one row of this shape."""
    x = torch.zeros(1, *latent, requires_grad=True)
    forward, both = (count(work) / 1e12 for work in (lambda: part(x), lambda: part(x).sum().backward()))
    return NetworkCost(forward, both - forward)


def counted(name):
    """Return the costs of an architecture's parts, which dp_real.generators.diffusers has."""
    one = PUBLISHED[name]
    channels = one["latent"][0]
    with torch.device("meta"):
        denoiser, decoder = made(one["denoiser"]), made(DECODERS[one["decoder"]])
        tiny = made({"_class_name": "AutoencoderTiny", "latent_channels": channels})

        def denoise(x):
            packed = x.reshape(1, -1, 64) if "packs" in one else x
            return denoiser(packed, timestep=torch.zeros(1), return_dict=False, **told(one["told"]))[0]

        def decode(x):
            return decoder.decode(x.unsqueeze(2) if one["decoder"] == "QWEN" else x, return_dict=False)[0]

        parts = {"denoiser": denoise, "decoder": decode}
        if channels in (4, 16):
            parts["tiny"] = lambda x: tiny.decode(x, return_dict=False)[0]
        return {name: cost_of(part, one["latent"]) for name, part in parts.items()}
