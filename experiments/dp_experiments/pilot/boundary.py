"""Where labels put the boundaries between classes, beside where a classifier of real images sees them (ours).

Scores z are the classifier's logarithms of probabilities. Labels follow softmax(s·z + b), s and b fitted by maximum
likelihood. A classifier that is right about its doubts has s = 1 and b = 0 on real images. Labels that are wrong on
both sides of a boundary alike lower s and leave b; labels that are wrong on one side move b, and with it the boundary,
which no number of samples repairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from dp_experiments.looking.judge import Judge
from dp_real.examples import ExampleArray
from dp_real.runtime.pixels import to_float
from dp_real.runtime.processes import slices

ROWS = 256  # that are scored together
RIDGE = 1e-3  # on b², for classes that no label leaves


class Boundary(NamedTuple):
    """slope: s. displaced: the share of real images to which the labels' b gives another class than the classifier."""

    slope: float
    displaced: float


def scores(judge: Judge, x: ExampleArray, n: int) -> np.ndarray:
    """Logarithms of the probability of each class of the task [n, classes], for examples [n, C, H, W]."""
    with torch.no_grad():
        logits = torch.cat([judge.logits(to_float(x[rows])).float().cpu() for rows in slices(slice(0, n), ROWS)])
    means = [logits[:, sorted(answers)].logsumexp(1) for answers in judge.accepted]
    return log_softmax(torch.stack(means, dim=1).double().numpy(), axis=1)


def boundary(z: np.ndarray, labels: np.ndarray, real: np.ndarray) -> Boundary:
    """Of rows with scores z [n, K] and labels [n]; real: scores of real images [m, K]."""
    given = np.eye(z.shape[1])[labels]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        s = np.exp(parameters[0])
        b = parameters[1:]
        log_p = log_softmax(s * z + b, axis=1)
        off = np.exp(log_p) - given
        slope = np.append(s * (off * z).sum(1).mean(), off.mean(0) + 2 * RIDGE * b)
        return float(RIDGE * b @ b - (log_p * given).sum(1).mean()), slope

    found = minimize(loss, np.zeros(z.shape[1] + 1), jac=True, method="L-BFGS-B").x
    slope = float(np.exp(found[0]))
    return Boundary(slope, float(np.mean((slope * real + found[1:]).argmax(1) != real.argmax(1))))
