"""Precision, recall, density, coverage and Vendi score, on sets of which they are known."""

import numpy as np
import pytest

from dp_real.evaluate.quality import quality, vendi_score
from tests.refusals import refusal


def distances(one, other):
    return np.linalg.norm(one[:, None] - other, axis=2)


def cloud(n, centre, seed):
    return np.random.default_rng(seed).normal(centre, 1, (n, 4))


def test_figures_are_those_of_their_definitions():
    generated, real, k = cloud(30, 0.3, 1), cloud(40, 0, 2), 3

    def near(others, centres):
        """Whether each of the others is as near to a centre as its k-th nearest other centre is."""
        return distances(others, centres) <= np.sort(distances(centres, centres))[:, k]

    inside = near(generated, real)
    found = quality(generated, real, k)
    assert found["precision"] == inside.any(1).mean()
    assert found["recall"] == near(real, generated).any(1).mean()
    assert found["density"] == pytest.approx(inside.sum() / (k * 30))
    assert found["coverage"] == inside.any(0).mean()
    units = generated / np.linalg.norm(generated, axis=1, keepdims=True)
    entropy = -sum(value * np.log(value) for value in np.linalg.eigvalsh(units @ units.T / 30) if value > 1e-12)
    assert found["vendi"] == pytest.approx(np.exp(entropy), rel=1e-6)
    assert vendi_score(np.repeat(np.eye(5)[:3], 7, axis=0)) == pytest.approx(3)


def test_too_few_are_refused():
    with refusal("5 real examples are too few for 5 neighbours"):
        quality(cloud(10, 0, 1), cloud(5, 0, 2))
