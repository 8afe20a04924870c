"""Images of noise whose spectrum is like that of photographs."""

import torch
from torch import Tensor


def photographs(n: int, size: int) -> Tensor:
    """Coloured noise [n, 3, size, size] in [-1, 1] whose amplitudes fall as 1 / frequency."""
    draw = torch.Generator().manual_seed(0)
    frequency = (torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size)[None] ** 2).sqrt()
    spectrum = torch.fft.rfft2(torch.randn(n, 3, size, size, generator=draw)) / frequency.clamp_min(1 / size)
    x = torch.fft.irfft2(spectrum, s=(size, size))
    return (x / (3 * x.std((1, 2, 3), keepdim=True))).clamp(-1, 1)
