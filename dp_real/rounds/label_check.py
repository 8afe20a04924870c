"""The label check: does a sample show its class? A judge gives a few classes c an error e_c, and

    P(c | x) ∝ exp(-e_c / T)    over the sample's own label and the RIVALS that the learner ranks highest beside it.

The judge is the generator itself, as a diffusion classifier, or a CLIP (dp_real.rounds.clip). The temperature T is
fitted on real images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from dp_real.examples import ExampleSet
from dp_real.protocols import Generator, Learner
from dp_real.runtime.pixels import to_float
from dp_real.runtime.processes import distribute, slices
from dp_real.runtime.seeds import row_seeds
from dp_real.sections import GuidanceConfig

LEVELS = tuple((index + 0.5) / 8 for index in range(8))  # 0: no noise, 1: noise only
RIVALS = 2
CALLS = len(LEVELS) * (1 + RIVALS)  # of the denoiser, per sample, if it is the judge
FIT_IMAGES = 256
TEMPERATURES = (1e-6, 1e3)  # the range that is searched


def denoiser_calls(guidance: GuidanceConfig) -> int:
    """Calls of the denoiser for the label check of one sample: 0 unless the generator is the judge."""
    return CALLS if guidance.check == "diffusion-classifier" else 0


class Judge(Protocol):
    """Says how badly samples fit classes."""

    def errors(self, x: Tensor, classes: Sequence[Tensor], seeds: np.ndarray) -> Tensor:
        """e_c, float64 [B, len(classes)], on the CPU, of samples x [B, *sample_shape]. A bad fit has a large error.

        classes: which are asked about, int64 [B] each. Row i is a function of x[i], its classes and seeds[i].
        """
        ...


@dataclass(frozen=True)
class DiffusionClassifier:
    """The generator as judge.

    A sample is noised, and denoised once for each class. The squared error, averaged over LEVELS of noise, is a bound
    on -log p(x | c), up to factors that the classes share; a temperature stands for them. All classes get the same
    noise.
    """

    generator: Generator

    def errors(self, x: Tensor, classes: Sequence[Tensor], seeds: np.ndarray) -> Tensor:
        """See Judge."""
        ask = self.generator.denoising_error
        found = [
            [ask(x, label, seeds + np.uint64(index), level) for index, level in enumerate(LEVELS)] for label in classes
        ]
        return torch.stack([torch.stack(of_class).double().mean(0) for of_class in found], dim=1).cpu()


@dataclass(frozen=True)
class LabelCheck:
    """Checks labels by a judge, at a temperature (see `fit_temperature`)."""

    judge: Judge
    temperature: float

    def __call__(self, learner: Learner, x: Tensor, labels: Tensor, seeds: np.ndarray) -> Tensor:
        """P(label | x), float64 [B]. Row i is a function of x[i], labels[i], seeds[i] and the learner."""
        return (-errors(self.judge, learner, x, labels, seeds) / self.temperature).softmax(1)[:, 0]


@torch.no_grad()
def errors(judge: Judge, learner: Learner, x: Tensor, labels: Tensor, seeds: np.ndarray) -> Tensor:
    """e_c, float64 [B, 1 + RIVALS], fewer columns if there are fewer classes. The own label's is first."""
    others = learner.logits(x).cpu().scatter(1, labels.unsqueeze(1), -torch.inf)
    rivals = others.topk(min(RIVALS, others.shape[1] - 1)).indices
    return judge.errors(x, (labels, *rivals.unbind(1)), seeds)


def fit_temperature(
    judge: Judge, images: ExampleSet, learner: Learner, *, seed: int, block_size: int
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
        return errors(judge, learner, x, images.y[rows[block]], seeds[block])

    found = torch.cat(distribute(of_block, slices(slice(0, len(rows)), block_size)))

    def surprise(log_temperature: float) -> float:
        return -(-found / np.exp(log_temperature)).log_softmax(1)[:, 0].mean().item()

    best: Any = minimize_scalar(surprise, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(best.x)), len(rows)
