"""Published text-to-image architectures, made without memory for their weights, and what they cost by counting.

Sources: the defaults of diffusers' classes and its scripts that convert the published weights, which name the sizes.
`python -m tests.dp_real.plan.published NAME...` prints what dp_real.generators.diffusers has.
"""

import sys
from typing import Any, NamedTuple

import diffusers
import torch

from dp_real.generators.diffusers import NetworkCost
from dp_real.generators.models.stable_diffusion import vae_blocks
from dp_real.runtime.computing import count

KL = vae_blocks(128, 256, 512, 512) | {"layers_per_block": 2}
KL16 = KL | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
DC = {
    "latent_channels": 32,
    "attention_head_dim": 32,
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3),
    "decoder_layers_per_block": (3,) * 6,
    "downsample_block_type": "conv",
    "upsample_block_type": "interpolate",
}
for half in ("encoder", "decoder"):
    DC[f"{half}_block_out_channels"] = (128, 256, 512, 512, 1024, 1024)
    DC[f"{half}_block_types"] = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    DC[f"{half}_qkv_multiscales"] = ((), (), (), (5,), (5,), (5,))
XL = {
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


def text(length, width, **more):
    """What a denoiser is told, without the latents: a tuple is the shape of a row, a list or label is one row's."""
    return {"encoder_hidden_states": (length, width)} | more


class Published(NamedTuple):
    """A published architecture."""

    denoiser: str
    sizes: dict[str, Any]  # the denoiser's
    latent: tuple[int, int, int]  # shape of a latent [C, h, w]
    told: dict[str, Any]  # as `text` has it
    decoder: str = "AutoencoderKL"
    decoder_sizes: dict[str, Any] = KL
    packs: bool = False  # whether 2 x 2 latents go into one token


def stable(side, width, **sizes):
    told = text(77, width, added_cond_kwargs={"text_embeds": (1280,), "time_ids": (6,)})
    sizes |= {"sample_size": side, "cross_attention_dim": width}
    return Published("UNet2DConditionModel", sizes, (4, side, side), told)


def sd3(layers, **sizes):
    sizes |= {"num_layers": layers, "num_attention_heads": layers, "caption_projection_dim": 64 * layers}
    sizes = {"pos_embed_max_size": 192, "sample_size": 128} | sizes
    told = text(333, 4096, pooled_projections=(2048,))
    return Published("SD3Transformer2DModel", sizes, (16, 128, 128), told, decoder_sizes=KL16)


def pixart(length, alpha):
    """PixArt-alpha is told the sizes of images."""
    sizes = {"sample_size": 128, "caption_channels": 4096, "use_additional_conditions": alpha}
    of_images = {"resolution": (2,), "aspect_ratio": (1,)} if alpha else {"resolution": None, "aspect_ratio": None}
    told = text(length, 4096, added_cond_kwargs=of_images)
    return Published("PixArtTransformer2DModel", sizes, (4, 128, 128), told)


def dit(side):
    sizes = {"sample_size": side, "out_channels": 8}
    return Published("DiTTransformer2DModel", sizes, (4, side, side), {"class_labels": 0})


PUBLISHED = {
    "SD1": stable(64, 768),
    "SD2": stable(96, 1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True),
    "XL": stable(128, 2048, **XL),
    "SD3": sd3(24),
    "SD35_MEDIUM": sd3(24, pos_embed_max_size=384, qk_norm="rms_norm", dual_attention_layers=tuple(range(13))),
    "SD35_LARGE": sd3(38, qk_norm="rms_norm"),
    "FLUX": Published(
        "FluxTransformer2DModel",
        {"guidance_embeds": True},
        (16, 128, 128),
        text(
            512,
            4096,
            pooled_projections=(768,),
            guidance=(),
            img_ids=torch.empty(4096, 3, device="meta"),
            txt_ids=torch.empty(512, 3, device="meta"),
        ),
        decoder_sizes=KL16,
        packs=True,
    ),
    "QWEN": Published(
        "QwenImageTransformer2DModel",
        {},
        (16, 128, 128),
        text(32, 3584, img_shapes=[[(1, 64, 64)]], encoder_hidden_states_mask=None),
        decoder="AutoencoderKLQwenImage",
        decoder_sizes={},
        packs=True,
    ),
    "SANA": Published("SanaTransformer2DModel", {}, (32, 32, 32), text(300, 2304), "AutoencoderDC", DC),
    "PIXART_ALPHA": pixart(120, alpha=True),
    "PIXART_SIGMA": pixart(300, alpha=False),
    "DIT_256": dit(32),
    "DIT_512": dit(64),
}


def for_rows(told, rows):
    """The arguments that tell a denoiser about so many rows."""
    if isinstance(told, dict):
        return {name: for_rows(value, rows) for name, value in told.items()}
    if isinstance(told, tuple):
        return torch.empty(rows, *told)
    if isinstance(told, int):
        return torch.full((rows,), told)
    return told * rows if isinstance(told, list) else told


def cost_of(part, latent):
    """What a part of frozen weights costs for one row of this shape."""
    x = torch.zeros(1, *latent, requires_grad=True)
    forward, both = (count(work) / 1e12 for work in (lambda: part(x), lambda: part(x).sum().backward()))
    return NetworkCost(forward, both - forward)


def counted(name):
    """Return the costs of an architecture's parts."""
    one = PUBLISHED[name]
    with torch.device("meta"):
        denoiser = getattr(diffusers, one.denoiser)(**one.sizes)
        decoder = getattr(diffusers, one.decoder)(**one.decoder_sizes)
        tiny = diffusers.AutoencoderTiny(latent_channels=one.latent[0])
        for module in (denoiser, decoder, tiny):
            module.eval().requires_grad_(False)

        def denoise(x):
            packed = x.reshape(len(x), -1, 64) if one.packs else x
            told = for_rows(one.told, len(x))
            return denoiser(packed, timestep=torch.zeros(len(x)), return_dict=False, **told)[0]

        def decode(x):
            film = one.decoder == "AutoencoderKLQwenImage"
            return decoder.decode(x.unsqueeze(2) if film else x, return_dict=False)[0]

        parts = {"denoiser": denoise, "decoder": decode}
        if one.latent[0] in (4, 16):
            parts["tiny"] = lambda x: tiny.decode(x, return_dict=False)[0]
        return {name: cost_of(part, one.latent) for name, part in parts.items()}


if __name__ == "__main__":
    for name in sys.argv[1:] or PUBLISHED:
        print(name, counted(name), flush=True)
