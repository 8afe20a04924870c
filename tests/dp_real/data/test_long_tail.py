"""Long tails: the counts of unbalanced classes, what fills them up, the rivals of generation, and whole runs."""

import tomllib
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from dp_experiments.presets.presets import load_preset
from torch.nn import functional as F
from torch.testing import assert_close

from dp_real import Run, run
from dp_real.data.examples import Examples
from dp_real.data.sets.real_rows import shots, tail_counts, tail_rows
from dp_real.evaluate.assess import evaluate_shots, predictions
from dp_real.learners.models.network import NetworkLearner
from dp_real.practice.rounds import filling
from dp_real.runs.batches import MiniBatches
from dp_real.runs.prepare import fresh_learner, load_data
from tests.dp_real.conftest import changed
from tests.refusals import refusal


@pytest.mark.parametrize(("total", "n_classes", "imbalance"), [(1500, 77, 100), (10, 10, 100), (5, 1, 2)])
def test_counts_fall_exponentially(total, n_classes, imbalance):
    """The split decides which classes are frequent."""
    counts, other = (tail_counts(total, n_classes, imbalance, split) for split in (0, 1))
    assert counts.sum() == total
    assert counts.min() >= 1
    falling = -np.sort(-counts)
    shares = imbalance ** (-np.arange(n_classes) / max(n_classes - 1, 1))
    expected = 1 + (total - n_classes) * shares / shares.sum()
    assert np.abs(falling - expected).max() < 1
    assert (counts != other).any() == (total > n_classes > 1)


def test_filling_asks_for_the_smallest_class_each_time():
    have = torch.tensor([90, 3, 1, 50, 3])
    labels = filling(have, 1000).tolist()
    for label in labels:
        assert have[label] == have.min()
        have[label] += 1
    assert len(labels) == 1000
    assert not len(filling(have, 0))


def test_rows_of_a_smaller_tail_are_among_those_of_a_larger_one():
    y = np.arange(300) % 3
    large, small = (tail_rows(y, np.array(counts), split=5) for counts in ([50, 20, 4], [10, 3, 1]))
    assert y[large].tolist() == [0] * 50 + [1] * 20 + [2] * 4
    assert len({*large}) == 74
    assert set(small.tolist()) < set(large.tolist())


def test_shots_are_thirds_of_the_classes_by_their_counts():
    groups = shots(torch.tensor([5, 100, 1, 30, 30, 2, 60]))
    assert {name: sorted(group.tolist()) for name, group in groups.items()} == {
        "many": [1, 3, 6],
        "medium": [0, 4],
        "few": [2, 5],
    }
    assert shots(torch.tensor([1, 4])) == {"many": 1, "medium": 0}


def test_balanced_batches_have_each_class_alike():
    torch.manual_seed(0)
    y = torch.tensor([0] * 970 + [1] * 27 + [2] * 3)[torch.randperm(1000)]
    config = digits("training.batch_size=60", "training.balanced_batches=true")
    batches = MiniBatches(config, MagicMock(y=y, newest=0, **{"__len__.return_value": len(y)}))
    rows = torch.cat([batches.at(step) for step in range(256)])
    drawn = y[rows].bincount()
    assert (drawn.double() / len(rows)).tolist() == pytest.approx([1 / 3] * 3, abs=0.012)  # 3 binomial s.e.
    of_the_rare = rows[y[rows] == 2].unique(return_counts=True)[1]
    assert len(of_the_rare) == 3
    assert of_the_rare.max() < 1.15 * of_the_rare.min()


DIGITS = tomllib.loads("""
training = { steps = 40, warmup = 0.0, cooldown = 0.1 }
generator = { training = "none" }
sampling = { steps = 3 }

[practice]
real = 60
imbalance = 20.0
classes = "fill"
initial = 60
increment = 10
additions = 3
patience = 1
evaluate_every = 5
""")


def digits(*settings):
    """A tail of real digits, to which 30 generated ones are added in three rounds."""
    return changed(load_preset("digits"), *settings, **DIGITS)


def test_a_run_fills_the_tail_and_measures_each_third(tmp_path):
    config = digits()
    run(config, tmp_path)
    done = Run(tmp_path)
    y = done.pool.y
    counts = tail_counts(60, 10, 20, config.data.split)
    assert y[:60].bincount(minlength=10).tolist() == counts.tolist()
    assert y[60:].tolist() == filling(torch.from_numpy(counts), len(y) - 60).tolist()
    result = done.result
    rows = {row["set"]: row for row in result["sets"]}
    assert {name: rows[name]["classes"] for name in ("many", "medium", "few")} == {"many": 4, "medium": 3, "few": 3}
    data = load_data(config)
    right = predictions(done.learner(), data.test) == data.test.y
    few = torch.isin(data.test.y, torch.from_numpy(counts).argsort(descending=True, stable=True)[7:])
    assert rows["few"]["accuracy"] == pytest.approx(right[few].double().mean().item())
    (alone,) = evaluate_shots(config, done.learner(), Examples(data.test.x[:][few], data.test.y[few]))  # no others
    assert alone == rows["few"]


def test_what_is_added_to_the_logits_is_in_the_loss():
    learner = fresh_learner(digits())
    torch.manual_seed(1)
    x = torch.randn(6, *learner.task.sample_shape)
    y = torch.tensor([0, 0, 1, 2, 3, 9])
    offset = torch.randn(6, 10)
    expected = F.cross_entropy(learner.logits(x) + offset, y, label_smoothing=learner.config.label_smoothing)
    learner.train_step(x, y, offset=offset)
    assert learner.drain_loss() == pytest.approx(expected.item(), rel=1e-5)


def test_each_row_of_a_run_is_adjusted_by_the_shares_among_rows_of_its_kind(tmp_path, patch):
    """From each round's first step on. A class without rows of a kind counts as one with a single row."""
    seen = []
    step = NetworkLearner.train_step

    def noted(self, x, y, offset):
        seen.append((x, offset))
        step(self, x, y, offset)

    patch("dp_real.learners.models.network.NetworkLearner.train_step", noted)
    run(digits("training.logit_adjustment=1.5", "practice.initial=90", "practice.evaluate_every=1"), tmp_path)
    done = Run(tmp_path)
    real, y = done.pool.x[:60], done.pool.y
    assert len(done.rounds) > 1
    for at, size in zip(done.rounds["step"], done.rounds["count"].cumsum(), strict=True):
        x, offset = seen[at]
        is_real = (x.unsqueeze(1) == real).flatten(2).all(2).any(1)
        counts = torch.stack([labels.bincount(minlength=10).clamp(min=1) for labels in (y[60:size], y[:60])])
        expected = 1.5 * torch.log(counts / counts.sum(1, keepdim=True))
        assert_close(offset, expected[is_real.long()])
        assert 0 < is_real.sum() < len(x)


def test_a_tail_that_cannot_be_is_refused():
    mixed = "training.logit_adjustment=1", "training.mixup=0.5"
    with refusal("imbalance = 20 is for real examples"):
        digits("practice.real=0")
    with refusal(r"training\.mixup mixes real and generated rows"):
        digits(*mixed)
    digits(*mixed, "practice.real=0", "practice.imbalance=1")


def test_a_tail_takes_what_there_is(tmp_path):
    def of(count):
        real = f"practice.initial={count}", f"practice.real={count}"
        return digits(*real, "practice.imbalance=1e4", "practice.additions=0")

    for count, said in ((900, "real examples of .*: there are"), (9, "fewer")):
        with refusal(said):
            run(of(count), tmp_path / f"{count}")
    run(of(10), tmp_path / "run")
    assert Run(tmp_path / "run").pool.y.bincount().tolist() == [1] * 10
