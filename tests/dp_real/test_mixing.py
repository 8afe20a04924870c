import numpy as np
import pytest
import torch

from dp_real.mixing import mix


def batch(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row i is the constant i, and so is its label: what is mixed can be read off."""
    x = torch.arange(n).float()[:, None, None, None].expand(n, 1, 16, 16)
    return x, torch.eye(n)


def test_mixup_blends_examples_and_labels_alike():
    x, y = batch(64)
    mixed, labels = mix(x, y, np.random.default_rng(0), mixup=0.5, cutmix=0)
    assert torch.allclose(labels.sum(1), torch.ones(64))
    assert torch.allclose(labels @ torch.arange(64).float(), mixed.mean((1, 2, 3)), atol=1e-4)
    assert (mixed.amax((1, 2, 3)) - mixed.amin((1, 2, 3))).abs().max() < 1e-4  # no edges
    weights = labels.diagonal()
    assert 0.3 < weights.mean() < 0.7
    assert weights.unique().numel() > 50  # a weight of its own for each row


def test_cutmix_pastes_a_rectangle_and_counts_its_area():
    x, y = batch(64)
    mixed, labels = mix(x, y, np.random.default_rng(0), mixup=0, cutmix=1.0)
    own = (mixed == x).float().mean((1, 2, 3))
    assert torch.allclose(labels.diagonal(), own, atol=1e-6)
    foreign = mixed[:, 0] != x[:, 0]
    rows, columns = foreign.any(2).sum(1), foreign.any(1).sum(1)
    assert torch.equal(foreign.sum((1, 2)), rows * columns)  # one solid rectangle


def test_both_deal_each_row_one_of_them_and_a_seed_repeats_it():
    x, y = batch(64)
    mixed, _ = mix(x, y, np.random.default_rng(1), mixup=0.5, cutmix=1.0)
    flat = (mixed.amax((1, 2, 3)) - mixed.amin((1, 2, 3))) < 1e-4
    assert 10 < flat.sum() < 54
    assert torch.equal(mixed, mix(x, y, np.random.default_rng(1), mixup=0.5, cutmix=1.0)[0])


@pytest.mark.parametrize("shape", [(5,), (3, 5)])
def test_mixup_takes_any_shape(shape: tuple[int, ...]):
    x = torch.ones(4, *shape)
    mixed, _ = mix(x, torch.eye(4), np.random.default_rng(0), mixup=1.0, cutmix=0)
    assert mixed.shape == x.shape
    assert torch.allclose(mixed, x)
