"""Whatever bytes a foreign file has, its reader takes them or says in one line what is wrong."""

import contextlib
import io
import tarfile

import datasets
import numpy as np
import pytest
from dp_experiments.cli.theory.check import read_features
from dp_experiments.compare.curve_files import read_curve
from dp_experiments.presets.presets import preset_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dp_base.errors import DamagedError, InputError, MissingError
from dp_base.reading import MAX_QUOTED, foreign_file, own_file
from dp_real.config import load_config
from dp_real.data.image_folder import FolderConfig
from dp_real.text.sources import TextConfig
from tests.dp_real.data.sets.made import plain, write_tar
from tests.refusals import refusal

CLASSES = ("blame", "praise")
CURVE = b"strategy,kept,error,se\n" + b"".join(b"static,%d,.%d,.01\n" % (10 * n, 50 - n) for n in range(1, 9))
TABLE = b'text,label\n"well, good",praise\nbad,blame\nfine,praise\n'
LINES = b'{"text": "good", "label": "praise"}\n{"text": "bad", "label": "blame"}\n'


pytestmark = pytest.mark.usefixtures("datasets_cache")


def arrays():
    """An .npz file of features."""
    x = np.random.default_rng(0).normal(size=(120, 3))
    file = io.BytesIO()
    np.savez(file, X=x, y=np.sign(x[:, 0]))
    return file.getvalue()


def archive(folder):
    """A tar file of two images."""
    return write_tar(folder / "made.tar", {"blame/a.png": plain(1), "praise/b.png": plain(2)}).read_bytes()


def labelled():
    """A Parquet file of texts, whose label column names two classes."""
    columns = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(CLASSES))}
    file = io.BytesIO()
    texts = {"text": ["good"] * 3, "label": [0, 1, 1]}
    datasets.Dataset.from_dict(texts, datasets.Features(columns)).to_parquet(file)
    return file.getvalue()


def read_texts(path):
    return TextConfig(source="text", validation=str(path), classes=CLASSES, length=20).load()


def read_images(path):
    return FolderConfig(source="folder", validation=str(path), classes=CLASSES, size=8).load().validation.x[:]


# The reader of each kind of foreign files, the name of its file, and what a healthy one has.
READERS = {
    "curve": (read_curve, "curve.csv", lambda folder: CURVE),
    "features": (read_features, "features.npz", lambda folder: arrays()),
    "configuration": (
        load_config,
        "own.toml",
        lambda folder: preset_files()["digits"].read_bytes(),
    ),
    "texts, CSV": (read_texts, "texts.csv", lambda folder: TABLE),
    "texts, JSON lines": (read_texts, "texts.jsonl", lambda folder: LINES),
    "texts, Parquet": (read_texts, "texts.parquet", lambda folder: labelled()),
    "images, tar": (read_images, "images.tar", archive),
}
ALL_CHECKS = list(HealthCheck)  # of hypothesis; suppressed, since cases may be slow
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=6)), min_size=1, max_size=3)


def edited(content, edits):
    """Bytes of which some are replaced: each edit says where, how many go, and what comes instead."""
    for share, count, new in edits:
        at = int(share * len(content))
        content = content[:at] + new + content[at + count :]
    return content


@pytest.mark.filterwarnings("default")  # those of libraries are no failures of a command
@pytest.mark.parametrize("kind", READERS)
def test_any_bytes_are_taken_or_told(kind, tmp_path):
    """Edits of a healthy file, and cuts of it."""
    read, name, made = READERS[kind]
    file, healthy = tmp_path / name, made(tmp_path)
    file.write_bytes(healthy)
    read(file)

    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=ALL_CHECKS)
    @given(EDITS, st.one_of(st.just(1.0), st.floats(0, 1)))
    def attack(edits, kept):
        content = edited(healthy, edits)
        file.write_bytes(content[: round(kept * len(content))])
        with contextlib.suppress(InputError, MissingError):
            read(file)

    attack()


def refused(kind, file, said=""):
    """The reader says this of a file, in one short line that names it."""
    with refusal(file.name) as told:
        READERS[kind][0](file)
    assert len(str(told.value)) < 1000
    assert said in str(told.value)


def test_configurations_that_python_cannot_hold(tmp_path):
    file = tmp_path / "own.toml"
    for value, said in (("9" * 5000, "5000 digits"), ("[" * 5000 + "]" * 5000, "recursion")):
        file.write_text(f"x = {value}\n")
        refused("configuration", file, said)
        with refusal(r"^--set x=…: cannot be read"):
            load_config(preset_files()["digits"], [f"x={value}"])


def test_an_archive_that_claims_too_much(tmp_path):
    entry = tarfile.TarInfo("blame/a.png")
    entry.size = 2**50
    file = tmp_path / "images.tar"
    file.write_bytes(entry.tobuf() + plain(1).ljust(512, b"\0") + bytes(1024))
    refused("images, tar", file)


def test_a_line_of_megabytes_is_told_in_a_short_one(tmp_path):
    content = b"a" * 5_000_000 + b"\n1\n"
    for kind, said in (("texts, CSV", "which column is the text"), ("curve", "holds no curve")):
        file = tmp_path / READERS[kind][1]
        file.write_bytes(content)
        refused(kind, file, said)


def test_whose_file_it_is_decides_the_status(tmp_path):
    with (
        refusal(r"^a: no table: there is no 'k'; write one$") as told,
        foreign_file("a", "no table", "write one"),
    ):
        raise KeyError("k")
    assert isinstance(told.value.__cause__, KeyError)
    with refusal(r"cannot be read: x+…; restore it", DamagedError), own_file(tmp_path, "restore it"):
        raise ValueError("x" * (MAX_QUOTED + 1))
    with pytest.raises(OSError, match="No space"), foreign_file("a"):  # nothing is wrong with the file
        raise OSError(28, "No space left on device")
    with pytest.raises(MissingError), foreign_file("a"):
        raise MissingError("told already")
