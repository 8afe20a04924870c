"""The page on which examples of a pool are marked, and the run that leaves the marked ones out."""

import csv
import json
import re

import pytest
import torch
from dp_experiments.show.review import review_page, reviewed
from dp_experiments.terminal.lines import visible
from markupsafe import escape

from dp_base.errors import MissingError
from dp_real import Run
from dp_real.config import load_config
from dp_real.pool.marks import mark_of, read_marks
from dp_real.runs.run import run as train
from dp_real.text.codes import texts_of
from tests.chromium import barriers, left_by, needs_axe, needs_browser
from tests.commands import told
from tests.refusals import refusal


def marks_file(file, *marks):
    file.write_text("\n".join(["round,row,mark", *(f"0,1,{mark}" for mark in marks)]) + "\n")
    return file


def test_the_page_has_each_example_hardest_first(text_run):
    answer = told("real review", text_run)
    pool = Run(text_run).pool
    assert answer == {"out": str(text_run / "review.html"), "examples": len(pool)}
    page = (text_run / "review.html").read_text()
    shown = [int(row) for row in re.findall(r'data-row="(\d+)"', page)]
    entropy = pool.table()["entropy"].to_pylist()
    assert shown == sorted(range(len(pool)), key=lambda row: -entropy[row])
    items = reviewed(Run(text_run), 3)
    assert [item["row"] for item in items] == shown[:3]
    label = int(pool.y[shown[0]])
    assert items[0]["likelihood"] == pytest.approx(float(pool.posterior[shown[0], label]))
    assert escape(visible(texts_of(pool.x)[shown[0]])) in page


def test_nothing_of_a_text_is_obeyed(text_run, patch):
    evil = "</span><script>alert(1)</script><img src=x onerror=alert(2)>\x1b]0;x\x07\u202e"
    patch("dp_experiments.show.review.texts_of", lambda x: [evil] * len(x))
    items = [item | {"class": '"><script>alert(3)</script>'} for item in reviewed(Run(text_run), 2)]
    page = review_page(Run(text_run), items)
    assert page.count("<script>") == 1  # its own
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not {"\x1b", "\x07", "\u202e"} & set(page)


def test_a_run_leaves_marked_examples_out(text_run, tmp_path, caplog):
    """Plain rows of a run of the same seed are the same, so the initial round is the earlier one without the marked."""
    before = Run(text_run)
    items = {item["row"]: item for item in reviewed(before, 1000)}
    wrong = [2, 5]
    file = marks_file(tmp_path / "marks.csv", *(items[row]["mark"] for row in wrong))
    config = load_config(text_run / "config.toml", [f"pool.marks={json.dumps(str(file))}"])
    result = train(config, tmp_path / "next")
    after = Run(tmp_path / "next")
    initial = before.rounds["count"][0]
    same = [
        text
        for row, text in enumerate(texts_of(before.pool.x[:initial]))
        if items[row]["mark"] not in read_marks(str(file))
    ]
    assert len(same) <= initial - len(wrong)
    assert after.rounds["count"][0] == len(same)
    assert texts_of(after.pool.x[: len(same)]) == same
    assert after.pool.table()["row"].to_pylist() == list(range(result["pool_size"]))
    assert "examples are left out by pool.marks" in caplog.text
    assert result["inputs"].keys() - before.result["inputs"].keys() == {"marks"}
    page = review_page(after, reviewed(after, 1))
    assert all(items[row]["mark"] in page for row in wrong)  # or the next file would bring them back


def test_a_mark_is_of_a_text_and_its_class(text_run):
    text = torch.tensor([104, 105], dtype=torch.int32)
    padded = torch.tensor([104, 105, 0, 0], dtype=torch.int32)
    assert mark_of(text, "a") == mark_of(padded, "a") != mark_of(text, "b")
    image = torch.zeros(1, 2, 2)
    assert mark_of(image, "a") == mark_of(image + 1e-7, "a") != mark_of(image + 0.1, "a")


def test_files_that_are_no_marks(text_run, tmp_path):
    with refusal("there is no such file; dp real review RUN makes one", MissingError):
        read_marks(tmp_path / "nothing.csv")
    with refusal("line 3: its mark should be 64 hexadecimal digits"):
        read_marks(str(marks_file(tmp_path / "marks.csv", "0" * 64, "=cmd()")))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with refusal("there is no 'mark'"):
        read_marks(tmp_path / "other.csv")
    setting = f"pool.marks={marks_file(tmp_path / 'marks.csv', '0' * 64)}"
    needs = told("real plan", text_run / "config.toml", "--set", setting)["needs"]
    found = {need["what"]: need["found"] for need in needs}
    assert found["pool.marks"].endswith("1 examples left out")


@needs_axe
def test_nothing_keeps_somebody_from_using_it(text_run, tmp_path):
    assert not barriers(review_page(Run(text_run), reviewed(Run(text_run), 1000)), tmp_path)


@needs_browser
def test_a_browser_marks_filters_and_saves(text_run, tmp_path):
    """A script presses buttons, and says what the file to save would have."""
    script = """
      for (const place of [0, 2]) document.querySelectorAll("li button")[place].click();
      root.dataset.csv = csv();
      const select = document.querySelector("[data-filter=round]");
      select.value = "1"; select.dispatchEvent(new Event("change"));
      const shown = items.filter(item => !item.hidden).map(item => item.dataset.round);
      root.dataset.rounds = [...new Set(shown)].join();
      root.dataset.text = document.body.innerText;
      root.dataset.wide = root.scrollWidth > innerWidth;"""
    items = reviewed(Run(text_run), 1000)
    found = left_by(script, review_page(Run(text_run), items), tmp_path)
    rows = list(csv.DictReader(found["csv"].splitlines()))
    assert [row["mark"] for row in rows] == [items[0]["mark"], items[2]["mark"]]
    assert [int(row["row"]) for row in rows] == [items[0]["row"], items[2]["row"]]
    assert "2 marked" in found["text"]
    assert (found["rounds"], found["wide"]) == ("1", "false")
