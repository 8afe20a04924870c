"""Where tensors lie, and when the host waits for a GPU: on a device in name only (fake_device).

The device must be there before a process's first backward pass, so these tests run in a process of their own.
"""

from functools import partial

import pytest
import torch
from torch import nn

from dp_real.data.examples import Examples, Task
from dp_real.evaluate import assess
from dp_real.guidance.entropy import EntropyGuidance, RandomGuidance
from dp_real.learners import TransformersConfig
from dp_real.learners.models.network import NetworkLearner
from dp_real.learners.section import TrainingConfig
from dp_real.runtime.seeds import row_seeds
from dp_real.text.codes import to_codes
from dp_real.text.learners import TransformersTextConfig
from tests.dp_real.generators import tiny_pipelines
from tests.dp_real.runtime.fake_device import NAME, READ, SET_UP, fake_device
from tests.dp_real.text import made

pytestmark = [
    pytest.mark.fake_device,
    pytest.mark.skipif(SET_UP is None, reason="this torch has no device in name only"),
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor"),  # when its average is copied
]
TASK = Task((3, 16, 16), tiny_pipelines.CLASSES)
PAPER = {"mixup": 0.5, "cutmix": 1.0, "crop": 0.3, "flip": True, "label_smoothing": 0.1}
PAPER |= {"ema_decay": 0.9, "max_grad_norm": 1.0}
LABELS = torch.arange(3)
SEEDS = row_seeds(0, 0, range(3))


@pytest.fixture
def device(patch):
    with fake_device() as found:
        patch("dp_real.evaluate.assess.device", lambda: found.device)
        yield found


def small(task):
    """Return a network with all that a step may have to do: statistics, dropout, weights that no loss depends on."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(4 * 14 * 14, 3)
    )


def vit(task):
    return TransformersConfig(kind="transformers", config=tiny_pipelines.VIT).classifier(task)


def learner(device, build=small, **options):
    training = TrainingConfig(steps=9, batch_size=8, **options)
    return NetworkLearner(build(TASK), TASK, training, seed=0, device=device.device)


@pytest.mark.parametrize("options", [{}, PAPER, PAPER | {"precision": "bfloat16"}])
@pytest.mark.parametrize("build", [pytest.param(small, id="quick"), vit])
def test_a_training_step_waits_for_nothing(build, options, device):
    trained = learner(device, build, **options)
    device.waits.clear()
    for side in (16, 24):  # as the learner sees images, and larger
        trained.train_step(torch.zeros(8, 3, side, side, dtype=torch.uint8), torch.arange(8) % 3)
    assert device.waits == []
    trained.drain_loss()
    assert [wait.partition(",")[0] for wait in device.waits] == [READ]  # logging


def test_quick_evaluation_waits_for_each_part_of_a_set_once_each_way(device):
    trained = learner(device, precision="bfloat16")
    device.waits.clear()
    assess.accuracies(trained, Examples(torch.zeros(300, *TASK.sample_shape), torch.zeros(300, dtype=torch.int64)))
    copies = [wait.split()[1:4] for wait in device.waits if not wait.startswith(READ)]
    assert copies == 2 * [["cpu", "->", "nowhere"], ["nowhere", "->", "cpu"]]


def test_quick_an_existing_classifier_lies_on_the_device_with_all_its_parts(device, tmp_path, patch):
    patch("dp_real.runtime.distributed.device", lambda: device.device)
    tiny_pipelines.save_vit(tmp_path / "images")
    known = TransformersConfig(kind="transformers", model=f"{tmp_path}/images").classifier(TASK)
    assert known(torch.zeros(2, 3, 16, 16, device=device.device)).device == device.device
    made.encoder(tmp_path / "texts")
    texts = TransformersTextConfig(kind="transformers-text", model=f"{tmp_path}/texts", max_tokens=16)
    known = texts.classifier(Task((20,), TASK.classes))
    assert known(to_codes(["one", "two", "three"], 20)).device == device.device


# Those of the own loop; others wait as diffusers' own calls do.
PIPELINES = (
    (tiny_pipelines.stable_diffusion, torch.bfloat16),
    (tiny_pipelines.stable_diffusion_xl, torch.float32),
    (tiny_pipelines.dit, torch.bfloat16),
)


@pytest.mark.parametrize(("make", "dtype"), PIPELINES)
def test_a_sampling_step_waits_for_nothing_guided_or_not(make, dtype, device):
    """What is waited for does not depend on the number of steps; guidance looks once whether there is a slope."""
    pipe = tiny_pipelines.random_pipeline(make)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.to(device.device, dtype)
    generator = partial(tiny_pipelines.make_generator, pipe, 3.0, shape=TASK.sample_shape, size=(32, 32))
    judge = learner(device)

    def waits(steps, options):
        drawing = generator(steps)
        drawing.sample(LABELS, SEEDS, None)  # encodes the prompts
        device.waits.clear()
        x = drawing.sample(LABELS, SEEDS, None if options is None else EntropyGuidance(judge.logits, 0.1, **options))
        assert (x.device.type, x.shape) == ("cpu", (3, *TASK.sample_shape))
        timesteps = [wait for wait in device.waits if wait.startswith(f"aten._to_copy cpu -> {NAME} [{steps}]")]
        assert len(timesteps) == 1
        return [wait for wait in device.waits if wait not in timesteps]

    plain = waits(2, None)
    assert len(plain) <= 5  # the conditions and noise of a batch there, and its images back
    for options in ({}, {"through": "x0", "scale": "raw"}):
        guided = waits(2, options)
        assert guided == waits(3, options)
        assert [wait for wait in guided if "/guidance/entropy.py" not in wait] == plain
        assert len(guided) == len(plain) + 1
    drawing = generator(2)
    drawing.sample(LABELS, SEEDS, RandomGuidance(judge.logits, 0.1, seeds=SEEDS, through="x0"))
