"""Decodes and encodes the latents of each family of diffusers' pipelines."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import (
    AsymmetricAutoencoderKL,
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    AutoencoderTiny,
)
from jaxtyping import Float
from torch import Tensor

from dp_base.errors import InputError
from dp_real.runtime.hub import quietly

with quietly():  # which tells that torchvision, which is not needed, is missing
    from diffusers import Flux2KleinPipeline, FluxPipeline, QwenImagePipeline

DECODERS: Any = (
    AutoencoderKL,
    AutoencoderTiny,
    AutoencoderDC,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    AsymmetricAutoencoderKL,
)
PACKED: dict[str, Any] = {
    "FluxModularPipeline": FluxPipeline,
    "Flux2ModularPipeline": Flux2KleinPipeline,
    "Flux2KleinModularPipeline": Flux2KleinPipeline,
    "Flux2KleinBaseModularPipeline": Flux2KleinPipeline,
    "QwenImageModularPipeline": QwenImagePipeline,
}
"""Modular pipelines whose latents are packed, and the pipelines whose functions unpack them."""
Images = Float[Tensor, "batch 3 height width"]
"""Images in [-1, 1]."""
MAX_ELEMENTS = 2**31 - 1  # of one tensor, as some GPU kernels count elements in 32 bits


def decode(vae: Any, latents: Float[Tensor, "batch channels *size"]) -> Images:
    """Decode in parts, so that no activation exceeds MAX_ELEMENTS."""
    is_qwen = "z_dim" in vae.config
    channels = vae.config["z_dim" if is_qwen else "latent_channels"]
    if is_qwen and latents.dim() == 4:
        latents = latents.unsqueeze(2)
    if latents.dim() != 4 + is_qwen or latents.shape[1] != channels:
        raise InputError(
            f"latents {list(latents.shape)}: {type(vae).__name__} decodes [batch, {channels}, height, width]; it is of "
            "another family, or the pipeline packs its latents in a way that is not known here"
        )
    scale, shift = _scaling(vae, latents)
    scaled = (latents * scale + shift).to(vae.dtype)
    parts = [vae.decode(part, return_dict=False)[0].float() for part in scaled.split(_rows_at_once(vae, latents))]
    images = torch.cat(parts)
    return images[:, :, 0] if images.dim() == 5 else images


def image_scale(vae: Any) -> int:
    """The pixels of an image's side for each of its latents'."""
    keys = ("block_out_channels", "encoder_block_out_channels", "dim_mult")
    levels = next(vae.config[key] for key in keys if key in vae.config)
    return 2 ** (len(levels) - 1)


def check_decoder(vae: Any) -> None:
    """Raise InputError for a decoder that no gradient can pass through."""
    if not isinstance(getattr(vae, "_orig_mod", vae), DECODERS):  # which torch.compile may have wrapped
        known = ", ".join(kind.__name__ for kind in DECODERS)
        raise InputError(f"latents of {type(vae).__name__} cannot be decoded for the classifier; those of {known} can")
    if (channels := vae.config.get("out_channels", 3)) > 3:
        raise InputError(f"{type(vae).__name__} decodes {channels} channels: should be red, green and blue")
    hooks = [name for part in vae.modules() for name in getattr(getattr(part, "_diffusers_hook", None), "hooks", ())]
    if any("group_offloading" in name or name == "layerwise_casting" for name in hooks):
        raise InputError(
            "the decoder is offloaded by groups, or cast layer by layer: its weights change after each forward pass, "
            "so that no gradient passes through it: leave it out (exclude_modules = 'vae'), or give another decoder="
        )


@contextmanager
def decoding(vae: Any) -> Iterator[None]:
    """Within the block, keep a decoder that would overflow in float16, such as XL's, in float32."""
    overflows = vae.dtype == torch.float16 and vae.config.get("force_upcast")
    if overflows:
        vae.to(torch.float32)
    try:
        yield
    finally:
        if overflows:
            vae.to(torch.float16)


class Unpacker:
    """Unpacks latents [batch, tokens, channels] by the pipeline's own function.

    FLUX.2's are unpacked here, since it packs before its decoder's batch norm.
    """

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.size: tuple[int, int] | None = None
        self.family = PACKED.get(type(pipe).__name__, pipe)
        of_flux2 = self._of_flux2 if hasattr(self.family, "_unpack_latents_with_ids") else None
        self._own: Callable[..., Tensor] | None = getattr(self.family, "_unpack_latents", of_flux2)
        wanted = ["latents", "height", "width", "vae_scale_factor"]
        own = self._own
        is_known = list(inspect.signature(own).parameters) == wanted if own else not hasattr(pipe.vae, "bn")
        if not is_known:
            raise InputError(f"{type(pipe).__name__} packs its latents in a way that is not known here")

    def __call__(self, latents: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        if latents.dim() != 3 or self._own is None or self.size is None:
            return latents
        return self._own(latents, *self.size, self.pipe.vae_scale_factor)

    def _of_flux2(self, latents: Tensor, height: int, width: int, vae_scale_factor: int) -> Tensor:
        vae = self.pipe.vae
        side = 2 * vae_scale_factor  # of a token, in pixels
        grid = latents.transpose(1, 2).unflatten(2, (height // side, width // side))
        mean, variance = (each.view(1, -1, 1, 1).to(latents) for each in (vae.bn.running_mean, vae.bn.running_var))
        return self.family._unpatchify_latents(grid * (variance + vae.config.batch_norm_eps).sqrt() + mean)


def _rows_at_once(vae: Any, latents: Tensor) -> int:
    """Rows that the largest activation allows: the image's size with the decoder's second level's channels."""
    channels = vae.config.get("block_out_channels") or vae.config.get("decoder_block_out_channels")
    if not channels:
        return max(1, len(latents))
    pixels = image_scale(vae) ** 2 * latents.shape[-2] * latents.shape[-1]
    return max(1, MAX_ELEMENTS // (max(channels[:2]) * pixels))


def _scaling(vae: Any, latents: Tensor) -> tuple[Any, Any]:
    """The decoder takes scale·latents + shift."""
    config = vae.config
    scale = 1 / (config.get("scaling_factor") or 1)
    if config.get("latents_mean") and config.get("latents_std"):
        one = [1, -1, *[1] * (latents.dim() - 2)]  # one value per channel
        std, mean = (torch.tensor(config[key]).view(one).to(latents.device) for key in ("latents_std", "latents_mean"))
        return scale * std, mean
    return scale, config.get("shift_factor") or 0
