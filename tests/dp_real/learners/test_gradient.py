"""A training step is the same whoever computes its rows, and in however many pieces."""

from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_base.errors import MissingError
from dp_real.examples import Task
from dp_real.learners.models.network import NetworkLearner
from dp_real.runtime import processes
from dp_real.runtime.shares import PARCEL, StepShare, edges
from dp_real.sections import TrainingConfig

TASK = Task((1, 8, 8), tuple("abc"))
SHAKEN: dict[str, Any] = {"mixup": 0.5, "cutmix": 1.0, "crop": 0.3, "flip": True, "label_smoothing": 0.1}
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def network(*, norm: bool = False, dropout: float = 0.0) -> nn.Module:
    layers = [nn.Conv2d(1, 4, 3), *([nn.BatchNorm2d(4)] if norm else []), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(4 * 36, 3))


def learner(*, norm: bool = False, dropout: float = 0.0, **training: Any) -> NetworkLearner:
    options = TrainingConfig(steps=10, warmup=0, ema_decay=0.5, **(SHAKEN | training))
    return NetworkLearner.fresh(lambda task: network(norm=norm, dropout=dropout), TASK, options, seed=2)


def rows(n: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(n)
    return torch.randn(n, 1, 8, 8, generator=draw), torch.randint(3, (n,), generator=draw)


def gradients(student: NetworkLearner) -> list[Tensor]:
    return [weight.grad.clone() for weight in student.parameters if weight.grad is not None]


def as_processes(count: int, size: int, monkeypatch: pytest.MonkeyPatch, **kind: Any) -> list[Tensor]:
    """The gradient and the gathered statistics that `count` processes would add up."""
    sums: list[Tensor] = []
    for process in range(count):
        student = learner(**kind)
        share = StepShare.of(size, process, count)
        x, y = rows(size)
        bounds = list(pairwise(edges(size)))
        own = torch.cat([torch.arange(*bounds[part.parcel]) for part in share.parts] or [torch.arange(0)])
        offset = x.flatten(1)[:, :3]
        prepared = student._prepare(x[own], y[own], share, offset[own])
        student.module.train()
        student.gradient.fill(student._loss, lambda: prepared, share, student.step)  # noqa: B023
        found = [torch.zeros_like(each) if each.grad is None else each.grad for each in student.parameters]
        found += [each for each in student.gradient.gathered if each.is_floating_point()]
        sums = [total + each for total, each in zip(sums, found, strict=True)] if sums else found
    return sums


@pytest.mark.parametrize("size", [3, 64, 150])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_processes_add_up_to_one(size: int, count: int, monkeypatch: pytest.MonkeyPatch):
    """With offsets, with augmentation that mixes rows of different processes, and with fewer rows than processes."""
    for ours, alone in zip(as_processes(count, size, monkeypatch), as_processes(1, size, monkeypatch), strict=True):
        torch.testing.assert_close(ours, alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [{"norm": True}, {"dropout": 0.5}], ids=str)
@pytest.mark.parametrize("count", [2, 4])
def test_layers_that_gather_or_drop_do_not_notice_processes_that_divide_the_parcels(
    kind: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
):
    size = 4 * PARCEL
    for ours, alone in zip(
        as_processes(count, size, monkeypatch, **kind), as_processes(1, size, monkeypatch, **kind), strict=True
    ):
        torch.testing.assert_close(ours, alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pieces", [1, 7, 64])
def test_pieces_add_up_to_the_whole(pieces: int):
    whole = learner()
    cut = learner(rows_per_device=pieces)
    for student in (whole, cut):
        student.train_step(*rows(150))
    for ours, theirs in zip(gradients(cut), gradients(whole), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    assert cut.drain_loss() == pytest.approx(whole.drain_loss(), rel=1e-6)


def test_statistics_are_the_mean_over_the_parcels():
    """They are as if each parcel had been the whole step, and the results were averaged."""
    together = learner(norm=True, crop=0, flip=False, mixup=0, cutmix=0)
    apart = []
    x, y = rows(2 * PARCEL)
    together.train_step(x, y)
    for part in (slice(0, PARCEL), slice(PARCEL, None)):
        alone = learner(norm=True, crop=0, flip=False, mixup=0, cutmix=0)
        alone.train_step(x[part], y[part])
        apart.append(alone.module.state_dict())
    found = together.module.state_dict()
    for name in ("1.running_mean", "1.running_var"):
        torch.testing.assert_close(found[name], (apart[0][name] + apart[1][name]) / 2)
    assert found["1.num_batches_tracked"] == 1


@pytest.mark.parametrize("room", [1, 20, 64])
@pytest.mark.parametrize("kind", [{}, {"norm": True, "dropout": 0.5}], ids=str)
def test_a_step_that_does_not_fit_is_computed_in_smaller_pieces_and_ends_the_same(
    kind: dict[str, Any], room: int, monkeypatch: pytest.MonkeyPatch
):
    """Nothing of the failed tries is left. The step ends as if the final size had been set at once."""
    student = learner(**kind)
    forward = NetworkLearner._forward
    seen = []

    def with_little_memory(self: NetworkLearner, x: Tensor) -> Tensor:
        answer = forward(self, x)  # so that a try leaves something
        if self is student:
            seen.append(len(x))
            if len(x) > room:
                raise NO_MEMORY
        return answer

    monkeypatch.setattr(NetworkLearner, "_forward", with_little_memory)
    student.train_step(*rows(150))
    assert len(seen) > 150 / room
    informed = learner(rows_per_device=min(student.gradient.most, 150), **kind)
    informed.train_step(*rows(150))
    for name, value in student.tensors().items():
        assert torch.equal(value, informed.tensors()[name]), name


def test_a_row_that_does_not_fit_is_missing_memory(monkeypatch: pytest.MonkeyPatch):
    def none(self: NetworkLearner, x: Tensor) -> Tensor:
        raise NO_MEMORY

    monkeypatch.setattr(NetworkLearner, "_forward", none)
    with pytest.raises(MissingError, match="a single row needs more memory than the GPU has: training"):
        learner().train_step(*rows(5))


@given(size=st.integers(1, 5000), count=st.integers(1, 40))
def test_shares_cover_each_row_once_and_evenly(size: int, count: int):
    bounds = list(pairwise(edges(size)))
    owned = []
    sizes = []
    assert max(last - first for first, last in bounds) <= PARCEL
    for process in range(count):
        share = StepShare.of(size, process, count)
        sizes.append(share.rows)
        for part in share.parts:
            first, last = bounds[part.parcel]
            assert part.rows.stop - part.rows.start == last - first
            owned += range(first + part.own.start, first + part.own.stop)
    assert owned == list(range(size))
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] == max(sizes)


def test_tensors_that_travel_together_come_back_in_their_shapes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes.distributed, "all_reduce", lambda tensor: tensor.mul_(3))
    monkeypatch.setattr(processes, "joining", lambda what, lasting: nullcontext())  # there are no others
    tensors = [torch.ones(()), torch.arange(6.0).view(2, 3), torch.zeros(0)]
    processes.add_up(tensors)
    assert torch.equal(tensors[0], torch.tensor(3.0))
    assert torch.equal(tensors[1], 3 * torch.arange(6.0).view(2, 3))
