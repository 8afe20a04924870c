"""Networks with random weights: pipelines of the size of Stable Diffusion 1.5, XL and 3, and ViT-B/16.

Their text encoders have two layers, as prompts are encoded once. The tiny ones have the same parts.
"""

from functools import lru_cache
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTForImageClassification

from dp_real.generators.models.stable_diffusion import make_scheduler, make_tokenizer, make_unet, make_vae
from dp_real.generators.pipelines.generator import sampler_of
from dp_real.learners.models.classifier import Classifier

PROMPT = "a photo of a crane"
GUIDANCE_SCALE = 4.0
STEPS = 3  # that are timed; the first one warms up
TINY_SIDE = 32  # pixels of the tiny pipelines' images
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
XL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 768 + 1280,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 1280 + 6 * 256,
    "use_linear_projection": True,
}
TINY_XL: dict[str, Any] = {
    "sample_size": TINY_SIDE // 4,
    "block_out_channels": (16, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": 4,
    "cross_attention_dim": 16 + 24,
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 24 + 6 * 4,
}
SD3: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 768 + 1280,
    "pos_embed_max_size": 192,
}
TINY_SD3: dict[str, Any] = {
    "sample_size": TINY_SIDE // 4,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "caption_projection_dim": 16,
    "joint_attention_dim": 40,
    "pooled_projection_dim": 16 + 24,
    "pos_embed_max_size": TINY_SIDE // 4,
}
OWN_LOOP_SIZES = ("SD-1.5", "SDXL")
SIZES = (*OWN_LOOP_SIZES, "SD-3")


def pipeline(size: str, tiny: bool) -> Any:
    """A pipeline of one of SIZES, in float32, where torch puts new tensors."""
    torch.manual_seed(0)
    made = {"SD-1.5": _stable_diffusion, "SDXL": _xl, "SD-3": _sd3}[size](tiny)
    made.set_progress_bar_config(disable=True)
    network = made.transformer if size == "SD-3" else made.unet
    last = network.proj_out if size == "SD-3" else network.conv_out
    with torch.no_grad():
        last.weight.mul_(0.2)  # outputs as small as those of a trained network near the end
    for part in made.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    return made


@lru_cache(1)
def drawing(size: str, dtype: torch.dtype, device: torch.device, tiny: bool) -> tuple[Any, Any]:
    """A pipeline of one of SIZES as a sampler of STEPS steps, and its tiny decoder. The last one is kept."""
    with device:
        pipe = pipeline(size, tiny)
        decoder: Any = _tiny_decoder(pipe.vae.config["latent_channels"], tiny)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(device, dtype)
    decoder.to(device, dtype).eval().requires_grad_(False)
    return sampler_of(pipe, STEPS, GUIDANCE_SCALE), decoder


def vit(tiny: bool) -> ViTForImageClassification:
    """ViT-B/16 of 1,000 classes, or one of a layer of 10."""
    sizes: dict[str, Any] = {"num_labels": 1000}
    if tiny:
        sizes = {"image_size": TINY_SIDE, "patch_size": 8, "hidden_size": 48, "intermediate_size": 96}
        sizes |= {"num_hidden_layers": 1, "num_attention_heads": 4, "num_labels": 10}
    return ViTForImageClassification(ViTConfig(**sizes))


@lru_cache(2)
def judge(device: torch.device, tiny: bool) -> Classifier:
    """A frozen learner, ViT-B/16, whose entropy guides."""
    torch.manual_seed(1)
    with device:
        model: Any = vit(tiny)
        return Classifier(model, model.config.image_size, [0.5] * 3, [0.5] * 3).eval().requires_grad_(False)


def _stable_diffusion(tiny: bool) -> Any:
    unet = make_unet(TINY_SIDE // 4) if tiny else UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    tokenizer = _tokenizer(tiny)
    absent: Any = None
    scheduler: Any = make_scheduler()
    return StableDiffusionPipeline(
        unet=unet,
        vae=make_vae(TINY_SIDE) if tiny else _vae(sample_size=512, scaling_factor=0.18215),
        tokenizer=tokenizer,
        text_encoder=_text_encoder(tokenizer, 64 if tiny else 768, CLIPTextModel),
        scheduler=scheduler,
        safety_checker=absent,
        feature_extractor=absent,
        requires_safety_checker=False,
    )


def _xl(tiny: bool) -> Any:
    unet = UNet2DConditionModel(addition_embed_type="text_time", **(TINY_XL if tiny else XL))
    vae = make_vae(TINY_SIDE) if tiny else _vae(sample_size=1024, scaling_factor=0.13025)
    scheduler: Any = EulerDiscreteScheduler(**BETAS, timestep_spacing="leading")
    encoders = _two_encoders(tiny, CLIPTextModel)
    return StableDiffusionXLPipeline(vae=vae, unet=unet, scheduler=scheduler, **encoders)


def _sd3(tiny: bool) -> Any:
    vae = make_vae(TINY_SIDE) if tiny else _vae(sample_size=1024, scaling_factor=1.5305, latent_channels=16)
    vae.register_to_config(shift_factor=0.0609)
    absent: Any = None
    return StableDiffusion3Pipeline(
        vae=vae,
        transformer=SD3Transformer2DModel(**(TINY_SD3 if tiny else SD3)),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder_3=absent,
        tokenizer_3=absent,
        **_two_encoders(tiny),
    )


def _vae(**options: Any) -> AutoencoderKL:
    """The autoencoder of Stable Diffusion, whose latents have a side of an eighth."""
    sizes: dict[str, Any] = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
    }
    return AutoencoderKL(**sizes, **options)


def _tiny_decoder(channels: int, tiny: bool) -> AutoencoderTiny:
    """A decoder of taesd's size, or of a few channels for the tiny pipelines, whose latents have a side of a fourth."""
    if not tiny:
        return AutoencoderTiny(latent_channels=channels)
    widths: dict[str, Any] = {"encoder_block_out_channels": (8,) * 3, "decoder_block_out_channels": (8,) * 3}
    blocks: dict[str, Any] = {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
    return AutoencoderTiny(latent_channels=channels, **widths, **blocks)


def _tokenizer(tiny: bool) -> Any:
    tokenizer = make_tokenizer([PROMPT])
    if not tiny:
        tokenizer.model_max_length = 77
    return tokenizer


def _text_encoder(tokenizer: Any, width: int, kind: type = CLIPTextModelWithProjection) -> Any:
    """A CLIP text encoder. It has two layers, as XL reads the one before the last."""
    last = len(tokenizer) - 1
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=tokenizer.model_max_length,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=last - 1,
        eos_token_id=last,
        pad_token_id=last,
    )
    return kind(config)


def _two_encoders(tiny: bool, first_kind: type = CLIPTextModelWithProjection) -> dict[str, Any]:
    """The two text encoders of XL and 3, and their tokenizers. XL reads the pooled encoding of the second one only."""
    tokenizer = _tokenizer(tiny)
    first, second = (16, 24) if tiny else (768, 1280)
    return {
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
        "text_encoder": _text_encoder(tokenizer, first, first_kind),
        "text_encoder_2": _text_encoder(tokenizer, second),
    }
