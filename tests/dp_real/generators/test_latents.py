"""Tests of decoding latents: large batches are decoded in parts, with the same images and gradients."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from dp_real.generators.pipelines import latents
from dp_real.generators.pipelines.latents import decode


@pytest.fixture
def vae() -> AutoencoderKL:
    """A decoder of 4 x 4 latents to 8 x 8 images, whose largest activation has 8 · 64 elements a row."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {  # the library's annotations allow one block only
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (4, 8),
        "norm_num_groups": 2,
    }
    return AutoencoderKL(**settings).eval()


def test_a_large_batch_is_decoded_in_parts(vae: AutoencoderKL, monkeypatch: pytest.MonkeyPatch):
    """No activation has more elements than allowed; images and gradients are those of the whole batch."""
    noise = torch.randn(5, 4, 4, 4, requires_grad=True)
    largest = []
    for module in vae.decoder.modules():
        module.register_forward_hook(lambda _module, _inputs, answer: largest.append(answer.numel()))
    whole = decode(vae, noise)
    (whole_gradient,) = torch.autograd.grad(whole.square().sum(), noise)
    assert max(largest) == 5 * 8 * 64

    monkeypatch.setattr(latents, "MOST_ELEMENTS", 2 * 8 * 64 + 1)
    largest.clear()
    parts = decode(vae, noise)
    (gradient,) = torch.autograd.grad(parts.square().sum(), noise)
    assert max(largest) == 2 * 8 * 64
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(gradient, whole_gradient)
