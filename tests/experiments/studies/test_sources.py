"""Fashion-MNIST, words and reviews: what is read and how it is split; what is missing or broken is named."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_experiments.studies.fashion.source import FashionConfig, read_idx
from dp_experiments.studies.words.source import WordsConfig, plain

from dp_base.errors import MissingError
from dp_real.data import DATA
from dp_real.data.examples import SetStatus
from dp_real.text.codes import texts_of
from tests.experiments.studies.made import idx, loaded, reviews_archive, word_lists
from tests.refusals import refusal

# -- Fashion-MNIST -----------------------------------------------------------------------------------------------------


def images_and_labels(n):
    """The i-th image is known by its first two pixels."""
    images = np.random.default_rng(0).integers(0, 256, (n, 28, 28))
    images[:, 0, 0] = np.arange(n) // 256
    images[:, 0, 1] = np.arange(n) % 256
    return images, np.arange(n) % 10


@pytest.fixture
def fashion(tmp_path, patch):
    """500 training images zipped, as Debian has them, and 30 test images not zipped; 100 of the former validate."""
    patch("dp_experiments.studies.fashion.source.VALIDATION", 100)
    for part, n, ending, pack in (("train", 500, ".gz", gzip.compress), ("t10k", 30, "", bytes)):
        for name, array in zip(("images-idx3", "labels-idx1"), images_and_labels(n), strict=True):
            (tmp_path / f"{part}-{name}-ubyte{ending}").write_bytes(pack(idx(array)))
    return FashionConfig(source="fashion", folder=str(tmp_path))


def number(x):
    """Return the number of each image, which its first two pixels inside of the padding tell."""
    first, second = ((x[:, 0, 2, 2 + i] + 1) * 127.5 for i in (0, 1))
    return (256 * first + second).round().long()


def test_images_are_padded_and_in_three_disjoint_sets(fashion):
    data = loaded(fashion)
    assert fashion.describe()[0].problem is None
    together = torch.cat([number(data.train.x[:]), number(data.validation.x[:])])
    assert together.sort().values.tolist() == list(range(500))
    assert number(data.test.x[:]).tolist() == list(range(30))
    for part, size in ((data.train, 400), (data.validation, 100), (data.test, 30)):
        x = part.x[:]
        assert len(x) == size
        assert torch.equal(part.y, number(x) % 10)
        assert (x[:, :, [0, 1, 30, 31]] == -1).all()
        assert (x.min(), x.max()) == (-1, 1)
    inside = (data.test.x[:, 0, 2:30, 2:30] + 1) * 127.5
    torch.testing.assert_close(inside, torch.from_numpy(images_and_labels(30)[0]).float(), atol=1e-4, rtol=0)


def test_a_missing_file_says_where_to_get_it(fashion):
    Path(fashion.folder, "t10k-labels-idx1-ubyte").unlink()
    with refusal(r"t10k-labels-idx1-ubyte.*dataset-fashion-mnist.*data\.folder", MissingError) as caught:
        fashion.load()
    assert fashion.describe() == [SetStatus("fashion", fashion.folder, str(caught.value), 70_000)]


def test_a_damaged_file_is_named(fashion):
    file = Path(fashion.folder, "train-images-idx3-ubyte.gz")
    for damaged in (file.read_bytes()[:-5], gzip.compress(b""), gzip.compress(b"\0\0\x0d\x01" + bytes(8))):
        file.write_bytes(damaged)
        with refusal(r"ubyte\.gz: not a whole IDX file"):
            read_idx(file.with_suffix(""))
    file.unlink()
    file.with_suffix("").write_bytes(idx(np.zeros((500, 28, 28))))
    file.with_name("t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(29)))
    with refusal(r"30, 28, 28.*29 labels"):
        fashion.load()


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def words(tmp_path, patch):
    """Few words of lists that are not there yet."""
    patch("dp_experiments.studies.words.source.FOLDER", tmp_path)
    return WordsConfig(source="words", train=30, validation=2, test=5)


def test_words_without_accents():
    assert plain("Straße ÆRØ łódź façade") == "strasse aero lodz facade"


def test_missing_lists_are_named(words):
    with refusal(r"apt-get install --no-install-recommends wamerican wngerman .* wpolish$", MissingError):
        words.load()


def test_words_of_one_language_alone_are_split_by_their_stems(words, tmp_path):
    word_lists(tmp_path)
    data = loaded(words)
    sides = [texts_of(side.x[:]) for side in (data.train, data.validation, data.test)]
    assert [len(side) for side in sides] == [330, 22, 55]
    assert not any("shared" in text or len(text) < 8 for side in sides for text in side)
    stems = [{text[:6] for text in side} for side in sides]
    assert not stems[0] & stems[1] | stems[0] & stems[2] | stems[1] & stems[2]
    assert texts_of(words.load().test.x[:]) == sides[2]
    assert texts_of(words.model_copy(update={"split": 1}).load().test.x[:]) != sides[2]
    with refusal(r"data.test = 5000: English has \d+ such words of 8 to 20"):
        words.model_copy(update={"test": 5000}).load()


# -- reviews -----------------------------------------------------------------------------------------------------------


def reviews(path, **keys):
    """The section, with few sentences."""
    counts = {"validation": 5, "test": 10, "train": 100}
    return DATA["reviews"].model_validate({"source": "reviews", "archive": str(path)} | counts | keys)


def test_sentences_are_read_split_and_labelled(tmp_path):
    path = reviews_archive(tmp_path)
    data = loaded(reviews(path, sets={"shop": "products", "news": "editorials"}))
    texts = []
    for part, size in ((data.validation, 10), (data.test, 20), (data.train, 30)):
        assert [len(part.y), int(part.y.sum())] == [size, size // 2]
        texts.append(texts_of(torch.as_tensor(part.x[:])))
        assert ["fine" in text for text in texts[-1]] == part.y.bool().tolist()
    dull = {f'A dull "films" number {n}, café.' for n in range(30)}
    assert dull | {f"A fine films number {n}." for n in range(30)} == {text for each in texts for text in each}
    assert {name: len(each.y) for name, each in data.sets.items()} == {"shop": 8, "news": 6}
    assert [reviews(path).task.classes, reviews(path).describe()[0].problem] == [("negative", "positive"), None]
    again, other = (texts_of(torch.as_tensor(reviews(path, split=split).load().test.x[:])) for split in (0, 1))
    assert again == texts[1] != other


def test_a_missing_archive_says_how_to_get_it(own_cache):
    section = DATA["reviews"].model_validate({"source": "reviews"})
    command = f"pip download --no-deps --no-build-isolation --no-binary vaderSentiment --dest {own_cache}"
    assert command in str(section.describe()[0].problem)
    with refusal(r"vaderSentiment==3\.3\.2", MissingError):
        section.load()


@pytest.mark.parametrize(
    ("films", "said"),
    [
        (b"1\t0.2\tSo so.", "no sentence rated 1 or more"),
        (b"1\tgood\tA film.", "cannot be read as the source distribution"),
        (b"1\t2\tA film.", "one must be left"),
    ],
)
def test_what_is_no_such_file_is_named(films, said, tmp_path):
    path = reviews_archive(tmp_path, films=films)
    with refusal(said):
        reviews(path).load()
    path.write_bytes(path.read_bytes()[:300])
    with refusal("cannot be read as the source distribution"):
        reviews(path).load()
