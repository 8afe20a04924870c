"""General covariance in the span recipe: reference values, a dense-matrix transcription, limits."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq

from dp_theory import Agree, Group, KeepEasy, KeepHard, SpanProblem, Verifier, predict
from tests.dp_theory.agreement import outputs
from tests.dp_theory.verification.beyond import power_law


def proposition(spectrum, truth, along, alpha, phi, lam):
    """Proposition 1 as corrected, with d x d matrices: the rank-one-updated resolvent, but traces of R0."""
    n = len(spectrum) / phi
    sigma, root = np.diag(spectrum), np.diag(np.sqrt(spectrum))
    s, w = root @ along, root @ truth
    u = s / np.linalg.norm(s)
    rho = u @ w / np.linalg.norm(w)
    v = (w / np.linalg.norm(w) - rho * u) / np.sqrt(1 - rho**2)
    p, gamma, beta, beta_tilde = KeepHard(alpha).moments(rho)

    eye = np.eye(len(spectrum))
    delta = brentq(lambda x: np.sum(spectrum / (p / (1 + x) * spectrum + lam)) / n - x, 0, phi / lam, xtol=1e-15)
    t_bulk, t_special = p / (1 + delta), gamma / (1 + delta)
    r0 = np.linalg.inv(t_bulk * sigma + lam * eye)
    r = np.linalg.inv(t_bulk * sigma + (t_special - t_bulk) * np.outer(root @ u, root @ u) + lam * eye)
    c = root @ (beta_tilde * u + beta * v)
    c_q = root @ (p * eye + (gamma - p) * np.outer(u, u)) @ root
    d2 = np.trace(sigma @ r0 @ sigma @ r0) / n
    gain = 1 - p * d2 / (1 + delta) ** 2
    spread = r @ sigma @ r + d2 / (1 + delta) ** 2 / gain * r @ c_q @ r
    m0 = c @ r @ sigma @ truth / np.linalg.norm(w)
    nu0 = p * d2 / gain + c @ spread @ c - 2 * c @ r @ c * d2 / gain / (1 + delta)
    return np.array([np.arccos(m0 / np.sqrt(nu0)) / np.pi, m0 / (1 + delta), nu0 / (1 + delta) ** 2])


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_dense_transcription(exponent):
    """The k x k recipe equals the d x d matrices, on random directions."""
    rng = np.random.default_rng(int(10 * exponent))
    d = 60
    spectrum = np.arange(1, d + 1.0) ** -exponent
    truth, along = np.ones(d), 1 + rng.standard_normal(d)
    for alpha, phi, lam in rng.uniform((0.3, 0.2, 0.01), (1.5, 2.0, 0.5), (4, 3)):
        ours = predict(SpanProblem(truth, [Group(along=along, keep=KeepHard(alpha))], phi, lam, spectrum))
        assert_allclose(outputs(ours), proposition(spectrum, truth, along, alpha, phi, lam), rtol=1e-8)


MIXED = (
    Group(0.5, labeller=[1.0, 1.0, 0.0], flip=0.1, along=[1.0, -0.5, 0.2], keep=Agree()),
    Group(1.0, along=[0.3, 1.0, 1.0], keep=KeepEasy(0.5), weight=Verifier(2)),
)


@pytest.mark.parametrize("phi", [0.3, 3.0])
def test_ridgeless_limit(phi):
    """λ = 0 is the limit of small λ: what λ changes is proportional to it."""
    mixed = SpanProblem([1.0, 0.0, 0.0], MIXED, phi, 0.0, [2.0, 1.0, 0.2])
    limit = outputs(predict(mixed))
    steps = [outputs(predict(replace(mixed, lam=lam))) - limit for lam in (1e-6, 1e-7)]
    assert_allclose(steps[0] / steps[1], 10, rtol=0.01)


def test_memory_is_linear_in_the_dimension():
    """Eigenvalues in fewer than 100 vectors of them, where a d x d matrix would need 300,000."""
    d = 300_000
    tracemalloc.start()
    try:
        predict(power_law(d, 0.5, KeepHard(0.8), 0.5, 0.01))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * 8 * d
