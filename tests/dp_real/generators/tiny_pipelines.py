"""Every family of pipelines that is used here, tiny and with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from diffusers.models.transformers.sana_transformer import SanaTransformer2DModel
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
from diffusers.pipelines.dit.pipeline_dit import DiTPipeline
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from diffusers.pipelines.latent_consistency_models.pipeline_latent_consistency_text2img import (
    LatentConsistencyModelPipeline,
)
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.pipelines.sana.pipeline_sana import SanaPipeline
from diffusers.pipelines.sana.pipeline_sana_sprint import SanaSprintPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_scm import SCMScheduler
from torch import Tensor, nn
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel

from dp_real.config import Config, parse_config
from dp_real.generators.models.stable_diffusion import make_pipeline, make_tokenizer, make_unet, make_vae

STEPS = 6  # of a configuration that samples with a pipeline
CLASSES = ("tench", "goldfish", "hen")
PROMPTS = [f"a photo of a {name}" for name in CLASSES]
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SD1: dict[str, Any] = BETAS | {"steps_offset": 1}


def text_encoder(tokenizer: Any, width: int, kind: type = CLIPTextModelWithProjection) -> Any:
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length}
    sizes |= {"hidden_size": width, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    last = len(tokenizer) - 1
    sizes |= {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last, "projection_dim": 12}
    return kind(CLIPTextConfig(**sizes))


def t5(tokenizer: Any, width: int) -> T5EncoderModel:
    sizes: dict[str, Any] = {"d_model": width, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=len(tokenizer), **sizes))


def texts() -> dict[str, Any]:
    tokenizer = make_tokenizer(PROMPTS)
    encoders = {"text_encoder": text_encoder(tokenizer, 16), "text_encoder_2": text_encoder(tokenizer, 24)}
    return encoders | {"tokenizer": tokenizer, "tokenizer_2": tokenizer}


def stable_diffusion() -> Any:
    return make_pipeline(32, PROMPTS)


def latent_consistency() -> Any:
    """Distilled: it is told the guidance scale, takes 1 to 8 steps, and decodes the last x0_hat."""
    tokenizer = make_tokenizer(PROMPTS)
    unet = UNet2DConditionModel.from_config(make_unet(8).config, time_cond_proj_dim=16)
    parts: dict[str, Any] = {
        "vae": make_vae(32),
        "unet": unet,
        "tokenizer": tokenizer,
        "scheduler": LCMScheduler(**SD1),
    }
    parts |= {"text_encoder": text_encoder(tokenizer, 64, CLIPTextModel)}
    parts |= {"safety_checker": None, "feature_extractor": None}
    return LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)


def stable_diffusion_xl(**options: Any) -> Any:
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        cross_attention_dim=40,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=12 + 6 * 4,
    )
    scheduler = EulerDiscreteScheduler(**SD1, timestep_spacing="leading")
    parts: dict[str, Any] = {"vae": make_vae(32), "unet": unet, "scheduler": scheduler, **texts()}
    return StableDiffusionXLPipeline(**parts, **options)


def stable_diffusion_3(**scheduler: Any) -> Any:
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=40,
        pooled_projection_dim=24,
        out_channels=4,
        pos_embed_max_size=8,
    )
    vae = make_vae(32)
    vae.register_to_config(shift_factor=0.1)
    flow = FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler})
    parts: dict[str, Any] = {"vae": vae, "transformer": transformer, "scheduler": flow, **texts()}
    parts |= {"text_encoder_3": None, "tokenizer_3": None}
    return StableDiffusion3Pipeline(**parts)


def dit(**options: Any) -> Any:
    transformer = DiTTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,  # the last four: a learned variance
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    scheduler: Any = DDIMScheduler(clip_sample=False)
    return DiTPipeline(transformer=transformer, vae=make_vae(32), scheduler=scheduler, **options)


def flux(**options: Any) -> Any:
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
        **options,
    )
    vae, tokenizer = make_vae(32), make_tokenizer(PROMPTS)
    vae.register_to_config(shift_factor=0.1)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    parts: dict[str, Any] = {"text_encoder": text_encoder(tokenizer, 16, CLIPTextModel), "tokenizer": tokenizer}
    parts |= {"text_encoder_2": t5(tokenizer, 16), "tokenizer_2": tokenizer}
    return FluxPipeline(scheduler=scheduler, vae=vae, transformer=transformer, **parts)


def flux2_vae() -> AutoencoderKLFlux2:
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )
    vae.bn.running_mean.normal_(0, 0.2)
    vae.bn.running_var.uniform_(2, 4)
    return vae


def flux2() -> Any:
    """It reads the hidden states of the 27th layer of its texts' model."""
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        axes_dims_rope=(4, 4, 4, 4),
        timestep_guidance_channels=16,
        guidance_embeds=False,
    )
    tokenizer = make_tokenizer(PROMPTS)
    tokenizer.chat_template = "{{ messages[0].content }}"
    sizes: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 28, "head_dim": 8}
    sizes |= {"num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": len(tokenizer)}
    parts: dict[str, Any] = {"text_encoder": Qwen3ForCausalLM(Qwen3Config(**sizes)), "tokenizer": tokenizer}
    parts |= {"scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)}
    return Flux2KleinPipeline(vae=flux2_vae(), transformer=transformer, **parts)


def qwen_image() -> Any:
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[2.0, 1.5, 2.5, 1.2],
    )
    tokenizer = make_tokenizer(["a" * 400])
    parts: dict[str, Any] = {"text_encoder": t5(tokenizer, 16), "tokenizer": tokenizer, "vae": vae}
    return QwenImagePipeline(scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0), transformer=transformer, **parts)


def dc_vae() -> AutoencoderDC:
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 16, 16),
        decoder_block_out_channels=(8, 16, 16),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        scaling_factor=0.5,
    )


def sana_transformer(**options: Any) -> SanaTransformer2DModel:
    return SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
        **options,
    )


def sana() -> Any:
    tokenizer = make_tokenizer(PROMPTS)
    flow = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    parts: dict[str, Any] = {"text_encoder": t5(tokenizer, 16), "tokenizer": tokenizer, "vae": dc_vae()}
    return SanaPipeline(transformer=sana_transformer(), scheduler=flow, **parts)


def sana_sprint() -> Any:
    tokenizer = make_tokenizer(PROMPTS)
    transformer = sana_transformer(guidance_embeds=True, qk_norm="rms_norm_across_heads")
    parts: dict[str, Any] = {"text_encoder": t5(tokenizer, 16), "tokenizer": tokenizer, "vae": dc_vae()}
    parts |= {"transformer": transformer, "scheduler": SCMScheduler()}
    return SanaSprintPipeline(**parts)


def pixart() -> Any:
    transformer = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        cross_attention_dim=16,
        out_channels=8,
        norm_type="ada_norm_single",
        caption_channels=16,
        use_additional_conditions=False,
    )
    tokenizer = make_tokenizer(PROMPTS)
    parts: dict[str, Any] = {"text_encoder": t5(tokenizer, 16), "tokenizer": tokenizer, "vae": make_vae(32)}
    parts |= {"transformer": transformer, "scheduler": DPMSolverMultistepScheduler()}
    return PixArtSigmaPipeline(**parts)


def pixels() -> Any:
    unet = UNet2DModel(
        sample_size=32,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
    )
    return DDIMPipeline(unet=unet, scheduler=DDIMScheduler())


def random_pipeline(make: Callable[[], Any]) -> Any:
    """One of the above, whose denoiser foretells the end of the path as a trained one's: its outputs are small."""
    torch.manual_seed(0)
    pipe = make()
    pipe.set_progress_bar_config(disable=True)
    if hasattr(pipe, "vae") and "scaling_factor" in pipe.vae.config:
        pipe.vae.register_to_config(scaling_factor=0.5)
    network: Any = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    last = next(getattr(network, name) for name in ("conv_out", "proj_out_2", "proj_out") if hasattr(network, name))
    with torch.no_grad():
        last.weight.mul_(0.2)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval()
    return pipe


def name(value: Any) -> str:
    """The name of a maker or a scheduler, for the test's own name."""
    return getattr(value, "__name__", str(value))


def classifier_of(images: Tensor) -> nn.Module:
    """A random classifier of images of any size, rescaled to be sure of some of these and not of others."""
    torch.manual_seed(1)
    last = nn.Linear(128, 3)
    pool = nn.AdaptiveAvgPool2d(4)
    network = nn.Sequential(nn.Conv2d(3, 8, 5, stride=3), nn.Tanh(), pool, nn.Flatten(), last).requires_grad_(False)
    logits = network(images)
    scale = 1 / logits.std(0)
    last.weight *= scale.unsqueeze(1)
    last.bias.sub_(logits.mean(0)).mul_(scale)
    return network.eval()


def config_of(
    folder: Path, data: dict[str, Any] | None = None, guidance: dict[str, Any] | None = None, **options: Any
) -> Config:
    """The configuration of a run whose generator is the pipeline in a folder. data: more keys of [data]."""
    return parse_config(
        {
            "name": "any",
            "data": {"source": "folder", "validation": "nowhere", "classes": list(CLASSES), "size": 32} | (data or {}),
            "generator": {"kind": "diffusers", "model": str(folder), **options},
            "sampling": {"steps": STEPS, "guidance_scale": 2.0},
            "guidance": guidance or {},
            "learner": {"kind": "conv", "widths": [4, 8], "hidden": 16},
            "training": {"steps": 10},
            "practice": {"initial": 10},
        }
    )
