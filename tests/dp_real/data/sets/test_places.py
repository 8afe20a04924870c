"""Real images in every layout: the same pixels under the same labels, and the same complaints."""

import os
from unittest.mock import Mock

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from httpx2 import ReadTimeout
from PIL import Image

from dp_base.errors import InputError, MissingError
from dp_real.data.examples import SetStatus
from dp_real.data.sets.class_names import task_classes, user_classes
from dp_real.data.sets.imagenet import imagenet_classes
from dp_real.data.sets.images import decode_ahead, read_set
from dp_real.data.sets.places import expand, locate
from tests.dp_real.data.sets.made import WNIDS, encoded, plain, values, write_tar
from tests.dp_real.data.sets.made import settings as named_settings
from tests.refusals import refusal

CLASSES = user_classes(["emu", "cat", "dog/wolf"])  # not in the order of the alphabet
LABELS = [2, 0, 1, 0, 2, 1]  # of the images, in their order
FOLDERS = ("emu", "cat", "dog_wolf")


pytestmark = pytest.mark.usefixtures("hub", "datasets_cache")


def read(where, classes=CLASSES, needed=(), keep=False):
    return read_set(locate(str(where)), classes, (3, 8, 8), needed, keep)


def settings(validation, **more):
    return named_settings(validation, **{"classes": list(CLASSES.names)} | more)


# the layouts


def folders(root, images, labels):
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / "set" / FOLDERS[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row}.png").write_bytes(image)
    return f"{root}/set"


def shards(root, images, labels):
    """Two shards, cut after the third image."""
    root.mkdir(exist_ok=True)
    rows = range(len(images))
    for shard, part in enumerate((rows[:3], rows[3:])):
        files = {"README.txt": b"no sample"}
        for row in part:
            files |= {f"{row:04}.png": images[row], f"{row:04}.json": f'{{"label": {labels[row]}}}'.encode()}
        write_tar(root / f"val-{shard:02}.tar", files)
    return str(root / "val-{00..01}.tar")


def table(images, labels, kind=None):
    """Labels are indices of CLASSES. They are stored as a ClassLabel in another order, or as given if `kind` is set."""
    if kind is None:
        kind = ClassLabel(names=["cat", "dog/wolf", "emu"])
        labels = [kind.str2int(CLASSES.names[label]) for label in labels]
    rows = {"id": list(range(len(images))), "image": [{"bytes": image, "path": None} for image in images]}
    features = Features({"id": Value("int64"), "image": datasets.Image(), "label": kind})
    return Dataset.from_dict(rows | {"label": labels}, features=features)


def parquet(root, images, labels):
    """The files lie as in a clone of a set of the hub, with another split beside them."""
    (root / "set/data").mkdir(parents=True)
    (root / "set/README.md").write_text("about it")
    for part, rows in enumerate((slice(0, 3), slice(3, None))):
        file = root / "set/data" / f"validation-{part:05}-of-00002.parquet"
        table(images[rows], labels[rows]).to_parquet(file)
    table([b"not read"], [0]).to_parquet(root / "set/data/train-00000-of-00001.parquet")
    return f"{root}/set@validation"


def saved(root, images, labels):
    DatasetDict({"train": table([b"not read"], [0]), "test": table(images, labels)}).save_to_disk(root / "set")
    return f"{root}/set@test"


LAYOUTS = {"shards": shards, "parquet": parquet, "saved": saved, "folders": folders}
FOUR = [plain(0)] * 4, [0] * 4

every_layout = pytest.mark.parametrize("layout", LAYOUTS)


@every_layout
def test_the_same_images_under_the_same_labels(layout, tmp_path, monkeypatch):
    """What is there is described without decoding, nor is a copy made."""
    where = LAYOUTS[layout](tmp_path, [plain(10 * row) for row in range(6)], LABELS)
    gone = f"{tmp_path}/gone"
    missing = f"{gone}: no such folder; put images there, as {gone}/CLASS/IMAGE.jpg, or texts, as TEXT.txt"
    with monkeypatch.context() as patch:
        patch.setattr("datasets.load_dataset", None)
        patch.setattr("dp_real.data.sets.images.read_image", None)
        assert settings(where, test=gone, sets={"more": where}).describe() == [
            SetStatus("validation", where, None, 6),
            SetStatus("test", gone, missing),
            SetStatus("more", where, None, 6),
        ]
    images = read(where, needed=range(3))
    order = sorted(range(6), key=lambda row: LABELS[row]) if layout == "folders" else list(range(6))
    assert images.y.tolist() == [LABELS[row] for row in order]
    assert values(images) == [10 * row for row in order]
    for rows in (slice(1, 4), slice(5, 9), slice(2, 2)):
        assert read(where, keep=True).x[rows].equal(images.x[:][rows])


@every_layout
def test_a_broken_image_is_named(layout, tmp_path):
    where = LAYOUTS[layout](tmp_path, [*map(plain, range(4)), b"no image", plain(5)], LABELS)
    place = {"folders": "dog_wolf/4.png", "shards": r"val-01.tar: 0004.png"}.get(layout, r"set(@\w+)?: row 5")
    data = settings(where).load()
    with refusal(f"{place}: not a whole image: .*; repair or remove it"):
        decode_ahead({"validation": data.validation, "test": data.test})


@every_layout
def test_missing_and_unknown_classes(layout, tmp_path):
    where = LAYOUTS[layout](tmp_path / "a", [plain(0), plain(1)], [1, 1])
    assert read(where).y.tolist() == [1, 1]
    with refusal("no images of emu, dog/wolf; each class needs some"):
        settings(where).load()
    (status,) = settings(where).describe()
    assert "no images of emu, dog/wolf" in str(status.problem)
    if layout != "shards":
        with refusal(r"(cat|row 1): cat is none of the 2 classes; did you mean ca_t\?"):
            read(where, user_classes(["ca/t", "emu"]))


def test_without_samples(tmp_path):
    with refusal("none of its classes is one of this task's 3"):
        read(shards(tmp_path, [], []))


# which is which

THOUSAND, HUNDRED = (task_classes(task) for task in ("imagenet1k", "imagenet100"))
CMC = [entry.wnid for entry in imagenet_classes("imagenet100")]
WORDS = {
    entry.wnid: f"crane{i}" if entry.synonyms == "crane" else entry.synonyms
    for i, entry in enumerate(imagenet_classes("imagenet1k"))
}


def saved_labels(folder, labels, kind):
    table([plain(row) for row in range(len(labels))], labels, kind).save_to_disk(folder)
    return str(folder)


def test_the_hubs_imagenet_by_the_words_of_wordnet(tmp_path):
    """Of the 1,000 names of the ClassLabel, those of the two cranes are none of ours. Other classes are left out."""
    kind = ClassLabel(names=list(WORDS.values()))
    cranes = [i for i, wnid in enumerate(WNIDS) if WORDS[wnid].startswith("crane")]
    hundred = [WNIDS.index(wnid) for wnid in CMC]
    other = next(i for i in range(1000) if WNIDS[i] not in CMC)
    where = saved_labels(tmp_path / "a", [*hundred[::-1], other, *cranes], kind)
    assert read(where, HUNDRED).y.tolist() == list(range(100))[::-1]
    assert read(where, THOUSAND).y.tolist() == [*hundred[::-1], other, *cranes]

    backwards = ClassLabel(names=list(WORDS.values())[::-1])  # by name then, so that unknown names are refused
    assert read(saved_labels(tmp_path / "b", [999, 0], backwards), THOUSAND).y.tolist() == [0, 999]
    with refusal(r"row 1: crane\d+ is none of the 1000 classes"):
        read(saved_labels(tmp_path / "c", [999 - cranes[0]], backwards), THOUSAND)


def test_imagenet100_in_an_order_of_its_own(tmp_path, caplog):
    """A ClassLabel's names count in any order. Numbers count the 1,000; below 100 alone they may be of any list."""
    names = sorted(CMC)
    index = [WNIDS.index(wnid) for wnid in CMC]
    outside = next(i for i in range(1000) if i not in index)
    assert max(index[3], index[0]) > 99
    for labels, kind, expected in (
        ([0, 1, 99], ClassLabel(names=[WORDS[wnid] for wnid in names]), [CMC.index(names[i]) for i in (0, 1, 99)]),
        ([index[3], outside, index[0]], Value("int64"), [3, 0]),
    ):
        assert read(saved_labels(tmp_path / str(labels), labels, kind), HUNDRED).y.tolist() == expected
    for number in range(2):
        (tmp_path / f"folders/{number}").mkdir(parents=True)
    for where in (saved_labels(tmp_path / "few", [99, 0], Value("int64")), tmp_path / "folders"):
        with refusal(r"differ in their order: .* or name the classes in data.classes in the"):
            read(where, HUNDRED)
    assert read(tmp_path / "few", user_classes(CMC[::-1])).y.tolist() == [99, 0]
    assert f"in the order of data.classes: 0 is {CMC[-1]}, 99 is {CMC[0]}" in caplog.text
    with refusal("row 2: -1 is none of the 3 classes"):  # as a test split without labels has
        read(saved_labels(tmp_path / "none", [0, -1], Value("int64")))


def test_columns_by_name(tmp_path):
    """The columns are those of a copy of ImageNet-R: an image, its WordNet id and a name."""
    rows = {"picture": [{"bytes": plain(7), "path": None}], "wnid": [CMC[5]], "class_name": ["whatever"]}
    features = Features({"picture": datasets.Image(), "wnid": Value("string"), "class_name": Value("string")})
    data = Dataset.from_dict(rows, features=features)
    data.save_to_disk(tmp_path / "r")
    assert read(tmp_path / "r", HUNDRED).y.tolist() == [5]
    with refusal("row 1: whatever is none of the 100 classes"):
        read(f"{tmp_path / 'r'}#class_name", HUNDRED)
    with refusal("row 1 has no label, a name or a number"):
        read(f"{tmp_path / 'r'}#class_name,picture", HUNDRED)
    with refusal(r"which column is the label.*#IMAGE,LABEL; it has picture, wnid, class_name"):
        read(f"{tmp_path / 'r'}#label", HUNDRED)
    data.add_column("other", rows["picture"], feature=datasets.Image()).save_to_disk(tmp_path / "two")
    with refusal(r"which column is the image.* it has picture, wnid, class_name, other"):
        read(tmp_path / "two", HUNDRED)
    assert values(read(f"{tmp_path / 'two'}#other,wnid", HUNDRED)) == [7]


def test_images_beside_the_data_set(tmp_path):
    """A data set may hold paths instead of images. A row without an image is named."""
    (tmp_path / "one.png").write_bytes(plain(9))
    features = Features({"image": datasets.Image(), "label": ClassLabel(names=["cat"])})
    rows = {"image": [f"{tmp_path}/one.png", None], "label": [0, 0]}
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    images = read(tmp_path / "set")
    assert images.x[0:1][0, 0, 0, 0] == 9
    with refusal("set: row 2: not a whole image: the row has no image"):
        images.x[1:2]


# which files


def test_shards_by_pattern(tmp_path, patch):
    patch("dp_real.data.sets.places.MAX_FILES", 1000)
    for shard in (8, 9, 10):
        write_tar(tmp_path / f"val-{shard:02}.tar", {"cat/a.png": plain(shard)})
    for where in ("/val-{08..10}.tar", "/*{0..1}*.tar", "/*.tar", "", "@validation"):
        assert values(read(f"{tmp_path}{where}")) == [8, 9, 10]
    with refusal(r"no split train; add one of @validation"):
        read(f"{tmp_path}@train")
    with refusal(r"no such file as .*/val-11\.tar, which is one of 2 that are missing", MissingError):
        read(tmp_path / "val-{08..12}.tar")
    assert expand("100%-{9..11}-{0..1}") == [f"100%-{i}-{j}" for i in (9, 10, 11) for j in (0, 1)]
    for pattern, said in (("v-{0..9999}-{0..9999}.tar", "100,000,000 files"), ("v-{3..1}.tar", "0 files")):
        with refusal(said):
            locate(str(tmp_path / pattern))
    with pytest.raises(MissingError):
        locate(str(tmp_path / "v-{1..1000}.tar"))


def test_a_parquet_file_that_was_replaced_is_read_anew(tmp_path, patch):
    """The library's cache goes by path and time. One that cannot be written to is not the file's fault."""
    found, file = [], tmp_path / "a.parquet"
    config = settings(file, classes=["cat", "dog"])
    for value, labels in ((10, ["cat", "dog"]), (200, ["dog", "cat"])):
        table([plain(value)] * 2, labels, Value("string")).to_parquet(file)
        os.utime(file, (1, 1))
        data = config.load()
        found += [(values(data.validation), data.validation.y.tolist(), data.validation.x.sizes())]
    assert found == [([10] * 2, [0, 1], [len(plain(10))] * 2), ([200] * 2, [1, 0], [len(plain(200))] * 2)]
    patch("datasets.config.HF_DATASETS_CACHE", "/proc/none")
    said = "the cache /proc/none cannot be written to: .*or set HF_HOME to a folder"
    with refusal(said, MissingError):
        config.load()
    assert "HF_HOME" in str(config.describe()[0].problem)


def test_which_split(tmp_path):
    saved(tmp_path / "a", [plain(0)], [0])
    parquet(tmp_path / "b", *FOUR)
    for place, splits in (("a", "@train, @test"), ("b", "@train, @validation")):
        with refusal(f"which split.* add one of {splits}"):
            read(tmp_path / place / "set")
    files = tmp_path / "b/set/data/validation-*.parquet"
    assert read(files).y.tolist() == [0] * 4
    (tmp_path / "b/set/data/validation-00000-of-00002.parquet").write_bytes(b"not that")
    with refusal("not Parquet files that `datasets` can read"):
        read(files)
    (tmp_path / "a/set/test/state.json").write_text("{")
    with refusal("not what save_to_disk writes"):
        read(tmp_path / "a/set/test")


def test_odd_names_of_places(tmp_path):
    """Brackets are no pattern, endings may be capitals, and what looks like a split of another folder is a folder."""
    folder = tmp_path / "sh[1]"
    folder.mkdir()
    write_tar(folder / "val-0.tar", {"emu/0.png": plain(10)})
    assert values(read(folder / "val-{0..0}.tar")) == [10]
    (folder / "val-0.tar").rename(folder / "VAL.TAR")
    assert values(read(folder / "VAL.TAR")) == [10]
    (folder / "own.toml").touch()
    with refusal(r"own.toml: neither a folder nor a file that ends in .tar, .parquet"):
        read(folder / "own.toml")
    where = parquet(folder, *FOUR)
    for place in (where, folder / "set/data/validation-00000-of-00002.parquet"):
        assert set(read(place).y.tolist()) == {0}
    folders(tmp_path / "a@b", [plain(4)], [1])
    (tmp_path / "a@b/set").rename(tmp_path / "set@b#c")
    assert values(read(tmp_path / "set@b#c")) == [4]
    parquet(tmp_path, *FOUR)
    first, second = sorted((tmp_path / "set/data").glob("*"))[1:]
    first.replace(first.with_name("train-00000-of-00001.parquet"))
    second.replace(first.with_name("a.parquet"))
    with refusal(r"a.parquet has no split in its name, others have"):
        read(tmp_path / "set")
    assert len(read(tmp_path / "set@train").y) == 3
    os.mkfifo(tmp_path / "pipe.tar")
    with refusal(r"pipe.tar: no regular file"):
        locate(f"{tmp_path}/pipe.tar")


# the hub


def test_a_set_of_the_hub_in_its_cache(hub, tmp_path):
    parquet(tmp_path, [plain(10 * row) for row in range(6)], LABELS)
    (tmp_path / "set").rename(hub)
    where = "hub:org/name@validation"
    assert read(f"{where}#image,label").y.tolist() == LABELS
    for place in (where, "hub:org/name/data@validation", f"hub:org/name:{hub.name}@validation"):
        assert values(read(place)) == [0, 10, 20, 30, 40, 50]
    assert settings(where).describe()[0].images == 6
    with refusal("no split other"):
        read("hub:org/name@other")


@pytest.mark.parametrize(("where", "options"), [("", "'*'"), ("/a/b:v1@test#x", "'a/b/*test*' --revision v1")])
def test_a_set_of_the_hub_that_is_not_there(where, options):
    config = settings(f"hub:org/name{where}")
    command = f"hf download org/name --repo-type dataset --include {options}"
    with refusal("org/name is not in the hub's cache: with a network, hf", MissingError) as told:
        config.load()
    (status,) = config.describe()
    assert command in str(status.problem)
    assert str(told.value).startswith(f"{status.problem}: ")


def test_what_the_hub_refuses(patch, tmp_path):
    for where in ("hub:name", "hub:../../x", "hub:../x/y", "hub:a/b/../../../c"):
        with refusal(r"hub:.* (should read hub:ORG|cannot be read: Repo id)"):
            locate(where)
    slow = "not in the hub's cache: .* if https://huggingface.co/datasets/org/name is private or .*: it is slow"
    for answer, where, kind, message in (
        (ReadTimeout("it is slow"), "hub:org/name/part:v2@test", MissingError, slow),
        (None, "hub:org/name@test", InputError, r"org/name has no Parquet or tar files that are called \*test\*"),
    ):
        snapshot_download = Mock(side_effect=answer, return_value=str(tmp_path))
        patch("huggingface_hub.snapshot_download", snapshot_download)
        with refusal(message, kind):
            locate(where)


def test_nothing_is_fetched_for_a_run_that_cannot_be(patch, tmp_path):
    """One line says all that is missing."""

    def fetch(name, local_files_only, **options):
        assert local_files_only
        raise FileNotFoundError

    patch("huggingface_hub.snapshot_download", fetch)
    config = settings("hub:org/name@test", test=f"{tmp_path}/test", sets={"sketch": f"{tmp_path}/sketch-{{0..1}}.tar"})
    message = r"/test: no such folder.*; org/name is not in.*; .*sketch-0.tar, which is one of 2 "
    with refusal(message, MissingError):
        config.load()


# sets of a configuration


def test_what_is_trained_on_is_seen_whole_where_validation_sees_the_middle(tmp_path):
    picture = Image.new("RGB", (16, 16))
    picture.paste((255, 255, 255), (4, 4, 12, 12))
    own = folders(tmp_path, [encoded(picture)] * 3, [0, 1, 2])
    data = settings(own, train=own, resize=16).load()
    assert (data.validation.x[:] == 255).all()
    assert data.train.x.mean() == pytest.approx(-0.5, abs=0.05)  # a quarter is white


def test_further_sets_of_a_configuration(tmp_path):
    """They may lack classes, and are not kept in memory. Known ones must have what the published ones have."""
    own = folders(tmp_path / "own", [plain(row) for row in range(6)], LABELS)
    some = shards(tmp_path / "some", [plain(3), plain(4)], [2, 2])
    data = settings(own, sets={"some": some}).load()
    assert [*data.sets] == ["some"]
    assert data.sets["some"].y.tolist() == [2, 2]
    (tmp_path / "some/val-00.tar").unlink()
    with refusal(r"val-00.tar: .* is missing; put it back", MissingError):
        data.sets["some"].x[0:1]
    with refusal(r"sets.test: a set of that name is there already"):
        settings(own, sets={"test": some})
    with refusal(r"data.resize = 4: must be 0, or at least size = 8"):
        settings(own, resize=4)
    with refusal(r"classes must be named: there are no folders in validation"):
        settings("a.tar", classes=None)


def test_what_imagenet100_shares_with_imagenet_a(tmp_path):
    """Those that the published set has."""
    own = {entry.wnid for entry in imagenet_classes("imagenet1k") if entry.in_imagenet_a}
    for name, wnids in (("all", CMC), ("a", own - {*CMC[:20]})):
        write_tar(tmp_path / f"{name}.tar", {f"{wnid}/0.png": plain(0) for wnid in wnids})
    config = settings(f"{tmp_path}/all.tar", classes="imagenet100", sets={"imagenet-a": f"{tmp_path}/a.tar"})
    with refusal(r"a.tar: no images of .*; each class needs some"):
        config.load()
