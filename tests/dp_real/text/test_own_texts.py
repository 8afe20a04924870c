"""data.source = "text": folders, CSV, JSONL and Parquet, and one line for what is wrong."""

from itertools import product

import datasets
import pandas as pd
import pytest

from dp_real.data.sets.places import locate
from dp_real.text.codes import texts_of
from dp_real.text.sources import TextConfig
from tests.dp_real.text.made import SENTENCES, text_folder
from tests.refusals import refusal

ROWS = [(text, name) for name, texts in SENTENCES.items() for text in texts]
CLASSES = ("praise", "blame")


@pytest.fixture
def everywhere(tmp_path, hub):
    """The same texts in each form."""
    text_folder(tmp_path / "folder")
    table = pd.DataFrame(ROWS, columns=["text", "label"])
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "b.csv", index=False, header=["was said", "what"])
    named = table.assign(id=7).rename(columns={"text": "sentence"})
    named.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    label = datasets.ClassLabel(names=["blame", "praise"])
    saved = datasets.Dataset.from_pandas(table).cast_column("label", label)
    saved.to_parquet(tmp_path / "a.parquet")
    saved.save_to_disk(tmp_path / "saved")
    saved.to_parquet(hub / "data/test-00000-of-00001.parquet")
    files = ["folder", "a.csv", "b.csv#was said,what", "a.jsonl", "a.parquet", "saved"]
    return [*(f"{tmp_path}/{name}" for name in files), "hub:org/name@test", "hub:org/name@test#text,label"]


def test_all_forms_are_read_alike(everywhere):
    expected = sorted((text, CLASSES.index(name)) for text, name in ROWS)
    for where in everywhere:
        config = TextConfig(source="text", validation=where, classes=CLASSES, length=40)
        data = config.load()
        assert (config.task.sample_shape, config.task.classes) == ((40,), CLASSES)
        assert sorted(zip(texts_of(data.validation.x[:]), data.validation.y.tolist(), strict=True)) == expected, where
        (status,) = config.describe()
        assert (status.problem, status.images) == (None, len(ROWS))
        if "#" not in where and "@" not in where:
            with refusal("it has no splits to choose @test from"):
                locate(f"{where}@test")


def test_long_texts_are_cut_and_said(tmp_path, caplog):
    config = TextConfig(source="text", validation=str(text_folder(tmp_path / "folder")), length=11)
    assert max(map(len, texts_of(config.load().validation.x[:]))) == 11
    assert "6 of 8 texts are longer than data.length = 11, and are cut" in caplog.text


def load(file, content):
    """The labels of a file of texts of two classes."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return TextConfig(source="text", validation=str(file), classes=CLASSES).load().validation.y.tolist()


TABLE = "text,label\nbad,blame\ngood,praise \n"
LINES = '{"text": "a", "label": " blame"}\n\n{"text": "b\u2028c", "label": "praise"}\n'


def test_a_byte_order_mark_and_the_separators_of_spreadsheets_do_no_harm(tmp_path):
    for mark, separator in product(("", "\ufeff"), ",;\t"):
        table = (mark + TABLE).replace(",", separator) + f'"ba, d"{separator}"blame"\n'
        assert [*load(tmp_path / "a.jsonl", mark + LINES), 1] == load(tmp_path / "a.csv", table) == [1, 0, 1]


def test_labels_that_are_numbers(tmp_path):
    """A label that was missing once has made floats of a table's others."""
    config = TextConfig(source="text", validation=f"{tmp_path}/a.parquet", classes=("0", "1"))
    pd.DataFrame({"text": ["a", "b"], "label": [1.0, 0.0]}).to_parquet(tmp_path / "a.parquet")
    assert config.load().validation.y.tolist() == [1, 0]
    pd.DataFrame({"text": ["a", "b", "c"], "label": [1, None, 0]}).to_parquet(tmp_path / "a.parquet")
    with refusal(r"a.parquet: row 2 has no label"):
        config.load()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", TABLE + "  ,praise\n", "row 3: it has no text; add some, or remove it"),
        ("a.csv", TABLE + "go\0od,praise\n", "row 3: it has characters of code 0"),
        ("a.csv", "text,label\ngood,praise\n", "no texts of blame; each class needs some"),
        ("a.csv", TABLE + "b,\n", "row 3 has no label"),
        ("a.csv", "said,what\nbad,blame\n", r"which column is the text\? name it by #TEXT,LABEL; it has said, what"),
        ("a.csv", "text,label\ncafé,praise\n".encode("latin-1"), "^/.*a.csv: cannot be read as CSV"),
        # pandas would shift columns, or rename one
        ("a.csv", "text,label\ngood nice,pos,neg\nbad,neg,pos\n", "more fields than the columns text, label"),
        ("a.csv", "text,label,text\ngood,pos,x\n", "several columns are called text"),
        ("a.csv", 'text\tlabel\n"good\tpraise\nbad\tblame\n"so so\tblame\na\tpraise\n', "cannot be read as CSV"),
        ("a.jsonl", LINES + '{"text": "c"}', "row 3 has no label, a name or a number; give it one"),
        ("a.jsonl", "[" * 100_000, "cannot be read as JSON, an object a line"),
        ("a.jsonl", "7", "an object a line"),
        ("a.jsonl", '[{"text": "a", "label": "blame"}]', "an object a line"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    with refusal(message) as told:
        load(tmp_path / name, content)
    assert name in str(told.value)


def test_a_table_of_images_has_no_texts(tmp_path):
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("string")})
    rows = {"img": [{"bytes": b"", "path": None}], "label": ["blame"]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "a.parquet")
    with refusal("a.parquet: it holds no texts; name class folders, or texts in CSV"):
        TextConfig(source="text", validation=f"{tmp_path}/a.parquet", classes=CLASSES).load()


def test_text_folders_are_read_in_utf_8_whatever_their_marks_and_capitals(tmp_path):
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.txt").write_text(f"{name} thing", encoding="utf-8-sig")
        (tmp_path / name / "1.TXT").write_text("another")
    config = TextConfig(source="text", validation=str(tmp_path), length=20)
    assert texts_of(config.load().validation.x[:]) == ["bad thing", "another", "good thing", "another"]
    (tmp_path / "good/1.TXT").write_bytes(b"\xff\xfe\x00")
    with refusal(r"1.TXT: cannot be read as text in UTF-8"):
        config.load()
