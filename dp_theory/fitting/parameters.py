"""What a fit estimates: the numbers that fix the theory's error curves, and the ranges that they are sought in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit


@dataclass(frozen=True)
class Parameter:
    """A number and its open range (low, high). A fit moves it freely as z: logit of the place in its range.

    log: places are equal ratios. assumed: its value where too few points could fix it. help: what it is, in a line.
    """

    low: float
    high: float
    log: bool
    assumed: float
    help: str

    def value(self, z: Any) -> Any:
        """The number at z."""
        place = expit(z)
        if self.log:
            return np.exp(np.log(self.low) + np.log(self.high / self.low) * place)
        return self.low + (self.high - self.low) * place

    def place(self, value: Any) -> Any:
        """z of the number."""
        if self.log:
            return logit(np.log(np.asarray(value) / self.low) / np.log(self.high / self.low))
        return logit((np.asarray(value) - self.low) / (self.high - self.low))


PARAMETERS = {  # in the order in which few points are spent on them
    "dimension": Parameter(4.0, 1e7, True, 100.0, "effective dimension d: n/d sets the error"),
    "floor": Parameter(0.0, 0.5, False, 0.0, "error of what labels the rows: arccos(w_g·w0)/pi"),
    "rho": Parameter(0.0, 1.0, False, 0.9, "cosine of the selector to what labels the rows"),
    "window": Parameter(0.02, 50.0, True, 1.0, "practice keeps |t| < window·tan(pi E)"),
    "flip": Parameter(0.0, 0.5, False, 0.0, "probability that a label is flipped, whatever its row"),
    "ridge": Parameter(1e-5, 1e2, True, 0.01, "lam per training row"),
}
