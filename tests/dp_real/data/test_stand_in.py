"""The stand-in has noise in the folders of the published sets."""

from pathlib import Path

from dp_real.data.stand_in import StandInConfig


def test_the_sets_are_laid_out_as_published():
    config = StandInConfig(source="stand-in", size=8)
    other = StandInConfig(source="stand-in", size=8, classes="imagenet1k")
    assert other.folders.validation == config.folders.validation  # the same files, read as another task
    assert {path.name for path in Path(config.folders.sets["imagenet-v2"]).iterdir()} == {*map(str, range(1000))}
    data = config.load()
    assert data.validation.x.shape == (100, 3, 8, 8)
    assert {name: len(images.y) for name, images in data.sets.items()} == {
        "imagenet-v2": 100,
        "imagenet-sketch": 100,
        "imagenet-r": 19,
        "imagenet-a": 15,
    }
    assert not data.validation.x[:100].equal(data.test.x[:100])
