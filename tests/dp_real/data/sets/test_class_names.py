"""Which folder or word is which class."""

import unicodedata

import pytest

from dp_real.data.sets.class_names import folder_names, task_classes, user_classes
from dp_real.data.sets.imagenet import imagenet_classes
from tests.refusals import refusal


@pytest.mark.parametrize(
    "names",
    [
        ("a:b", "a?b", "a_b", "..", "../up", "a/b", "x\ny"),
        ("Cat", "cat", "CAT", "cat-0", "Cat-1-1", "Cat-1"),
        ("caf\u00e9", "cafe\u0301", "CAFE\u0301"),
        ("\ufb01sh", "fish"),
        ("dot", "dot.", "dot ", "dot. .", "dot_"),
        ("x" * 201, "x" * 202, "X" * 300, "ä" * 300),
    ],
)
def test_folders_are_safe_found_again_and_stay_apart_on_every_file_system(names):
    folders = folder_names(names)
    classes = user_classes(names)
    if len(set(classes.names)) == len(names):
        assert [classes.label(folder, "here") for folder in folders] == [*range(len(names))]
    for same in (str.casefold, str.upper, lambda name: unicodedata.normalize("NFD", name.lower()).rstrip(". ")):
        assert len({same(name) for name in folders}) == len(names)
    for name in folders:
        assert not name.startswith(".")
        assert not set(name) & set("/:?\n")
        assert len(name.encode()) <= 203


def test_a_number_is_a_name_first():
    assert user_classes(["3", "1"]).folders == {"3": 0, "1": 1}
    with refusal("here: 3 is none of the 3 classes, which numbers count from 0"):
        user_classes(["ape", "bee", "cat"]).refuse_counted({"1", "2", "3"}, "here")


def test_the_orders():
    """ImageNet-1k is sorted by folder; ImageNet-100 begins as CMC's list does, which is not sorted."""
    full, hundred = imagenet_classes("imagenet1k"), imagenet_classes("imagenet100")
    assert len({entry.name.casefold() for entry in full}) == 1000
    assert [entry.wnid for entry in full] == sorted(entry.wnid for entry in full)
    assert [entry.wnid for entry in hundred[:3]] == ["n02869837", "n01749939", "n02488291"]
    assert all(full[entry.index] == entry for entry in hundred)


def test_every_word_of_imagenet_is_of_one_class():
    """In ImageNet-100, words of other classes have no label; numbers count the 1,000 classes."""
    for task in ("imagenet1k", "imagenet100"):
        labels = {entry.wnid: label for label, entry in enumerate(imagenet_classes(task))}
        classes = task_classes(task)
        for number, entry in enumerate(imagenet_classes("imagenet1k")):
            words = {entry.wnid, str(number), entry.name, entry.synonyms} - {"crane"}
            assert {classes.label(word, "here") for word in words} == {labels.get(entry.wnid)}
    with refusal("crane is none of"):  # a bird's word, and a machine's
        task_classes("imagenet1k").label("crane", "here")
