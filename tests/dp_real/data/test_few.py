"""A few real examples of each class, of the validation set, that are trained on beside generated ones."""

import pytest
import torch

from dp_real import Run, run
from dp_real.config.arms import arm_config
from dp_real.data.examples import Examples, RealData, Task
from dp_real.data.sets.images import ImageFiles
from dp_real.data.sets.real_rows import with_few
from dp_real.pool.pool import REAL_SEED
from dp_real.runtime.pixels import to_bytes, to_image
from tests.dp_real.conftest import changed
from tests.refusals import refusal

Y = torch.tensor([0, 1] * 6 + [1] * 3)  # 6 and 9 of each class


@pytest.fixture
def few(config):
    return changed(config, "data.real_per_class=5")


@pytest.fixture(params=["tensor", "files"])
def split(request, tmp_path):
    """A function that gives the rows that are trained on, and those that are watched."""
    x = torch.arange(len(Y), dtype=torch.uint8).view(-1, 1, 1, 1)
    if request.param == "files":
        for row, value in enumerate(x):
            to_image(value).save(tmp_path / f"{row}.png")
        x = ImageFiles([tmp_path / f"{row}.png" for row in range(len(Y))], (1, 1, 1))

    def rows(per_class, halved, seed=0):
        every = Examples(x, Y)
        data = with_few(RealData(Task((1, 1, 1), ("a", "b")), None, every, every), per_class, halved, seed)
        assert data.test is data.validation  # which has none of those that were trained on
        found = [each.x[:].flatten().tolist() for each in (data.few, data.validation)]
        assert [each.y.tolist() for each in (data.few, data.validation)] == [Y[rows].tolist() for rows in found]
        return [*map(set, found)]

    return rows


def test_no_example_is_in_two_sets(split):
    for per_class, halved, trained, watched in (
        (2, True, 2, 2),
        (5, True, 6, 4),
        (8, False, 14, 1),
        (8, True, 7, 7),
        (12, True, 8, 7),
    ):
        few, left = split(per_class, halved)
        assert (len(few), len(left), few & left) == (trained, watched, set())
    assert split(4, True) != split(4, True, seed=1)
    for per_class, halved, said in ((9, False, "lower it, or give more"), (1, True, "take 2 or more")):
        with refusal(f"leaves no validation example to watch; {said}"):
            split(per_class, halved)


def test_a_run_that_adds_has_no_more_real_examples_than_others(split):
    assert set.union(*split(4, True)) == split(4, False)[0]
    assert split(6, True)[0] == split(3, False)[0]


def test_arms_of_a_few_real_examples(few, tmp_path):
    begun_with_real = changed(few, "practice.initial=0")
    for config, arm, generated, trained in (
        (few, "real", 0, 50),
        (few, "static-60", 60, 50),
        (few, "practice", 140, 30),
        (begun_with_real, "practice", 80, 30),
    ):
        settled = arm_config(config, arm)
        data = settled.real_data()
        result = run(settled, tmp_path / f"{arm}-{generated}")
        assert (result["samples_generated"], result["pool_size"]) == (generated, trained + generated)
        assert result["val_examples"] == len(data.validation.y) == (20 if arm == "practice" else 200)
        pool = Run(tmp_path / f"{arm}-{generated}").pool
        real = torch.from_numpy(pool.table()["seed"].to_numpy() == REAL_SEED)
        assert real.tolist() == [True] * trained + [False] * generated
        assert to_bytes(pool.x[:trained]).equal(to_bytes(data.few.x))


def test_what_does_not_go_with_it(few):
    with refusal("practice.real and data.real_per_class both select"):
        changed(few, "practice.real=5")
    with refusal("data.real_per_class needs 0"):
        changed(few, "pool.size=16", "generator.kind=latent")
    with refusal("finetune: set"):
        arm_config(few, "finetune")
    encoder = arm_config(changed(few, "practice.encoder=vit"), "finetune")
    assert (encoder.learner.kind, encoder.learner.model, encoder.samples) == ("transformers", "vit", 0)
