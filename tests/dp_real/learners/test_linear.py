"""The linear learner: at the optimum of what it says, solved once a pool, for two classes."""

import pytest
import torch

from dp_real.data.examples import Task
from dp_real.guidance.entropy import entropy
from dp_real.learners.models.linear import LinearLearner
from dp_real.runtime.seeds import row_noise, row_seeds
from tests.refusals import refusal

TASK = Task((20,), ("-1", "1"))


def plain_pool(n):
    x = row_noise(row_seeds(0, 0, range(n)), (20,))
    return x, (x[:, 0] > 0).long()


@pytest.mark.parametrize("loss", ["ridge", "logistic"])
@pytest.mark.parametrize(("n", "classes"), [(12, 2), (200, 2), (40, 1), (1, 1)])
def test_the_learner_is_at_the_optimum_of_what_it_says(loss, n, classes):
    """The gradient of the objective in the module's head vanishes, with fewer rows than dimensions or one class too."""
    x, y = plain_pool(n)
    y = y if classes == 2 else y * 0
    learner = LinearLearner(TASK, lam=0.03, loss=loss)
    learner.train_step(x, y)
    w = learner.weight.clone().requires_grad_()
    margin = (2 * y - 1) * (x.double() @ w)
    losses = (1 - margin) ** 2 / 2 if loss == "ridge" else torch.nn.functional.softplus(-margin)
    (losses.mean() + 0.03 / 2 * w @ w).backward()
    assert w.grad.abs().max() < 1e-8
    assert learner.drain_loss() == pytest.approx(losses.mean().item())


def test_entropy_is_binary_entropy_of_the_margin():
    learner = LinearLearner(TASK, lam=0.01)
    learner.train_step(*plain_pool(100))
    x, _ = plain_pool(7)
    margin = x.double() @ learner.weight
    expected = torch.distributions.Bernoulli(logits=margin).entropy()
    torch.testing.assert_close(entropy(learner.logits(x)).double(), expected, atol=1e-6, rtol=0)
    assert learner.logits(x).argmax(1).bool().equal(margin > 0)


def test_a_pool_is_solved_once_and_a_restored_learner_knows_it():
    x, y = plain_pool(50)
    learner, restored = (LinearLearner(TASK, lam=0.01) for _ in range(2))
    learner.train_step(x, y)
    weight = learner.weight
    learner.train_step(x, y)
    assert learner.weight is weight
    restored.load_tensors(learner.tensors())
    restored.train_step(-x, y)  # as many rows: taken for the same pool
    assert restored.weight.equal(weight)
    restored.train_step(*plain_pool(51))
    assert not restored.weight.equal(weight)


def test_a_linear_learner_takes_two_classes_and_counts_no_flops():
    assert LinearLearner(TASK, lam=0.01).row_flops((20,)) == 0
    with refusal("two classes"):
        LinearLearner(Task((64,), tuple("abc")), lam=1)
