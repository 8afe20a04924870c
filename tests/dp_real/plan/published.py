"""Published text-to-image architectures, made without memory for their weights, and what they cost by counting.

Sources: the defaults of diffusers' classes and its scripts that convert the published weights, which name the sizes.
`python -m tests.dp_real.plan.published NAME...` prints what dp_real.generators.pipelines.sizes has.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import diffusers
import torch
from torch import Tensor

from dp_real.generators.pipelines.sizes import NetworkCost
from dp_real.plan.work import kept_bytes
from dp_real.runtime.flops import count

MODELS: Any = diffusers  # it does not declare that it exports them
TEXT = {
    "CLIP-L": 0.123e9,
    "CLIP-H": 0.340e9,
    "CLIP-bigG": 0.695e9,
    "T5-XXL": 4.762e9,
    "Gemma-2-2B": 2.614e9,
    "Qwen2.5-VL-7B": 8.292e9,
}
KL: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
KL16 = KL | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
DC: dict[str, Any] = {
    "latent_channels": 32,
    "attention_head_dim": 32,
    "encoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "decoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3),
    "decoder_layers_per_block": (3,) * 6,
    "encoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    "decoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    "downsample_block_type": "conv",
    "upsample_block_type": "interpolate",
}
XL: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 1280 + 6 * 256,
}
SD3: dict[str, Any] = {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536}


class Published(NamedTuple):
    """A published architecture."""

    denoiser: Callable[[], Any]  # makes it
    decoder: Callable[[], Any]  # makes it
    latent: tuple[int, int, int]  # shape of a latent [C, h, w]
    arguments: Callable[[int], dict[str, Any]]  # the denoiser's for a number of rows, without the latents
    texts: tuple[str, ...]  # names of the text encoders
    packs: bool = False  # whether 2 x 2 latents go into one token


def _text(length: int, width: int, **more: tuple[int, ...]) -> Callable[[int], dict[str, Any]]:
    shapes = {"encoder_hidden_states": (length, width)} | more
    return lambda rows: {name: torch.empty(rows, *shape) for name, shape in shapes.items()}


def _pixart(length: int) -> Callable[[int], dict[str, Any]]:
    def arguments(rows: int) -> dict[str, Any]:
        conditions: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
        if length == 120:  # PixArt-alpha is told the sizes of images
            conditions = {"resolution": torch.empty(rows, 2), "aspect_ratio": torch.empty(rows, 1)}
        return _text(length, 4096)(rows) | {"added_cond_kwargs": conditions}

    return arguments


def _flux(rows: int) -> dict[str, Any]:
    ids = {"img_ids": torch.empty(4096, 3), "txt_ids": torch.empty(512, 3), "guidance": torch.empty(rows)}
    return _text(512, 4096, pooled_projections=(768,))(rows) | ids


def _qwen(rows: int) -> dict[str, Any]:
    return _text(32, 3584)(rows) | {"img_shapes": [[(1, 64, 64)]] * rows, "encoder_hidden_states_mask": None}


def _dit(rows: int) -> dict[str, Any]:
    return {"class_labels": torch.zeros(rows, dtype=torch.int64)}


def _sd3(**sizes: Any) -> Published:
    sizes = SD3 | {"pos_embed_max_size": 192, "sample_size": 128} | sizes
    return Published(
        lambda: MODELS.SD3Transformer2DModel(**sizes),
        lambda: MODELS.AutoencoderKL(**KL16),
        (16, 128, 128),
        _text(333, 4096, pooled_projections=(2048,)),
        ("CLIP-L", "CLIP-bigG", "T5-XXL"),
    )


def _pixart_xl(side: int, alpha: bool) -> Published:
    sizes: dict[str, Any] = {"sample_size": side, "caption_channels": 4096, "use_additional_conditions": alpha}
    return Published(
        lambda: MODELS.PixArtTransformer2DModel(**sizes),
        lambda: MODELS.AutoencoderKL(**KL),
        (4, side, side),
        _pixart(120 if alpha else 300),
        ("T5-XXL",),
    )


def _dit_xl(side: int) -> Published:
    return Published(
        lambda: MODELS.DiTTransformer2DModel(sample_size=side, out_channels=8),
        lambda: MODELS.AutoencoderKL(**KL),
        (4, side, side),
        _dit,
        (),
    )


def _stable(side: int, width: int, **sizes: Any) -> Published:
    def arguments(rows: int) -> dict[str, Any]:
        more = {"text_embeds": torch.empty(rows, 1280), "time_ids": torch.empty(rows, 6)}
        return _text(77, width)(rows) | {"added_cond_kwargs": more}

    return Published(
        lambda: MODELS.UNet2DConditionModel(sample_size=side, cross_attention_dim=width, **sizes),
        lambda: MODELS.AutoencoderKL(**KL),
        (4, side, side),
        arguments,
        {64: ("CLIP-L",), 96: ("CLIP-H",), 128: ("CLIP-L", "CLIP-bigG")}[side],
    )


PUBLISHED = {
    "SD1": _stable(64, 768),
    "SD2": _stable(96, 1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True),
    "XL": _stable(128, 2048, **XL),
    "SD3": _sd3(),
    "SD35_MEDIUM": _sd3(pos_embed_max_size=384, qk_norm="rms_norm", dual_attention_layers=tuple(range(13))),
    "SD35_LARGE": _sd3(num_layers=38, num_attention_heads=38, caption_projection_dim=2432, qk_norm="rms_norm"),
    "FLUX": Published(
        lambda: MODELS.FluxTransformer2DModel(guidance_embeds=True),
        lambda: MODELS.AutoencoderKL(**KL16),
        (16, 128, 128),
        _flux,
        ("CLIP-L", "T5-XXL"),
        packs=True,
    ),
    "QWEN": Published(
        MODELS.QwenImageTransformer2DModel,
        MODELS.AutoencoderKLQwenImage,
        (16, 128, 128),
        _qwen,
        ("Qwen2.5-VL-7B",),
        packs=True,
    ),
    "SANA": Published(
        MODELS.SanaTransformer2DModel,
        lambda: MODELS.AutoencoderDC(**DC),
        (32, 32, 32),
        _text(300, 2304),
        ("Gemma-2-2B",),
    ),
    "PIXART_ALPHA": _pixart_xl(128, alpha=True),
    "PIXART_SIGMA": _pixart_xl(128, alpha=False),
    "DIT_256": _dit_xl(32),
    "DIT_512": _dit_xl(64),
}


def counted(name: str) -> dict[str, Any]:
    """Return the parameters of an architecture and each of its parts, as PipelineSize has them."""
    one = PUBLISHED[name]
    with torch.device("meta"):
        denoiser = one.denoiser()
        decoder = one.decoder()
        t = torch.zeros(1)
        tiny = MODELS.AutoencoderTiny(latent_channels=one.latent[0])
        for module in (denoiser, decoder, tiny):
            module.eval().requires_grad_(False)

        def denoise(x: Tensor) -> Tensor:
            packed = x.reshape(len(x), -1, 64) if one.packs else x
            return denoiser(packed, timestep=t.expand(len(x)), return_dict=False, **one.arguments(len(x)))[0]

        def decode(x: Tensor) -> Tensor:
            film = isinstance(decoder, MODELS.AutoencoderKLQwenImage)
            return decoder.decode(x.unsqueeze(2) if film else x, return_dict=False)[0]

        parts = {"denoiser": denoise, "decoder": decode}
        if one.latent[0] in (4, 16):
            parts["tiny"] = lambda x: tiny.decode(x, return_dict=False)[0]
        found: dict[str, Any] = {"parameters": sum(TEXT[text] for text in one.texts)}
        found["parameters"] += sum(weight.numel() for module in (denoiser, decoder) for weight in module.parameters())
        for part, work in parts.items():
            x, two = (torch.empty(rows, *one.latent, requires_grad=True) for rows in (1, 2))
            forward = count(lambda work=work, x=x: work(x)) / 1e12
            both = count(lambda work=work, x=x: work(x).sum().backward()) / 1e12
            found[part] = NetworkCost(forward, both - forward, kept_bytes(work, two) - kept_bytes(work, x))
    return found


if __name__ == "__main__":
    for name in sys.argv[1:] or PUBLISHED:
        print(name, counted(name), flush=True)
