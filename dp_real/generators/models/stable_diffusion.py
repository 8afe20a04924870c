"""A small Stable Diffusion of diffusers' own classes, trained here in minutes on a CPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from jaxtyping import Float
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dp_real.data.examples import TrainingExamples
from dp_real.generators.models.denoiser import noised
from dp_real.runtime import distributed
from dp_real.runtime.hub import load, quietly, save
from dp_real.runtime.resumable import Resumable
from dp_real.runtime.seeds import Stream, seeded, torch_rng

with quietly():  # which tells that torchvision, which is not needed, is missing
    from diffusers import StableDiffusionPipeline

if TYPE_CHECKING:
    from dp_real.generators.trained import Effort

TEXT_WIDTH = 64
REMEDY = "its images or generator.training are at fault"
CAPTION_DROPOUT = 0.12  # trains the unconditional branch of classifier-free guidance
ENCODED_EVERY: int = 10  # steps; encoding all captions in each step would take a fifth of the time
AVERAGED_EVERY: int = 8  # steps; averaging the weights in each step would take a fifteenth of the time
AVERAGE_STEPS = 7.2  # sets the decay of the averaged weights: 1 - 7.2 / steps, so 0.998 for 3,600 steps
ENCODED_ROWS = 500  # images that are encoded together


def train_autoencoder(
    images: Float[Tensor, "images channels height width"],
    effort: "Effort",
    seed: int,
    folder: Path,
    unfinished: Path | None = None,
) -> None:
    """Train a VAE and save it in `folder`. After a kill the training continues from `unfinished`.

    The loss is the squared error, 0.1 of the absolute error, and 0.001 of the KL divergence from a unit Gaussian.
    """
    torch_generator = torch_rng(seed, Stream.GENERATOR, 0)
    with seeded(torch_generator):
        vae: Any = make_vae(images.shape[-1])
    vae.to(distributed.device())
    optimizer = torch.optim.AdamW(vae.parameters(), lr=4e-3, betas=(0.9, 0.99), fused=True)
    lr_scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, effort.steps)
    loop = Resumable("the VAE", REMEDY, {"vae": vae}, optimizer, lr_scheduler, torch_generator, unfinished)
    for _ in loop.steps(effort.steps):
        x = images[torch.randint(len(images), (effort.batch,), generator=torch_generator)]
        x = x.to(vae.device).expand(-1, 3, -1, -1)
        posterior = vae.encode(x, return_dict=False)[0]
        noise = torch.randn(posterior.mean.shape, generator=torch_generator).to(x)
        (decoded,) = vae.decode(posterior.mean + posterior.std * noise, return_dict=False)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loop.backward(F.mse_loss(decoded, x) + 0.1 * F.l1_loss(decoded, x) + 1e-3 * kl)
        loop.update(max_norm=1.0)
    save(vae, folder)


def train_pipeline(
    images: TrainingExamples,
    prompts: Sequence[Sequence[str]],
    vae: Path,
    effort: "Effort",
    seed: int,
    folder: Path,
    unfinished: Path | None = None,
) -> None:
    """Train UNet and text encoder on a saved VAE's latents by v-prediction, and save the pipeline in `folder`.

    After a kill the training continues from `unfinished`. The text encoder is updated every ENCODED_EVERY steps, by
    their mean gradient.
    """
    torch_generator = torch_rng(seed, Stream.GENERATOR, 1)
    captions = [*(prompt for names in prompts for prompt in names), ""]  # the last one: no caption, for CFG
    with seeded(torch_generator):
        pipe = make_pipeline(images.x.shape[-1], captions)
    pipe.vae = load(AutoencoderKL, str(vae)).eval().requires_grad_(False)
    pipe = pipe.to(distributed.device())
    latents = _latents(pipe.vae, images.x)
    both = nn.ModuleDict({"unet": pipe.unet, "text_encoder": pipe.text_encoder}).train()
    steps, warmup = effort.steps, max(1, effort.steps // 36)
    decay = max(0.0, 1 - AVERAGE_STEPS / max(1, steps))
    ema = AveragedModel(both, multi_avg_fn=get_ema_multi_avg_fn(decay**AVERAGED_EVERY))
    optimizer = torch.optim.AdamW(both.parameters(), lr=2e-3, fused=True)
    lr_scheduler = LambdaLR(optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup)))
    tokens = pipe.tokenizer(captions, padding="max_length", return_tensors="pt")["input_ids"].to(pipe.device)
    encoded: Any = None
    text: Any = None
    modules = {"trained": both, "average": ema}
    loop = Resumable("the UNet", REMEDY, modules, optimizer, lr_scheduler, torch_generator, unfinished)
    for step in loop.steps(steps):
        if step % ENCODED_EVERY == 0:
            encoded = pipe.text_encoder(tokens).last_hidden_state
            text = encoded.detach().requires_grad_()
        rows = torch.randint(len(latents), (effort.batch,), generator=torch_generator)
        templates = len(prompts[0])  # per class
        caption = templates * images.y[rows] + torch.randint(templates, (len(rows),), generator=torch_generator)
        dropped = torch.rand(len(rows), generator=torch_generator) < CAPTION_DROPOUT
        caption = caption.where(~dropped, torch.tensor(len(captions) - 1))
        x_t, t, v = noised(latents[rows.to(pipe.device)], pipe.scheduler, torch_generator)
        (output,) = pipe.unet(x_t, t, text[caption.to(pipe.device)], return_dict=False)
        loop.backward(F.mse_loss(output, v))
        if (step + 1) % ENCODED_EVERY == 0:
            encoded.backward(text.grad / ENCODED_EVERY)
        loop.update(max_norm=1.0)
        if step % AVERAGED_EVERY == 0 or step + 1 == steps:
            ema.update_parameters(both)
    both.load_state_dict(ema.module.state_dict())
    save(pipe, folder)


@torch.no_grad()
def _latents(vae: Any, images: Tensor) -> Tensor:
    """Latents, scaled to unit standard deviation by a factor that the VAE's config gets."""
    parts = [x.to(vae.device).expand(-1, 3, -1, -1) for x in images.split(ENCODED_ROWS)]
    latents = torch.cat([vae.encode(x, return_dict=False)[0].mode() for x in parts])
    vae.register_to_config(scaling_factor=1 / latents.std().item())
    return latents * vae.config.scaling_factor


def make_pipeline(size: int, captions: Sequence[str]) -> Any:
    """A StableDiffusionPipeline with fresh weights and a tokenizer for these captions."""
    text = {
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 2 * TEXT_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    return assembled(make_vae(size), make_unet(size // 4), make_tokenizer(captions), text)


def assembled(vae: Any, unet: Any, tokenizer: CLIPTokenizer, text: Mapping[str, Any]) -> Any:
    """A StableDiffusionPipeline of these parts; `text` are sizes of a fresh text encoder."""
    end = len(tokenizer) - 1
    sizes = CLIPTextConfig(
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
        vocab_size=end + 1,
        max_position_embeddings=tokenizer.model_max_length,
        **text,
    )
    pipeline: Any = StableDiffusionPipeline
    return pipeline(
        vae=vae,
        unet=unet,
        tokenizer=tokenizer,
        text_encoder=CLIPTextModel(sizes),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_vae(size: int) -> AutoencoderKL:
    """A VAE of 0.17 M parameters. An image [3, H, W] becomes a latent [4, H/4, W/4]."""
    # The scaling_factor is replaced once the standard deviation of its latents is known.
    return AutoencoderKL(**vae_blocks(8, 16, 32), sample_size=size, norm_num_groups=8, scaling_factor=1.0)


def vae_blocks(*channels: int) -> dict[str, Any]:
    """Sizes of a VAE with one block at each resolution, of these channels."""
    levels = len(channels)
    down, up = ("DownEncoderBlock2D",) * levels, ("UpDecoderBlock2D",) * levels
    return {"block_out_channels": channels, "down_block_types": down, "up_block_types": up}


def make_unet(size: int) -> UNet2DConditionModel:
    """A UNet of 1.0 M parameters, with cross-attention at half of the latent's resolution."""
    return UNet2DConditionModel(
        sample_size=size,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=4,
        cross_attention_dim=TEXT_WIDTH,
    )


def make_tokenizer(captions: Sequence[str]) -> CLIPTokenizer:
    """CLIP's tokenizer without merges: a token per byte, up to the longest caption's length."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    unlimited = CLIPTokenizer(vocab=vocab, merges=[])
    longest = max(len(unlimited(caption)["input_ids"]) for caption in captions)
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=longest)


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's betas with v-prediction; trailing spacing starts at the noisiest timestep."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,  # Stable Diffusion's value, which diffusers expects; trailing spacing does not use it
        set_alpha_to_one=False,
    )
