"""data.source = "text": folders, CSV, JSONL and Parquet, and one line for what is wrong."""

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from pydantic import ValidationError

from dp_base.errors import InputError, MissingError
from dp_real.text.codes import to_texts
from dp_real.text.sources import TextConfig
from tests.dp_real.text.made import SENTENCES, text_folder

ROWS = [(text, name) for name, texts in SENTENCES.items() for text in texts]
CLASSES = ("praise", "blame")


def write_csv(file: Path, rows: list[tuple[str, str]] = ROWS, header: tuple[str, str] = ("text", "label")) -> None:
    with open(file, "w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([header, *rows])


@pytest.fixture
def everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same texts in each form."""
    text_folder(tmp_path / "folder")
    write_csv(tmp_path / "a.csv")
    write_csv(tmp_path / "b.csv", header=("said", "what"))
    lines = [json.dumps({"id": 7, "sentence": text, "label": name}) for text, name in ROWS]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["blame", "praise"])}
    )
    rows = {"text": [text for text, _ in ROWS], "label": [int(name == "praise") for _, name in ROWS]}
    saved = datasets.Dataset.from_dict(rows, features)
    saved.to_parquet(tmp_path / "a.parquet")
    saved.save_to_disk(tmp_path / "saved")
    cached = tmp_path / "hub" / "datasets--org--name"  # as `hf download org/name --repo-type dataset` leaves it
    saved.to_parquet(cached / "snapshots" / ("0" * 40) / "data" / "test-00000-of-00001.parquet")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    names = {"folder": "folder", "csv": "a.csv", "named": "b.csv#said,what", "jsonl": "a.jsonl"}
    files = {kind: str(tmp_path / name) for kind, name in (names | {"parquet": "a.parquet", "saved": "saved"}).items()}
    return files | {"hub": "hub:org/name@test", "hub, named": "hub:org/name@test#text,label"}


def test_all_forms_are_read_alike(everywhere: dict[str, str]):
    expected = sorted((text, CLASSES.index(name)) for text, name in ROWS)
    for where in everywhere.values():
        config = TextConfig(source="text", validation=where, classes=CLASSES, length=40)
        data = config.load()
        assert (config.task.sample_shape, config.task.classes) == ((40,), CLASSES)
        assert sorted(zip(to_texts(data.validation.x[:]), data.validation.y.tolist(), strict=True)) == expected, where
        (status,) = config.describe()
        assert (status.problem, status.images) == (None, len(ROWS))


def test_long_texts_are_cut_and_said(everywhere: dict[str, str], caplog: pytest.LogCaptureFixture):
    config = TextConfig(source="text", validation=everywhere["folder"], length=11)
    assert max(map(len, to_texts(config.load().validation.x[:]))) == 11
    assert "6 of 8 texts are longer than data.length = 11, and are cut" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS, ("  ", "praise")], r"a.csv: row 8: there is no text in it; give it some, or remove it"),
        ([*ROWS, ("so so", "prase")], r"prase is none of the 2 classes; did you mean praise\?"),
        (ROWS[:4], r"a.csv: no texts of blame; each class needs some"),
        ([], r"a.csv: no texts of praise, blame; each class needs some"),
    ],
)
def test_bad_rows(tmp_path: Path, rows: list[Any], message: str):
    write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(InputError, match=message):
        TextConfig(source="text", validation=str(tmp_path / "a.csv"), classes=CLASSES).load()


def read_rows(tmp_path: Path, name: str, content: str, encoding: str = "utf-8") -> list[int]:
    """The labels of a file of texts of two classes, 0 and 1."""
    (tmp_path / name).write_text(content, encoding=encoding)
    config = TextConfig(source="text", validation=str(tmp_path / name), classes=("0", "1"), length=40)
    return config.load().validation.y.tolist()


JSONL = '{"text": "a", "label": 1}\n\n{"text": "b\u2028c", "label": 0}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_does_no_harm(tmp_path: Path, encoding: str):
    assert read_rows(tmp_path, "a.jsonl", JSONL, encoding) == [1, 0]
    assert read_rows(tmp_path, "a.csv", "text,label\na,1\nb,0\n", encoding) == [1, 0]


@pytest.mark.parametrize("row", ['{"text": "c"}', '{"text": "c", "label": null}', '{"text": "c", "label": ""}'])
def test_a_missing_label_is_named(tmp_path: Path, row: str):
    with pytest.raises(InputError, match=r"a.jsonl: row 2 has no label; give it one"):
        read_rows(tmp_path, "a.jsonl", JSONL + row)
    with pytest.raises(InputError, match=r"a.csv: row 1 has no label"):
        read_rows(tmp_path, "a.csv", "text,label\na,1\nb,\n")
    pd.DataFrame({"text": ["a", "b", "c"], "label": [1, None, 0]}).to_parquet(tmp_path / "a.parquet")
    config = TextConfig(source="text", validation=str(tmp_path / "a.parquet"), classes=("0", "1"))
    with pytest.raises(InputError, match=r"a.parquet: row 1 has no label"):
        config.load()
    pd.DataFrame({"text": ["a", "b"], "label": [1.0, 0.0]}).to_parquet(tmp_path / "a.parquet")
    assert config.load().validation.y.tolist() == [1, 0]


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", '{"text": "a"', "7"])
def test_what_is_no_table_of_json_is_refused(tmp_path: Path, content: str):
    with pytest.raises(InputError, match=r"a.jsonl"):
        read_rows(tmp_path, "a.jsonl", f"{content}\n")


def test_bad_files(tmp_path: Path):
    def load(name: str, **options: Any) -> None:
        settings: dict[str, Any] = {"classes": CLASSES} | options
        TextConfig(source="text", validation=str(tmp_path / name), **settings).load()

    write_csv(tmp_path / "columns.csv", header=("said", "what"))
    (tmp_path / "bad.jsonl").write_text("not JSON\n")
    (tmp_path / "latin.csv").write_bytes("text,label\ncafé,praise\n".encode("latin-1"))
    text_folder(tmp_path / "one" / "inner")
    (tmp_path / "bytes" / "praise").mkdir(parents=True)
    (tmp_path / "bytes" / "praise" / "1.txt").write_bytes(b"\xff\xfe\x00")
    for name, message in {
        "columns.csv": r"which column is the text\? say so by #TEXT,LABEL; it has said, what",
        "bad.jsonl": "bad.jsonl cannot be read as JSON, an object a line",
        "latin.csv": "latin.csv cannot be read as CSV",
        "bytes": "1.txt: cannot be read as text in UTF-8",
    }.items():
        with pytest.raises(InputError, match=message):
            load(name)
    with pytest.raises(MissingError, match=r"or texts, as TEXT.txt"):
        load("nowhere")
    with pytest.raises(InputError, match="one class only, inner"):
        load("one", classes=None)
    with pytest.raises(ValidationError, match="classes must be named"):
        TextConfig(source="text", validation="a.csv")


def test_text_folders_follow_the_rules_of_image_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for name in ("bad", "good"):
        (tmp_path / name / ".ipynb_checkpoints").mkdir(parents=True)
        (tmp_path / name / "0.txt").write_text(f"{name} thing", encoding="utf-8-sig")
        (tmp_path / name / "1.TXT").write_text("another")
        (tmp_path / name / "2.md").write_text("third")
        (tmp_path / name / "._0.txt").write_bytes(b"\xff\xfe")
        (tmp_path / name / ".ipynb_checkpoints" / "0-checkpoint.txt").write_text("an older one")
    read = TextConfig(source="text", validation=str(tmp_path), length=20).load().validation
    assert to_texts(read.x[:]) == ["bad thing", "another", "good thing", "another"]
    assert "2 files are not read, for their endings are none of texts: .md" in caplog.text
