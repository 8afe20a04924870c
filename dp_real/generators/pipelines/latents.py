"""The latents of diffusers' pipelines: how each family's become images, and images latents.

Images are [B, 3, H, W], in [-1, 1] but for what a decoder overshoots.
"""

import copy
import inspect
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers.models.autoencoders.autoencoder_asym_kl import AsymmetricAutoencoderKL
from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor

from dp_base.errors import InputError

DECODERS = (AutoencoderKL, AutoencoderTiny, AutoencoderDC, AutoencoderKLQwenImage, AsymmetricAutoencoderKL)


def decode(vae: Any, latents: Tensor) -> Tensor:
    """Decode latents [B, C, h, w], or [B, C, 1, h, w] of a decoder for films, to images.

    The decoder is one of DECODERS. An AutoencoderTiny's config has a scaling factor of 1.
    """
    if isinstance(vae, AutoencoderKLQwenImage) and latents.dim() == 4:
        latents = latents.unsqueeze(2)
    scale, shift = _scaling(vae, latents)
    images = vae.decode((latents * scale + shift).to(vae.dtype), return_dict=False)[0].float()
    return images[:, :, 0] if images.dim() == 5 else images


@torch.no_grad()
def encode(vae: Any, images: Tensor) -> Tensor:
    """Encode images to scaled latents [B, C, h, w]: the mode of the distribution that an AutoencoderKL gives."""
    latents = vae.encode(images.to(vae.dtype), return_dict=False)[0].mode().float()
    scale, shift = _scaling(vae, latents)
    return (latents - shift) / scale


def image_side(vae: Any, side: int) -> int:
    """Side, in pixels, of the images of latents with a side of `side`."""
    config = vae.config
    levels = next(
        config[key] for key in ("block_out_channels", "encoder_block_out_channels", "dim_mult") if key in config
    )
    return side * 2 ** (len(levels) - 1)


def frozen_decoder(vae: Any) -> Any:
    """The decoder with frozen weights. A float32 copy of one that would overflow in float16, as XL's own does."""
    if not isinstance(vae, DECODERS):
        known = ", ".join(kind.__name__ for kind in DECODERS)
        raise InputError(f"latents of {type(vae).__name__} cannot be decoded for the classifier; those of {known} can")
    if vae.dtype == torch.float16 and vae.config.get("force_upcast"):
        vae = copy.deepcopy(vae).float()
    return vae.eval().requires_grad_(False)


class Unpacker:
    """Unpacks the latents [B, n, c] of a call of a pipeline that packs them, such as FLUX and Qwen-Image.

    The pipeline's own function does it. It needs the image's size, which `note` takes from the pipeline's call of
    prepare_latents.
    """

    def __init__(self, pipe: Any) -> None:
        """Raises InputError for a pipeline that packs in a way of its own."""
        self.pipe = pipe
        self.size: tuple[int, int] | None = None
        self._own: Callable[..., Tensor] | None = getattr(pipe, "_unpack_latents", None)
        wanted = ["latents", "height", "width", "vae_scale_factor"]
        if self._own and list(inspect.signature(self._own).parameters) != wanted:
            raise InputError(f"{type(pipe).__name__} packs its latents in a way that is not known here")

    def note(self, height: int, width: int) -> None:
        """The size in pixels of the images that are drawn next."""
        self.size = height, width

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents as `decode` takes them. Those that are not packed are returned as they are."""
        if latents.dim() != 3 or self._own is None or self.size is None:
            return latents
        return self._own(latents, *self.size, self.pipe.vae_scale_factor)


def _scaling(vae: Any, latents: Tensor) -> tuple[Any, Any]:
    """scale and shift: a decoder takes scale * latents + shift."""
    config = vae.config
    scale, shift = 1 / (config.get("scaling_factor") or 1), config.get("shift_factor") or 0
    if config.get("latents_mean") and config.get("latents_std"):
        std, shift = (_channels(vae, config[key], latents) for key in ("latents_std", "latents_mean"))
        scale = scale * std
    return scale, shift


_there: WeakKeyDictionary[Any, dict[Hashable, Tensor]] = WeakKeyDictionary()


def _channels(vae: Any, values: list[float], latents: Tensor) -> Tensor:
    """A value for each channel, [1, C, 1, ...] like latents [B, C, ...]. It is copied to the device once.

    Each copy would make the CPU wait, in each guided step.
    """
    copies, key = _there.setdefault(vae, {}), (tuple(values), latents.device, latents.dim())
    if key not in copies:
        copies[key] = torch.tensor(values).view(1, -1, *[1] * (latents.dim() - 2)).to(latents.device)
    return copies[key]
