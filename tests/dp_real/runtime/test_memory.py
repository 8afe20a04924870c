"""What a GPU run does with memory and precision, as far as it can be seen without one."""

import gc
import weakref
from itertools import pairwise

import pytest
import torch
from accelerate import PartialState
from torch import nn

from dp_real import run
from dp_real.data.examples import Examples, Task
from dp_real.evaluate.assess import accuracies
from dp_real.learners.models.network import NetworkLearner
from dp_real.learners.section import TrainingConfig
from dp_real.runs.loop import TrainingLoop
from dp_real.runs.prepare import fresh_learner, torch_settings
from dp_real.runtime import distributed
from dp_real.runtime.computing import seeded_default_modes
from tests.dp_real.conftest import changed

TASK = Task((4,), tuple("ab"))
ROWS = torch.randn(3, 4), torch.tensor([0, 1, 0])


class Spy(nn.Module):
    """A layer that remembers whether it was called under autocast."""

    def __init__(self, *_):
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.seen = []

    def forward(self, x):
        self.seen.append((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
        return self.layer(x)


def learner(**training):
    return NetworkLearner.fresh(Spy, TASK, TrainingConfig(steps=5, **training), seed=0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_evaluation_has_the_precision_of_training_and_guidance_has_float32(precision):
    student = learner(precision=precision)
    half = precision == "bfloat16"
    student.train_step(*ROWS)
    accuracies(student, Examples(torch.randn(5, 4), torch.zeros(5, dtype=torch.int64)))
    student.logits(torch.randn(2, 4, requires_grad=True))
    module = student.module
    assert module.seen == [(True, half), (False, half), (True, False)]


def test_products_of_float32_are_coarser_within_a_run_in_bfloat16_only(config):
    for precision, during in (("float32", "highest"), ("bfloat16", "high")):
        with torch_settings(changed(config, f"training.precision={precision}")):
            assert torch.get_float32_matmul_precision() == during
        assert torch.get_float32_matmul_precision() == "highest"


def test_a_learner_is_compiled_on_request_for_training_only(patch):
    compiled = []

    def pretend(module):
        compiled.append(module)
        return nn.Sequential(module)

    patch("torch.compile", pretend)
    assert compiled == [learner().module][1:]
    student = learner(compile=True)
    assert compiled == [student.module]
    student.train_step(*ROWS)
    assert set(student.tensors()) == set(learner().tensors()) | {key for key in student.tensors() if "optimizer" in key}


def test_memory_is_given_back_between_drawing_and_training(config, generator, tmp_path, patch):
    """NCCL and cuBLAS allocate outside of torch's cache, which must be empty whenever the kind of work changes."""
    events = []
    step = TrainingLoop.train_step
    draw = type(generator).sample
    patch("torch.cuda.empty_cache", lambda: events.append("release"))
    patch("dp_real.runs.loop.TrainingLoop.train_step", lambda self: events.append("train") or step(self))
    patch(type(generator), "sample", lambda *rest: events.append("draw") or draw(*rest))
    run(config, tmp_path)
    changes = set(pairwise(events))
    assert ("release", "train") in changes
    assert not changes & {("draw", "train"), ("train", "draw")}


def test_a_single_process_takes_the_present_gpu(config, patch):
    """accelerate calls it "cuda", without a number, which most of torch takes for the present one, but not all."""
    asked = []
    patch("torch.cuda.is_available", lambda: True)
    patch("torch.cuda.current_device", lambda: 1)
    patch("torch.cuda.memory._lazy_init", lambda: None)
    patch("torch._C._cuda_setMemoryFraction", lambda *share: asked.append(share), raising=False)
    patch("accelerate.PartialState._shared_state", {})
    assert distributed._own_device.__wrapped__() == torch.device("cuda")
    assert not asked  # the program's own share stays, but in a run
    patch("dp_real.runtime.distributed.device", lambda: torch.device("cuda"))
    with torch_settings(config):
        assert asked == [(0.95, 1)]
    assert not PartialState._shared_state  # by which processes that it forks would know themselves alone


def test_random_numbers_of_every_gpu_are_restored(patch):
    restored = []
    patch("torch.cuda.device_count", lambda: 2)
    patch("torch.cuda.get_rng_state", lambda gpu: gpu)
    patch("torch.cuda.set_rng_state", lambda state, gpu: restored.append((state, gpu)))
    with seeded_default_modes(0):
        pass
    assert restored == [(0, 0), (1, 1)]


def test_rows_are_halved_down_to_the_least_that_work():
    def work(rows):
        if rows > 2:
            raise torch.OutOfMemoryError("out of memory")

    assert distributed.halving(work, 3, "", least=2) == (None, 2)


def test_finished_learners_do_not_stay(config):
    """A cycle would keep each one's weights and moments on the GPU until Python looks for cycles."""
    gc.collect()
    gc.disable()
    try:
        learner = fresh_learner(config)
        learner.train_step(torch.zeros(4, *config.task.sample_shape), torch.zeros(4, dtype=torch.int64))
        gone = weakref.ref(learner)
        del learner
        assert gone() is None
    finally:
        gc.enable()
