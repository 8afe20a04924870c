"""The UNet of generator `latent`: captions and averages now and then, or in each step."""

import time
from typing import Any

import torch
from _timing import row, seconds
from dp_experiments.studies.glyphs.fonts import CHARACTERS

from dp_real.generators.models import stable_diffusion

STEPS = 40  # windows of ENCODED_EVERY
CAPTIONS = [*CHARACTERS.values(), ""]


def train(encoded_every: int, averaged_every: int, threads: int = 1) -> None:
    torch.set_num_threads(threads)
    stable_diffusion.ENCODED_EVERY, stable_diffusion.AVERAGED_EVERY = encoded_every, averaged_every
    draw = torch.Generator().manual_seed(0)
    pipe: Any = stable_diffusion.make_pipeline(24, CAPTIONS)
    latents, labels = torch.randn(320, 4, 6, 6), torch.arange(320) % len(CHARACTERS)
    stable_diffusion.train_unet(pipe, latents, labels, CAPTIONS, 1, STEPS, 32, draw, lambda steps: None)


def main() -> None:
    every = stable_diffusion.ENCODED_EVERY, stable_diffusion.AVERAGED_EVERY
    works = (lambda: train(*every), lambda: train(*every, threads=2), lambda: train(1, 1))
    one, two, each = (1000 * found / STEPS for found in seconds(*works, repeats=4, clock=time.perf_counter))
    print(f"generator `latent`, glyphs: {one:.0f} ms a step of the UNet, with two threads {two:.0f} ms")
    print(f"  rival, all captions encoded in each step: {each:.0f} ms; ratios {each / one:.2f} and {each / two:.2f}")
    row("generator training, threads=2, 1.5 x", f"{two:.0f} ms a step", f"{each:.0f} ms", each / two)


if __name__ == "__main__":
    main()
