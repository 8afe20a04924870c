"""The theory against formulas of other papers, written anew."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import brentq

from dp_theory import Group, SpanProblem, predict


def eigenlearning(
    spectrum: np.ndarray, target: np.ndarray, noise: float, n: float, ridge: float
) -> tuple[float, float]:
    """Simon et al. (2110.03922): the overlap of estimate and target, and the mean squared error on fresh labels.

    target: coefficients of the regression function in units of the eigenfunctions. ridge is that of kernel regression,
    which is n times ours.
    """
    kappa = brentq(lambda k: np.sum(spectrum / (spectrum + k)) + ridge / k - n, 1e-15, 1e6, xtol=1e-300, rtol=1e-14)
    learnability = spectrum / (spectrum + kappa)
    overfitting = n / (n - np.sum(learnability**2))
    error = overfitting * (np.sum(((1 - learnability) * target) ** 2) + noise)
    return float(learnability @ target**2), float(error)


@pytest.mark.parametrize(
    ("capacity", "source", "rows", "lam"), list(product((0.5, 1.2, 1.5), (1.0, 3.0), (0.3, 2.5), (1e-4, 0.1)))
)
def test_plain_rows_of_any_spectrum_are_kernel_regression(capacity: float, source: float, rows: float, lam: float):
    """Sign labels are √(2/π) of the normalised margin, and noise that is uncorrelated with it."""
    d = 400
    index = np.arange(1, d + 1.0)
    spectrum = index**-capacity
    along = index ** (-source / 2)  # Σ^½ w0
    target = np.sqrt(2 / np.pi) * along / np.linalg.norm(along)
    n = rows * d
    overlap, error = eigenlearning(spectrum, target, 1 - 2 / np.pi, n, n * lam)
    found = predict(SpanProblem(along / np.sqrt(spectrum), [Group()], d / n, lam, spectrum))
    assert found.overlap == pytest.approx(overlap / np.linalg.norm(target), rel=1e-8)
    assert found.squared_norm == pytest.approx(error - 1 + 2 * overlap, rel=1e-8)
