"""A source of real data: points about three centres in the plane.

Only what a configuration needs is imported at the head of the module. torch is imported where data are loaded, so that
`dp real keys` and the like stay quick.
"""

from typing import Literal

from dp_real.data import DATA, DataConfig
from dp_real.data.examples import Examples, RealData, Task

CENTRES = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0))
N = 120  # points; half of them validate, and half test


@DATA.named("clouds")
class CloudsConfig(DataConfig):
    """Points about three centres. Its fields are the keys of [data] in a configuration."""

    source: Literal["clouds"]
    split: int = 0

    @property
    def task(self) -> Task:
        """The shape of an example and the names of the classes, which are known without loading anything."""
        return Task((2,), ("east", "north", "west"))

    def load(self) -> RealData:
        """The real examples. There are none to train a generator on: that of this package knows the centres."""
        import torch

        y = torch.arange(N) % len(CENTRES)
        noise = torch.randn(N, 2, generator=torch.Generator().manual_seed(self.split))
        x = torch.tensor(CENTRES)[y] + 0.2 * noise
        validation = Examples(x[: N // 2], y[: N // 2])
        test = Examples(x[N // 2 :], y[N // 2 :])
        return RealData(self.task, None, validation, test)
