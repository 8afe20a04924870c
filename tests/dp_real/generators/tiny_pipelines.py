"""Every family of pipelines that is used here, tiny and with random weights, and what guidance must do to it."""

import pytest
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    AutoencoderTiny,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    LCMScheduler,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

import dp_real
from dp_real.config import parse_config
from dp_real.generators.models.stable_diffusion import TEXT_WIDTH, make_pipeline, make_tokenizer, make_vae, vae_blocks
from dp_real.generators.pipelines.generator import pipeline_generator
from dp_real.guidance.entropy import entropy

# of diffusers' own code
THEIR_WARNINGS = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning"),
]
N = 3
STEPS = 6  # of a configuration that samples with a pipeline
CLASSES = ("tench", "goldfish", "hen")
PROMPTS = [f"a photo of a {name}" for name in CLASSES]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SD1 = BETAS | {"steps_offset": 1}
LAYERS = {"num_layers": 1, "num_attention_heads": 2}
LATENTS = LAYERS | {"sample_size": 8, "in_channels": 4, "attention_head_dim": 8}
TOKENS = LAYERS | {"in_channels": 16, "attention_head_dim": 16, "joint_attention_dim": 16}


def text_encoder(tokenizer, width, kind=CLIPTextModelWithProjection):
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length}
    sizes |= {"hidden_size": width, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    last = len(tokenizer) - 1
    sizes |= {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last, "projection_dim": 12}
    return kind(CLIPTextConfig(**sizes))


def with_t5(prompts=PROMPTS):
    tokenizer = make_tokenizer(prompts)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    return {"text_encoder": T5EncoderModel(T5Config(vocab_size=len(tokenizer), **sizes)), "tokenizer": tokenizer}


def two_clips():
    tokenizer = make_tokenizer(PROMPTS)
    encoders = {"text_encoder": text_encoder(tokenizer, 16), "text_encoder_2": text_encoder(tokenizer, 24)}
    return encoders | {"tokenizer": tokenizer, "tokenizer_2": tokenizer}


def shifted_vae():
    vae = make_vae(32)
    vae.register_to_config(shift_factor=0.1)
    return vae


def small_unet(text_width, **options):
    return UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        cross_attention_dim=text_width,
        **options,
    )


def stable_diffusion():
    pipe = make_pipeline(32, PROMPTS)
    pipe.unet = small_unet(TEXT_WIDTH)
    return pipe


def stable_diffusion_xl(**options):
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
    unet = small_unet(40, **added, projection_class_embeddings_input_dim=12 + 6 * 4)
    scheduler = EulerDiscreteScheduler(**SD1, timestep_spacing="leading")
    return StableDiffusionXLPipeline(vae=make_vae(32), unet=unet, scheduler=scheduler, **two_clips(), **options)


def stable_diffusion_3():
    transformer = SD3Transformer2DModel(
        **LATENTS | {"num_layers": 2},
        patch_size=2,
        caption_projection_dim=16,
        joint_attention_dim=40,
        pooled_projection_dim=24,
        out_channels=4,
        pos_embed_max_size=8,
    )
    flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
    parts = {"vae": shifted_vae(), **two_clips(), "text_encoder_3": None, "tokenizer_3": None}
    return StableDiffusion3Pipeline(transformer=transformer, scheduler=flow, **parts)


def dit():
    transformer = DiTTransformer2DModel(
        **LATENTS | {"num_layers": 2},
        patch_size=2,
        out_channels=8,  # the last four: a learned variance
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    return DiTPipeline(transformer=transformer, vae=make_vae(32), scheduler=DDIMScheduler(clip_sample=False))


def latent_consistency():
    pipe = stable_diffusion()
    pipe.unet = small_unet(TEXT_WIDTH, time_cond_proj_dim=8)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    return pipe


def flux_transformer(**options):
    sizes = {"num_single_layers": 1, "pooled_projection_dim": 16, "axes_dims_rope": (4, 4, 8)}
    return FluxTransformer2DModel(**TOKENS | sizes | options)


def flux():
    transformer = flux_transformer()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    parts = {f"{name}_2": part for name, part in with_t5().items()}
    parts["tokenizer"] = tokenizer = parts["tokenizer_2"]
    parts["text_encoder"] = text_encoder(tokenizer, 16, CLIPTextModel)
    return FluxPipeline(scheduler=scheduler, vae=shifted_vae(), transformer=transformer, **parts)


def flux2_vae():
    vae = AutoencoderKLFlux2(
        **vae_blocks(8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )
    vae.bn.running_mean.normal_(0, 0.2)
    vae.bn.running_var.uniform_(2, 4)
    return vae


def flux2():
    """It reads the hidden states of the 27th layer of its texts' model."""
    transformer = Flux2Transformer2DModel(
        **TOKENS | {"joint_attention_dim": 24},
        num_single_layers=1,
        axes_dims_rope=(4, 4, 4, 4),
        timestep_guidance_channels=16,
        guidance_embeds=False,
    )
    tokenizer = make_tokenizer(PROMPTS)
    tokenizer.chat_template = "{{ messages[0].content }}"
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 28, "head_dim": 8}
    sizes |= {"num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": len(tokenizer)}
    return Flux2KleinPipeline(
        transformer=transformer,
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**sizes)),
        tokenizer=tokenizer,
        vae=flux2_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )


def qwen_image():
    transformer = QwenImageTransformer2DModel(**TOKENS, out_channels=4, axes_dims_rope=(4, 4, 8))
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[2.0, 1.5, 2.5, 1.2],
    )
    flow = FlowMatchEulerDiscreteScheduler(shift=1.0)
    return QwenImagePipeline(vae=vae, transformer=transformer, scheduler=flow, **with_t5(["a" * 400]))


def with_sana(**options):
    """The parts of SANA but its scheduler."""
    transformer = SanaTransformer2DModel(
        **LATENTS,
        out_channels=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        **options,
    )
    sizes = {"latent_channels": 4, "attention_head_dim": 4, "scaling_factor": 0.5}
    for half in ("encoder", "decoder"):
        sizes |= {f"{half}_block_types": "ResBlock", f"{half}_block_out_channels": (8, 16, 16)}
        sizes |= {f"{half}_layers_per_block": (1, 1, 1), f"{half}_qkv_multiscales": ((), (), ())}
    vae = AutoencoderDC(**sizes)
    return with_t5() | {"vae": vae, "transformer": transformer}


def sana():
    flow = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    return SanaPipeline(**with_sana(), scheduler=flow)


def sana_sprint():
    parts = with_sana(guidance_embeds=True, qk_norm="rms_norm_across_heads")
    return SanaSprintPipeline(**parts, scheduler=SCMScheduler())


def pixart():
    transformer = PixArtTransformer2DModel(
        **LATENTS,
        patch_size=2,
        cross_attention_dim=16,
        out_channels=8,
        norm_type="ada_norm_single",
        caption_channels=16,
        use_additional_conditions=False,
    )
    scheduler = DPMSolverMultistepScheduler()
    return PixArtSigmaPipeline(**with_t5(), vae=make_vae(32), transformer=transformer, scheduler=scheduler)


def random_pipeline(make=stable_diffusion):
    """One of the above, whose denoiser foretells the end of the path as a trained one's: its outputs are small."""
    torch.manual_seed(0)
    pipe = make()
    pipe.set_progress_bar_config(disable=True)
    if "scaling_factor" in pipe.vae.config:
        pipe.vae.register_to_config(scaling_factor=0.5)
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    last = next(getattr(network, name) for name in ("conv_out", "proj_out_2", "proj_out") if hasattr(network, name))
    with torch.no_grad():
        last.weight.mul_(0.2)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval()
    return pipe


def classifier_of(images, spread=1.0):
    """A random classifier of images of any size, rescaled to be sure of some of these and not of others."""
    torch.manual_seed(1)
    last = nn.Linear(128, 3)
    first = nn.Conv2d(images.shape[1], 8, 5, stride=3)
    network = nn.Sequential(first, nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), last).requires_grad_(False)
    logits = network(images)
    scale = spread / logits.std(0)
    last.weight *= scale.unsqueeze(1)
    last.bias.sub_(logits.mean(0)).mul_(scale)
    return network.eval()


def three(x):
    """A plain function of images of any size to logits."""
    return x.flatten(1)[:, :3]


VIT = {"patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def tiny_vit(side=16):
    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig(**VIT, image_size=side, num_labels=3)).eval()


def vit_processor(side=16):
    return ViTImageProcessorPil(size={"height": side, "width": side}, image_mean=[0.4] * 3, image_std=[0.2] * 3)


def save_vit(folder, side=16):
    """A classifier with its processor."""
    tiny_vit(side).save_pretrained(folder)
    vit_processor(side).save_pretrained(folder)


def tiny_decoder():
    """A decoder of latents to images of four times their side."""
    torch.manual_seed(2)
    sizes = {"upsampling_scaling_factor": 2}
    for half in ("encoder", "decoder"):
        sizes |= {f"{half}_block_out_channels": (8, 8, 8), f"num_{half}_blocks": (1, 1, 1)}
    return AutoencoderTiny(**sizes)


def config_of(folder, guidance=None, **options):
    """The configuration of a run whose generator is the pipeline in a folder."""
    return parse_config(
        {
            "name": "any",
            "data": {"source": "folder", "validation": "nowhere", "classes": list(CLASSES), "size": 32},
            "generator": {"kind": "diffusers", "model": str(folder), **options},
            "sampling": {"steps": STEPS, "guidance_scale": 2.0},
            "guidance": guidance or {},
            "learner": {"kind": "conv", "widths": [4, 8]},
            "training": {"steps": 10},
            "practice": {"initial": 10},
        }
    )


NOT_BLURRY = {"negative_prompt": N * ["blurry"]}
NO_BINNING = {"use_resolution_binning": False, "max_sequence_length": 16}
FAMILIES = {  # each with what its call needs to be tiny
    stable_diffusion: NOT_BLURRY,
    stable_diffusion_xl: NOT_BLURRY,
    stable_diffusion_3: NOT_BLURRY,
    flux: {"max_sequence_length": 16},
    flux2: {"max_sequence_length": 16},
    qwen_image: NOT_BLURRY,
    sana: NO_BINNING | {"complex_human_instruction": None},
    pixart: NO_BINNING | {"clean_caption": False},
    sana_sprint: NO_BINNING | {"complex_human_instruction": None, "intermediate_timesteps": None, "max_timesteps": 0.5},
    dit: {"class_labels": list(range(N))},
}


def make_generator(pipe, scale=2.0, steps=STEPS, shape=(3, 32, 32), **options):
    """A generator of its three classes."""
    asked = [0, 1, 8] if isinstance(pipe, DiTPipeline) else PROMPTS
    return pipeline_generator(pipe, [[one] for one in asked], shape, steps, scale, **options)


def draw(pipe, make=stable_diffusion, steps=4, size=(32, 32)):
    """What the pipeline's own call draws from one noise, [N, 3, H, W] in [-1, 1]."""
    call = {"num_inference_steps": steps, "generator": torch.Generator().manual_seed(0), "output_type": "pt"}
    if make is not dit:
        call |= {"prompt": PROMPTS, "height": size[0], "width": size[1]}
    return 2 * pipe(**call, **FAMILIES[make]).images - 1


def assert_guided(pipe, drawn, omega=3e-4):
    """A positive omega raises the entropy of what is drawn at the same noise, a negative one lowers it."""
    plain = drawn(pipe)
    classifier = classifier_of(plain)
    before = entropy(classifier(plain)).mean()
    for sign in (1, -1):
        assert dp_real.guide(pipe, classifier, sign * omega) is pipe
        assert sign * (entropy(classifier(drawn(pipe))).mean() - before) > 0.001
    torch.testing.assert_close(drawn(dp_real.unguide(pipe)), plain, atol=1e-5, rtol=0)
