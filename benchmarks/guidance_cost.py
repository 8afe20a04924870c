"""Time and memory of guided against plain sampling, on an architecture of Stable Diffusion 1.5's size, random weights.

A trajectory costs what its steps do and one decoding: a plain step, each kind of guided step and the decoding are
measured, and added up for STEPS steps. On a GPU over batch sizes; on a CPU, for one image and two, few cells.
`--tiny` is a quick check of the benchmark itself.
"""

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads must not use processor time

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import row
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTForImageClassification

from dp_real.generators.models.stable_diffusion import make_full_size, make_pipeline
from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion, decode
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.sampler import sample
from dp_real.learners.models.classifier import Classifier

STEPS, GUIDANCE_SCALE, AIM = 50, 4.0, 1.25
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
PROMPT = "a photo of a crane"


def real_size() -> tuple[Any, Any]:
    return make_full_size(), AutoencoderTiny()


def tiny_size() -> tuple[Any, Any]:
    widths: dict[str, Any] = {"encoder_block_out_channels": (8,) * 3, "decoder_block_out_channels": (8,) * 3}
    blocks: dict[str, Any] = {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
    return make_pipeline(32, [PROMPT]), AutoencoderTiny(**widths, **blocks, upsampling_scaling_factor=2)


def step_times(
    model: LatentDiffusion, decoder: Any, batch: int, guidance: EntropyGuidance | None
) -> tuple[list[float], float]:
    """Memory is the peak in GiB of the GPU, or else of the process."""
    noise = torch.randn(batch, *model.latent_shape, device=DEVICE)
    denoiser = model.denoiser([PROMPT] * batch)
    reset_peak()
    marks = [now()]
    sample(
        denoiser,
        model.solver,
        noise,
        guidance=guidance,
        decode=lambda x0_hat: decode(decoder, x0_hat),
        callback=lambda index, x0_hat: marks.append(now()),
    )
    return np.diff(marks).tolist(), peak()


def now() -> float:
    """Wall time once the GPU is done; without one, processor time."""
    if not GPU:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def reset_peak() -> None:
    torch.cuda.reset_peak_memory_stats() if GPU else Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    if GPU:
        return torch.cuda.max_memory_allocated() / 2**30
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


@torch.no_grad()
def decoding_time(vae: Any, latents: torch.Tensor) -> float:
    begin = now()
    decode(vae, latents)
    return now() - begin


def main(tiny: bool, batches: Sequence[int]) -> None:
    torch.set_num_threads(1 if tiny else os.cpu_count() or 1)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    pipe, tiny_decoder = tiny_size() if tiny else real_size()
    torch.set_default_dtype(torch.float32)
    sizes: dict[str, Any] = {"image_size": 32, "patch_size": 8, "hidden_size": 48} if tiny else {}
    vit: Any = ViTForImageClassification(ViTConfig(**sizes))  # the learner: ViT-B/16
    logits = Classifier(vit, vit.config.image_size, [0.5] * 3, [0.5] * 3).eval().requires_grad_(False).to(DEVICE)
    decoders = {"full": pipe.to(DEVICE).vae, "tiny": tiny_decoder.to(DEVICE).requires_grad_(False)}
    model = LatentDiffusion(pipe, 2, GUIDANCE_SCALE)  # two steps, of which the first is guided
    repeats = 5 if GPU or tiny else 1
    millions = sum(weight.numel() for weight in model.network.parameters()) / 1e6
    print(f"UNet of {millions:.0f} M parameters, bfloat16, {torch.cuda.get_device_name() if GPU else 'CPU'}")
    rates: dict[tuple[str, str], list[float]] = {}  # images per second of the first batch size
    for batch in batches:
        runs = [step_times(model, None, batch, None) for _ in range(repeats)]
        plain, memory = min(times[1] for times, _ in runs), runs[0][1]  # the second: a first call does more
        latents = torch.randn(batch, *model.latent_shape, device=DEVICE)
        decoding = min(decoding_time(pipe.vae, latents) for _ in range(repeats))
        total = STEPS * plain + decoding
        print(f"batch {batch}, plain: a step {plain:.3g} s, decoding {decoding:.3g} s, {memory:.1f} GiB")
        for through, decoder in cells(batch, tiny):
            guidance = EntropyGuidance(logits, 0.05, through=through)
            try:
                runs = [step_times(model, decoders[decoder], batch, guidance) for _ in range(repeats)]
            except torch.OutOfMemoryError:
                print(f"  through {through:4} decoder {decoder}: out of memory")
                continue
            extra, memory = min(times[0] for times, _ in runs) - plain, runs[0][1]
            seconds = [total + guided_steps(every) * extra for every in (1, 5)]
            alone = rates.setdefault((through, decoder), [batch / time for time in seconds])
            ratios = " and ".join(f"{time / total:.2f}" for time in seconds)
            gains = " and ".join(f"{batch / time / rate:.1f}" for time, rate in zip(seconds, alone, strict=True))
            cell = f"guided / plain, batch {batch}, {through}, {decoder} decoder, every 5"
            row(cell, f"{seconds[1] / total:.2f}", f"aim {AIM}", seconds[1] / total / AIM)
            print(
                f"  through {through:4} decoder {decoder}: guided / plain every 1 and 5 steps {ratios} (aim: {AIM}); "
                f"images/s over one at a time {gains}; {memory:.1f} GiB"
            )


def guided_steps(every: int) -> int:
    guidance = EntropyGuidance(torch.nn.Identity(), 0.05, every=every)
    return sum(guidance.guides(index, STEPS) for index in range(STEPS))


def cells(batch: int, tiny: bool) -> list[tuple[Any, str]]:
    """A CPU leaves some cells of real size out."""
    every = [("x0", "tiny"), ("x0", "full"), ("unet", "tiny"), ("unet", "full")]
    if GPU or tiny:
        return every
    return [("x0", "tiny"), ("x0", "full"), ("unet", "full")] if batch == 1 else [("x0", "tiny")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a pipeline of 1 M parameters")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 32] if GPU else [1, 2])
    arguments = parser.parse_args()
    main(arguments.tiny, arguments.batches)
