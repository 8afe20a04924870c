"""Labels that are wrong on both sides of a boundary must be told from labels that are wrong on one."""

import numpy as np
import pytest
import torch
from dp_experiments.looking.judge import Judge
from dp_experiments.pilot.boundary import boundary, scores

N, CLASSES = 20_000, 4


def rows(shift=(0.0, 0.0, 0.0, 0.0), slope=1.0, seed=0):
    """Scores, and labels that follow softmax(slope·z + shift)."""
    rng = np.random.default_rng(seed)
    z = torch.log_softmax(torch.from_numpy(2 * rng.standard_normal((N, CLASSES))), 1).numpy()
    gumbel = rng.gumbel(size=z.shape)
    return z, (slope * z + np.array(shift) + gumbel).argmax(1)


@pytest.mark.parametrize("slope", [1.0, 0.5])
def test_labels_that_are_wrong_on_both_sides_displace_nothing(slope):
    found = boundary(*rows(slope=slope), rows(seed=1)[0])
    assert found.slope == pytest.approx(slope, rel=0.03)
    assert found.displaced < 0.015


def test_labels_that_are_wrong_on_one_side_displace_the_boundary():
    shift, real = np.array([0.8, -0.8, 0, 0]), rows(seed=1)[0]
    found = boundary(*rows(shift), real)
    between = np.mean((real + shift).argmax(1) != real.argmax(1))
    assert between > 0.1
    assert found.displaced == pytest.approx(between, abs=0.01)
    assert found.slope == pytest.approx(1, rel=0.03)


def test_scores_add_what_several_answers_of_a_judge_mean():
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    judge = Judge(lambda x: logits[: len(x)], ["a", "b", "c"], [{0}, {1, 2}])
    p = torch.softmax(logits, 1).double().numpy()
    want = np.log(np.column_stack([p[:, 0], p[:, 1] + p[:, 2]]))
    np.testing.assert_allclose(scores(judge, torch.zeros(2, 1, 4, 4), 2), want, atol=1e-6)
