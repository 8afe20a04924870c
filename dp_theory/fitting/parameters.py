"""The parameters that a fit estimates: the numbers that determine the theory's error curves, and their ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit


@dataclass(frozen=True)
class Parameter:
    """A number in an open range (low, high), which a search moves freely as z, the logit of its place (of its
    logarithm's, with `log`).
    """

    low: float
    high: float
    log: bool
    assumed: float  # value where there are too few points to estimate it

    def from_z(self, z: Any) -> Any:
        place = expit(z)
        if self.log:
            return np.exp(np.log(self.low) + np.log(self.high / self.low) * place)
        return self.low + (self.high - self.low) * place


# Where points are too few, the last parameters take their assumed values.
PARAMETERS = {
    # Effective dimension d: n/d sets the error.
    "dimension": Parameter(4.0, 1e7, log=True, assumed=100.0),
    # Error of what labels the rows, arccos(w_g·w0)/π.
    "floor": Parameter(0.0, 0.5, log=False, assumed=0.0),
    # Cosine of the selector to what labels the rows.
    "rho": Parameter(0.0, 1.0, log=False, assumed=0.9),
    # Practice keeps rows with |t| < window·tan(πE).
    "window": Parameter(0.02, 50.0, log=True, assumed=1.0),
    # Probability that a label is flipped, whatever its row.
    "flip": Parameter(0.0, 0.5, log=False, assumed=0.0),
    # Ridge lam per training row.
    "ridge": Parameter(1e-5, 1e2, log=True, assumed=0.01),
}
