from collections import Counter

import pytest

from dp_real.data.sets.imagenet import PROMPT_NAMES, imagenet_classes, shared_labels


def test_just_the_names_that_are_ambiguous_were_changed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dp_real.data.sets.imagenet.PROMPT_NAMES", {})
    names = Counter(entry.name.casefold() for entry in imagenet_classes.__wrapped__("imagenet1k"))
    assert {name for name, count in names.items() if count > 1} == {"crane", "cardigan", "maillot"}
    entries = imagenet_classes.__wrapped__("imagenet1k")
    assert {entry.wnid for entry in entries if names[entry.name.casefold()] > 1} == set(PROMPT_NAMES)


def test_the_orders():
    """ImageNet-1k is sorted by folder; ImageNet-100 begins as CMC's list does, which is not sorted."""
    full = imagenet_classes("imagenet1k")
    assert len({entry.name.casefold() for entry in full}) == 1000
    assert [entry.wnid for entry in full] == sorted(entry.wnid for entry in full)
    assert [entry.index for entry in full] == list(range(1000))
    hundred = imagenet_classes("imagenet100")
    assert len(hundred) == 100
    assert [entry.wnid for entry in hundred[:3]] == ["n02869837", "n01749939", "n02488291"]
    assert all(full[entry.index] == entry for entry in hundred)


@pytest.mark.parametrize(
    ("task", "dataset", "count"),
    [
        ("imagenet1k", "imagenet-a", 200),
        ("imagenet1k", "imagenet-sketch", 1000),
        ("imagenet100", "imagenet-r", 19),
        ("imagenet100", "imagenet-v2", 100),
    ],
)
def test_classes_shared_with_the_other_sets(task, dataset: str, count: int):
    labels = shared_labels(task, dataset)
    assert len(labels) == len(set(labels)) == count
    assert set(labels) <= set(range(len(imagenet_classes(task))))
