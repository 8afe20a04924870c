"""Nodes and weights against 40 digits, and integrals that are known."""

import mpmath as mp
import numpy as np
import pytest

from dp_theory.numerics.quadrature import gauss, half_line


@pytest.mark.parametrize("order", [1, 5, 24, 256])
def test_gauss_is_exact_to_rounding_in_every_weight(order):
    """The outermost weights too, of which numpy's miss up to 1e-11 of themselves."""
    nodes, weights = gauss(order)
    with mp.workdps(40):
        for node, weight in list(zip(nodes, weights, strict=True))[:6]:
            x = mp.findroot(lambda x: mp.legendre(order, x), 2 * mp.mpf(float(node)) - 1)
            slope = order * mp.legendre(order - 1, x) / (1 - x * x)
            assert float(node) == pytest.approx(float((x + 1) / 2), rel=4e-16)
            assert float(weight) == pytest.approx(float(1 / ((1 - x * x) * slope**2)), rel=4e-16)
    assert weights.sum() == pytest.approx(1, rel=1e-15)


def test_half_line_resolves_small_scales():
    t, weights = half_line()
    assert weights @ np.exp(-t / 1e-6) == pytest.approx(np.sqrt(2 / np.pi) * 1e-6, rel=1e-6)
