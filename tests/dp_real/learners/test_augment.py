import numpy as np
import pytest
import torch

from dp_real.learners.models.augment import crop_and_flip, mix


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


def test_a_crop_is_a_window_of_its_image_and_half_are_mirrored():
    n = 400
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    x = torch.stack([rows, columns]).expand(n, 2, 32, 32) + 100 * torch.arange(n).view(n, 1, 1, 1)
    seen = crop_and_flip(x, np.random.default_rng(0), least_area=0.3, flip=True) - 100 * torch.arange(n).view(
        n, 1, 1, 1
    )
    assert seen.min() > -1e-3  # nothing from outside the image, nor of another
    assert seen.max() < 31 + 1e-3
    high, wide = seen[:, 0, -1, 0] - seen[:, 0, 0, 0], seen[:, 1, 0, -1] - seen[:, 1, 0, 0]
    mirrored = (wide < 0).double().mean()
    assert 0.4 < mirrored < 0.6
    area = (high * wide.abs() / 31**2).double()
    assert 0.25 < area.min() < 0.35
    assert 0.6 < area.mean() < 0.7  # uniform on [.3, 1], a little less where a long window was cut off
    ratio = wide.abs() / high
    assert ratio.min() > 0.7
    assert ratio.max() < 1.4
    top = seen[:, 0, 0, 0] / (31 - high).clamp_min(1e-3)
    assert 0.4 < top[high < 30].mean() < 0.6


def test_whole_images_stay_as_they_are():
    x = torch.rand(8, 3, 9, 7)
    torch.testing.assert_close(crop_and_flip(x, np.random.default_rng(0), least_area=0, flip=False), x)
    flipped = crop_and_flip(x, np.random.default_rng(0), least_area=0, flip=True)
    kinds = [min((row - a).abs().max() for a in (image, image.flip(2))) for row, image in zip(flipped, x, strict=True)]
    assert max(kinds) < 1e-5
