"""A training step is the same whoever computes its rows, and in however many pieces."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dp_base.errors import MissingError
from dp_real.data.examples import Task
from dp_real.learners.models.network import NetworkLearner
from dp_real.learners.section import TrainingConfig
from dp_real.runtime import distributed
from tests.dp_real.runs.folders import same_tensors
from tests.refusals import refusal

TASK = Task((1, 8, 8), tuple("abc"))
SHAKEN = {"mixup": 0.5, "cutmix": 1.0, "crop": 0.3, "flip": True, "label_smoothing": 0.1}
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def network(*, norm=False, dropout=0.0):
    between = nn.BatchNorm2d(4) if norm else nn.Identity()
    layers = nn.Conv2d(1, 4, 3), between, nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * 36, 3)
    return nn.Sequential(*layers)


def learner(*, norm=False, dropout=0.0, **training):
    options = TrainingConfig(steps=10, warmup=0, ema_decay=0.5, **(SHAKEN | training))
    return NetworkLearner.fresh(lambda task: network(norm=norm, dropout=dropout), TASK, options, seed=2)


def rows(n):
    torch.manual_seed(n)
    return torch.randn(n, 1, 8, 8), torch.randint(3, (n,))


def gradients(student):
    return [weight.grad.clone() for weight in student.parameters if weight.grad is not None]


def plain(**kind):
    """A learner whose rows do not depend on who trains on them."""
    return learner(**{"crop": 0, "flip": False, "mixup": 0, "cutmix": 0} | kind)


@pytest.mark.parametrize(("size", "count"), [(3, 5), (50, 2)])
def test_processes_add_up_to_one(size, count, patch):
    """The mean is over all rows, however many each process has: none, of more processes than rows."""
    x, y = rows(size)
    offset = x.flatten(1)[:, :3]
    alone, *students = (plain() for _ in range(1 + count))
    alone.train_step(x, y, offset)
    expected = [torch.tensor(alone.drain_loss()), *gradients(alone)]
    everybodys = []
    patch(distributed, "all_reduce", lambda tensors: everybodys.append([each.clone() for each in tensors]))
    patch(distributed, "copy_from_main", lambda tensors: None)
    for process, student in enumerate(students):
        patch(distributed, "this_process", lambda at=process: SimpleNamespace(num_processes=count, process_index=at))
        own = distributed.own_share(range(size))
        part = slice(own.start, own.stop)
        student.train_step(x[part], y[part], offset[part])
    *sums, number = [torch.stack(each).sum(0) for each in zip(*everybodys, strict=True)]
    assert number == size
    assert_close([each / number for each in sums], expected, atol=1e-6, rtol=1e-5)


def test_pieces_add_up_to_the_whole():
    whole, cut = learner(), learner()
    cut.microbatch_size = 7
    for student in (whole, cut):
        student.train_step(*rows(150))
    assert_close(gradients(cut), gradients(whole), atol=1e-6, rtol=1e-5)
    assert cut.drain_loss() == pytest.approx(whole.drain_loss(), rel=1e-6)


@pytest.mark.parametrize(("room", "kind"), [(1, {}), (20, {"dropout": 0.5})], ids=str)
def test_a_step_that_does_not_fit_is_computed_in_smaller_pieces_and_ends_the_same(kind, room, patch):
    """Nothing of the failed tries is left. The step ends as if the final size had been set at once."""
    student = learner(**kind)
    forward = NetworkLearner._forward
    seen = []

    def with_little_memory(self, x):
        answer = forward(self, x)  # so that a try leaves something
        if self is student:
            seen.append(len(x))
            if len(x) > room:
                raise NO_MEMORY
        return answer

    patch("dp_real.learners.models.network.NetworkLearner._forward", with_little_memory)
    student.train_step(*rows(150))
    assert len(seen) > 150 / room
    informed = learner(**kind)
    informed.microbatch_size = student.microbatch_size
    informed.train_step(*rows(150))
    assert same_tensors(student.tensors(), informed.tensors())


@pytest.mark.parametrize(
    ("norm", "tries", "said"),
    [
        (False, [5, 2, 1], "a single row needs more memory than the GPU has: training"),
        (True, [5], "BatchNorm's 5 rows .training.batch_size. need more memory than the GPU has: training"),
    ],
)
def test_a_row_that_does_not_fit_is_missing_memory_and_so_are_rows_that_batchnorm_mixes(norm, tries, said, patch):
    seen = []

    def none(self, x):
        seen.append(len(x))
        raise NO_MEMORY

    patch("dp_real.learners.models.network.NetworkLearner._forward", none)
    with refusal(said, MissingError):
        learner(norm=norm).train_step(*rows(5))
    assert seen == tries


def test_tensors_that_travel_together_come_back_in_their_shapes(patch):
    patch("dp_real.runtime.distributed.distributed.all_reduce", lambda tensor: tensor.mul_(3))
    tensors = [torch.ones(()), torch.arange(6.0).view(2, 3), torch.zeros(0)]
    distributed.all_reduce(tensors)
    assert tensors[0].equal(torch.tensor(3.0))
    assert tensors[1].equal(3 * torch.arange(6.0).view(2, 3))
