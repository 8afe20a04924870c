"""Rows are cropped, mirrored, mixed and changed as the papers say, by draws that the seed and the step decide."""

import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from dp_base.errors import MissingError
from dp_real.data.examples import Task
from dp_real.learners import ConvConfig
from dp_real.learners.models.augment import Augmentation, RandAugment, crop_and_flip, mix
from dp_real.learners.section import TrainingConfig
from dp_real.runtime.seeds import Stream, rng, torch_rng
from tests.dp_real.runs.folders import same_tensors
from tests.refusals import refusal


def places(side):
    """400 images [400, 3, side, side] whose pixels show their row and column, and a check of 0 and 100."""
    rows, columns = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    return torch.stack([rows, columns, 100 * ((rows + columns) % 2)]).expand(400, 3, side, side)


def cropped(x, size=None):
    return crop_and_flip(x, np.random.default_rng(0), least_area=0.3, flip=True, size=size)


def test_a_crop_is_a_window_of_its_image_and_half_are_mirrored():
    seen = cropped(places(32))[:, :2]
    assert -1e-3 < seen.min() < seen.max() < 31 + 1e-3  # nothing from outside the image
    high = (seen[:, 0, -1, 0] - seen[:, 0, 0, 0]) / 31
    wide = (seen[:, 1, 0, -1] - seen[:, 1, 0, 0]) / 31
    assert 0.4 < (wide < 0).double().mean() < 0.6
    area, ratio = high * wide.abs(), wide.abs() / high
    assert 0.25 < area.min() < 0.35
    assert 0.6 < area.mean() < 0.7  # uniform on [.3, 1], a little less where a long window was cut off
    assert 0.68 < ratio.min() < ratio.max() < 1.45
    top = seen[:, 0, 0, 0] / 31 / (1 - high).clamp_min(1e-3)
    assert 0.4 < top[high < 0.95].mean() < 0.6


def test_a_crop_that_is_shrunk_is_the_same_window_without_aliasing():
    large, small = cropped(places(64)), cropped(places(64), (16, 16))
    assert small.shape == (400, 3, 16, 16)
    assert (small[:, 2] - 50).abs().max() < 15
    coarse = nn.functional.adaptive_avg_pool2d(large[:, :2], 16)
    torch.testing.assert_close(small[:, :2], coarse, atol=1, rtol=0)


def test_whole_images_are_mirrored_or_stay_as_they_are():
    x = torch.rand(8, 3, 9, 7)
    flipped = crop_and_flip(x, np.random.default_rng(0), least_area=0, flip=True)
    kinds = [min((row - a).abs().max() for a in (image, image.flip(2))) for row, image in zip(flipped, x, strict=True)]
    assert max(kinds) < 1e-5


def mixed_by_the_papers(x, y, rng, mixup, cutmix):
    """Row by row, in double precision; the draws are made in the order in which `mix` makes them.

    Mixup (Zhang et al. 2018, eq. 1): λ x_i + (1 - λ) x_j, λ y_i + (1 - λ) y_j, λ ~ Beta(a, a).
    CutMix (Yun et al. 2019, eqs. 1 and 2): of x_j the box about (r_x, r_y), uniform over the image, whose sides are
    √(1 - λ) of the image's; λ is then what the box, as far as it lies in the image, leaves of x_i.
    """
    n = len(x)
    partner, coin = rng.permutation(n), rng.random(n)
    lam_cut, lam_mix = (rng.beta(alpha or 1, alpha or 1, n) for alpha in (cutmix, mixup))
    cuts = [bool(cutmix) and (not mixup or coin[i] < 0.5) for i in range(n)]
    centres = rng.random((2, n)) if any(cuts) else None  # of the rows, of the columns
    mixed = []
    for i, j in enumerate(partner):
        share = lam = lam_mix[i]  # of row i in each pixel, and in the label
        if cuts[i]:
            sides = zip(x.shape[2:], centres[:, i], strict=True)  # by the middle of a row or column of pixels
            half = np.sqrt(1 - lam_cut[i]) / 2
            share = 1 - np.outer(*(abs((np.arange(side) + 0.5) / side - centre) <= half for side, centre in sides))
            lam = share.mean()
        mixed.append([weight * each[i] + (1 - weight) * each[j] for weight, each in ((share, x), (lam, y))])
    return [np.stack(each) for each in zip(*mixed, strict=True)]


@pytest.mark.parametrize(
    ("shape", "mixup", "cutmix"),
    [((3, 16, 16), 0.0, 1.0), ((2, 7, 5), 0.5, 1.0), ((6,), 0.5, 0.0), ((3, 4), 0.2, 0.0)],
)
def test_they_are_what_the_papers_say(shape, mixup, cutmix):
    draw = np.random.default_rng(1)
    x = draw.standard_normal((20, *shape)).astype(np.float32)
    y = draw.dirichlet(np.ones(4), 20).astype(np.float32)
    expected_x, expected_y = mixed_by_the_papers(x, y, np.random.default_rng(0), mixup, cutmix)
    mixed, labels = mix(torch.from_numpy(x), torch.from_numpy(y), np.random.default_rng(0), mixup=mixup, cutmix=cutmix)
    np.testing.assert_allclose(mixed, expected_x, atol=2e-6, rtol=0)
    np.testing.assert_allclose(labels, expected_y, atol=1e-6, rtol=0)
    assert np.abs(expected_x - x).max() > 0.5  # they do something


def test_a_steps_draws_are_those_of_its_position():
    augmentation = Augmentation(Task((2, 7, 5), tuple("abcd")), TrainingConfig(steps=5, mixup=0.5, cutmix=1.0), seed=3)
    x, y = torch.randn(20, 2, 7, 5), torch.arange(20) % 4
    expected = mix(x, torch.eye(4)[y], rng(3, Stream.MIX, 2, 0), mixup=0.5, cutmix=1.0)
    assert all(map(torch.equal, augmentation(x, y, step=2, rank=0), expected))


def conv(training):
    """A small convolutional learner, always with the same weights."""
    return ConvConfig(kind="conv", widths=(8,)).fresh(Task((3, 16, 16), tuple("abcd")), training, seed=3)


def images(step):
    torch.manual_seed(step)
    return 2 * torch.rand(16, 3, 16, 16) - 1, torch.randint(4, (16,))


def test_randaugment_changes_images_within_their_range_and_by_its_generator_alone():
    x, _ = images(0)
    operations = RandAugment(2, 9)

    def at(step, x):
        return operations(x, torch_rng(0, Stream.RANDAUGMENT, step, 0))

    first = at(5, x)
    assert first.equal(at(5, x))
    assert first.abs().max() <= 1 + 1e-6
    assert sum((at(step, x) - x).abs().amax() > 0.1 for step in range(8)) > 5  # a few operations change nothing
    for step in range(4):
        grey, colours = (at(step, x[:, :1].expand(-1, channels, -1, -1)) for channels in (1, 3))
        assert grey.expand(-1, 3, -1, -1).equal(colours)  # grey stays grey


def test_kornias_magnitudes_end_at_29():
    RandAugment(2, TrainingConfig(steps=5, randaugment_magnitude=29).randaugment_magnitude)
    with pytest.raises(ValidationError, match="randaugment_magnitude"):
        TrainingConfig(steps=5, randaugment_magnitude=30)


def test_randaugment_needs_kornia(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.augmentation.auto", None)
    with refusal(r"pip install 'deliberate-practice\[augment\]'", MissingError):
        conv(TrainingConfig(steps=5, randaugment=2))


def test_a_learner_of_images_goes_on_from_its_tensors_bit_for_bit():
    """Weights of convolutions, and the optimizer's averages, have another order in memory than in a checkpoint."""
    training = TrainingConfig(steps=20, crop=0.7, randaugment=2)
    whole, second = conv(training), conv(training)
    for step in range(6):
        whole.train_step(*images(step))
    saved = {name: value.clone() for name, value in whole.tensors().items()}
    assert all(value.is_contiguous() for value in saved.values())
    second.load_tensors(saved, step=6)
    for step in range(6, 12):
        whole.train_step(*images(step))
        second.train_step(*images(step))
    assert same_tensors(whole.tensors(), second.tensors())
