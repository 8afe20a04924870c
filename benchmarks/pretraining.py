"""Training the UNet of generator `latent`: captions encoded and weights averaged now and then, or in each step."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import Any

import torch
from _timing import row, seconds

from dp_real.data.typefaces.characters import CHARACTERS
from dp_real.generators.latent import LatentConfig
from dp_real.generators.models import stable_diffusion

STEPS = 10  # a window of ENCODED_EVERY
CAPTIONS = [*CHARACTERS.values(), ""]


def train(encoded_every: int, averaged_every: int) -> None:
    stable_diffusion.ENCODED_EVERY, stable_diffusion.AVERAGED_EVERY = encoded_every, averaged_every
    config = LatentConfig(kind="latent", prompts=("{}",), unet_steps=STEPS, unet_batch=32)
    draw = torch.Generator().manual_seed(0)
    pipe: Any = stable_diffusion.make_pipeline(24, CAPTIONS)
    latents, labels = torch.randn(320, 4, 6, 6), torch.arange(320) % len(CHARACTERS)
    stable_diffusion.train_unet(pipe, latents, labels, CAPTIONS, config, draw, lambda steps: None)


def main() -> None:
    torch.set_num_threads(1)
    every = stable_diffusion.ENCODED_EVERY, stable_diffusion.AVERAGED_EVERY
    ours, each = seconds(lambda: train(*every), lambda: train(1, 1), repeats=2)
    print(f"generator `latent`, glyphs: {1000 * ours / STEPS:.0f} ms a step of the UNet, with making it")
    print(f"  rival, all captions encoded in each step: {1000 * each / STEPS:.0f} ms; ratio {each / ours:.2f}")
    row(
        "generator training, 1.5 x",
        f"{1000 * ours / STEPS:.0f} ms a step",
        f"{1000 * each / STEPS:.0f} ms",
        each / ours,
    )


if __name__ == "__main__":
    main()
