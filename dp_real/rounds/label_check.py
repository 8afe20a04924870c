"""The label check: does a sample show its class? The generator itself answers, as a diffusion classifier.

A sample x is noised, and denoised once for each of a few classes c. The squared error e_c, averaged over LEVELS of
noise, is a bound on -log p(x | c), up to factors that the classes share. A temperature T stands for these factors:

    P(c | x) ∝ exp(-e_c / T)    over the sample's own label and the RIVALS that the learner ranks highest beside it.

T is fitted on real images. All classes get the same noise.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from dp_real.examples import ExampleSet
from dp_real.protocols import Generator, Learner
from dp_real.runtime.pixels import to_float
from dp_real.runtime.processes import distribute, slices
from dp_real.runtime.seeds import row_seeds

LEVELS = tuple((index + 0.5) / 8 for index in range(8))  # 0: no noise, 1: noise only
RIVALS = 2
CALLS = len(LEVELS) * (1 + RIVALS)  # of the denoiser, per sample
FIT_IMAGES = 256
TEMPERATURES = (1e-6, 1e3)  # the range that is searched


@dataclass(frozen=True)
class LabelCheck:
    """Checks labels by a generator, at a temperature (see `fit_temperature`)."""

    generator: Generator
    temperature: float

    def __call__(self, learner: Learner, x: Tensor, labels: Tensor, seeds: np.ndarray) -> Tensor:
        """P(label | x), float64 [B]. Row i is a function of x[i], labels[i], seeds[i] and the learner."""
        return (-errors(self.generator, learner, x, labels, seeds) / self.temperature).softmax(1)[:, 0]


@torch.no_grad()
def errors(generator: Generator, learner: Learner, x: Tensor, labels: Tensor, seeds: np.ndarray) -> Tensor:
    """e_c, float64 [B, 1 + RIVALS], fewer columns if there are fewer classes. The own label's is first."""
    others = learner.logits(x).cpu().scatter(1, labels.unsqueeze(1), -torch.inf)
    rivals = others.topk(min(RIVALS, generator.n_classes - 1)).indices
    found = [
        [generator.denoising_error(x, label, seeds + np.uint64(index), level) for index, level in enumerate(LEVELS)]
        for label in (labels, *rivals.unbind(1))
    ]
    return torch.stack([torch.stack(of_class).double().mean(0) for of_class in found], dim=1).cpu()


def fit_temperature(
    generator: Generator, images: ExampleSet, learner: Learner, *, seed: int, block_size: int
) -> tuple[float, int]:
    """The temperature at which the true labels of real images are likeliest, and the number of images used.

    At most FIT_IMAGES are used, evenly spaced; the processes share them in blocks. Their noise is a function of the
    seed.
    """
    n = len(images.y)
    rows = torch.linspace(0, n - 1, min(n, FIT_IMAGES)).long()
    seeds = row_seeds(seed, 0, range(len(rows)))

    def of_block(block: slice) -> Tensor:
        x = to_float(torch.cat([images.x[row : row + 1] for row in rows[block].tolist()]))
        return errors(generator, learner, x, images.y[rows[block]], seeds[block])

    found = torch.cat(distribute(of_block, slices(slice(0, len(rows)), block_size)))

    def surprise(log_temperature: float) -> float:
        return -(-found / np.exp(log_temperature)).log_softmax(1)[:, 0].mean().item()

    best = minimize_scalar(surprise, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(best.x)), len(rows)
