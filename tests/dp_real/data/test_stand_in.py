"""The stand-in has noise in the folders of the published sets."""

from pathlib import Path

import torch

from dp_real.data.sets.imagenet import imagenet_classes
from dp_real.data.stand_in import StandInConfig


def test_the_sets_are_laid_out_as_published():
    config = StandInConfig(source="stand-in", size=8)
    folders = config.folders
    for name, classes in (
        ("imagenet-v2", map(str, range(1000))),
        ("imagenet-sketch", (entry.wnid for entry in imagenet_classes("imagenet1k"))),
    ):
        assert {path.name for path in Path(folders.sets[name]).iterdir()} == {*classes}
    other = StandInConfig(source="stand-in", size=8, classes="imagenet1k")
    assert other.folders.validation == folders.validation  # the same files, read as another task

    data = config.load()
    assert data.validation.x.shape == (100, 3, 8, 8)
    assert data.task.classes == config.task.classes == tuple(entry.name for entry in imagenet_classes("imagenet100"))
    assert {name: len(images.y) for name, images in data.sets.items()} == {
        "imagenet-v2": 100,
        "imagenet-sketch": 100,
        "imagenet-r": 19,
        "imagenet-a": 15,
    }
    validation = data.validation.x[:100]
    torch.testing.assert_close(data.generator.x, validation / 127.5 - 1)
    assert not validation.equal(data.test.x[:100])
