"""Every family of pipelines that is used here, tiny and with random weights, and what guidance must do to it."""

import tomllib
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiTPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    FluxPipeline,
    LCMScheduler,
    PixArtSigmaPipeline,
    QwenImagePipeline,
    SanaPipeline,
    SanaSprintPipeline,
    SCMScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
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
from dp_real.generators.models.stable_diffusion import TEXT_WIDTH, make_pipeline, make_tokenizer, make_vae
from dp_real.generators.pipelines.generator import pipeline_generator
from dp_real.guidance.entropy import entropy

# of diffusers' own code
THEIR_WARNINGS = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning"),
]
N = 3
CLASSES = ("tench", "goldfish", "hen")
PROMPTS = [f"a photo of a {name}" for name in CLASSES]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SD1 = BETAS | {"steps_offset": 1}
SIZES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
VIT = SIZES["vit"]


def made(name, **options):
    """A part of diffusers with random weights, of the sizes of this name or others."""
    return getattr(diffusers, SIZES[name]["_class_name"]).from_config(SIZES[name] | options)


def text_encoder(tokenizer, width, kind=CLIPTextModelWithProjection):
    last = len(tokenizer) - 1
    tokens = {"vocab_size": last + 1, "bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
    longest = tokenizer.model_max_length
    return kind(CLIPTextConfig(**SIZES["clip"], **tokens, hidden_size=width, max_position_embeddings=longest))


def with_t5(prompts=PROMPTS):
    tokenizer = make_tokenizer(prompts)
    config = T5Config(vocab_size=len(tokenizer), **SIZES["t5"])
    return {"text_encoder": T5EncoderModel(config), "tokenizer": tokenizer}


def two_clips():
    tokenizer = make_tokenizer(PROMPTS)
    encoders = {"text_encoder": text_encoder(tokenizer, 16), "text_encoder_2": text_encoder(tokenizer, 24)}
    return encoders | {"tokenizer": tokenizer, "tokenizer_2": tokenizer}


def shifted_vae():
    vae = make_vae(32)
    vae.register_to_config(shift_factor=0.1)
    return vae


def stable_diffusion(**options):
    """`options` are sizes of its UNet."""
    pipe = make_pipeline(32, PROMPTS)
    pipe.unet = made("unet", cross_attention_dim=TEXT_WIDTH, **options)
    return pipe


def stable_diffusion_xl(**options):
    unet = made("unet", cross_attention_dim=40, **SIZES["unet_xl"])
    scheduler = EulerDiscreteScheduler(**SD1, timestep_spacing="leading")
    return StableDiffusionXLPipeline(vae=make_vae(32), unet=unet, scheduler=scheduler, **two_clips(), **options)


def stable_diffusion_3():
    transformer = made("stable_diffusion_3")
    flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
    parts = {"vae": shifted_vae(), **two_clips(), "text_encoder_3": None, "tokenizer_3": None}
    return StableDiffusion3Pipeline(transformer=transformer, scheduler=flow, **parts)


def dit():
    return DiTPipeline(transformer=made("dit"), vae=make_vae(32), scheduler=DDIMScheduler(clip_sample=False))


def latent_consistency():
    pipe = stable_diffusion(time_cond_proj_dim=8)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    return pipe


def flux(**options):
    """`options` are sizes of its transformer."""
    transformer = made("flux", **options)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    parts = {f"{name}_2": part for name, part in with_t5().items()}
    parts["tokenizer"] = tokenizer = parts["tokenizer_2"]
    parts["text_encoder"] = text_encoder(tokenizer, 16, CLIPTextModel)
    return FluxPipeline(scheduler=scheduler, vae=shifted_vae(), transformer=transformer, **parts)


def flux2_vae():
    vae = made("flux2_vae")
    vae.bn.running_mean.normal_(0, 0.2)
    vae.bn.running_var.uniform_(2, 4)
    return vae


def flux2():
    tokenizer = make_tokenizer(PROMPTS)
    tokenizer.chat_template = "{{ messages[0].content }}"
    return Flux2KleinPipeline(
        transformer=made("flux2"),
        text_encoder=Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **SIZES["qwen3"])),
        tokenizer=tokenizer,
        vae=flux2_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )


def qwen_image():
    flow = FlowMatchEulerDiscreteScheduler(shift=1.0)
    parts = {"transformer": made("qwen_image"), "vae": made("qwen_image_vae")}
    return QwenImagePipeline(**parts, scheduler=flow, **with_t5(["a" * 400]))


def with_sana(**options):
    """The parts of SANA but its scheduler."""
    return {"transformer": made("sana", **options), "vae": made("sana_vae")} | with_t5()


def sana():
    flow = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    return SanaPipeline(**with_sana(), scheduler=flow)


def sana_sprint():
    parts = with_sana(guidance_embeds=True, qk_norm="rms_norm_across_heads")
    return SanaSprintPipeline(**parts, scheduler=SCMScheduler())


def pixart():
    parts = {"transformer": made("pixart"), "scheduler": DPMSolverMultistepScheduler()}
    return PixArtSigmaPipeline(**parts, **with_t5(), vae=make_vae(32))


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
    torch.manual_seed(2)
    return made("tiny_decoder")


CONFIG = tomllib.loads("""
name = "any"
data = { source = "folder", validation = "nowhere", size = 32 }
sampling = { steps = 6, guidance_scale = 2.0 }
learner = { kind = "conv", widths = [4, 8] }
training = { steps = 10 }
practice = { initial = 10 }
""")
STEPS = CONFIG["sampling"]["steps"]


def config_of(folder, guidance=None, **options):
    """The configuration of a run whose generator is the pipeline in a folder."""
    sections = {"generator": {"kind": "diffusers", "model": str(folder), **options}, "guidance": guidance or {}}
    return parse_config(CONFIG | sections | {"data": CONFIG["data"] | {"classes": CLASSES}})


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
