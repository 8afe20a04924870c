"""`dp claims`: numbers are those of the tables and of the stored runs, and the page is up to date."""

import csv
import json
import re
from itertools import product

import numpy as np
import pytest
from dp_experiments.paper.claims.claims import CLAIMS
from dp_experiments.studies.result_tables import PLACE, TABLES, with_tables
from dp_experiments.studies.stored import FOLDER, paired, stored_files, stored_runs

from tests.commands import done, dp, refused, told
from tests.experiments.compare.made import runs_of
from tests.refusals import refusal
from tests.source import ROOT, rows_of

NOISE = 3.5  # standard errors that a simulated value may lie from the right one
CLEARLY = 7  # standard errors that it lies from the printed one at least
DOCS = ROOT / "docs"


def test_differences_are_paired():
    accuracies = {"practice": [91.0, 93.0, 95.0], "static": [90.0, 93.0, 92.0, 50.0]}
    runs = runs_of(accuracies, {"practice": 1, "static": 1}, splits=2)
    expected = np.array([2.0, 0.0])  # seeds 0 and 2 share a split, which is the unit
    found = paired(runs, "practice", "static", "test_accuracy")
    assert found == pytest.approx((expected.mean(), expected.std(ddof=1) / 2**0.5, 2))
    assert str(paired(runs, "static", "practice", "test_accuracy")) == "−1.00 ± 1.00 points (2 splits)"


def test_a_verdict_rests_on_something():
    for claim in CLAIMS:
        assert (claim.verdict == "untested") == (claim.ours is None and claim.theory is None), claim.says


@pytest.mark.parametrize("command", sorted({claim.command for claim in CLAIMS if "imagenet" in claim.command}))
def test_claims_of_imagenet_cost_what_its_plan_says(command):
    """The presets are rows of the table that the claim is about."""
    (claim, *_) = (claim for claim in CLAIMS if claim.command == command)
    preset = command.removeprefix("dp real run ")
    assert f"-{claim.where.lower().replace(' ', '')}" in preset
    hours = json.loads(dp("real plan", preset, "--device H100 --json").out)["hours"]
    (clock,) = (row["clock"] for row in hours if row["devices"] == 8)
    assert claim.cost == f"{clock:.0f} hours on 8 H100"


def test_tables_of_studies_are_written_from_within_the_docs_too(tmp_path, monkeypatch):
    study = tmp_path / "experiments/dp_experiments/studies/digits/README.md"
    study.parent.mkdir(parents=True)
    study.write_text("<!-- table: digits -->\n\nold\n<!-- end -->\n")
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    assert "README.md" in done("claims --docs .").err
    assert "old" not in study.read_text()
    assert "claims.md cannot be written" in refused("claims --docs /proc/self/fdinfo")


def test_the_command_recomputes_the_headlines(tmp_path):
    answer = told("claims --docs", tmp_path)
    found = {row["claim"]: row for row in answer["claims"]}
    fewest = found["ImageNet-100: 3.4 times fewer samples than the best static data"]
    assert fewest["recomputed"] == "3.4 times"  # 6.5M / 1.9M
    assert found["ImageNet-1k: 30 % fewer iterations"]["recomputed"] == "37 % fewer"  # 200k of 315k
    seven = found["ImageNet-100: the best static accuracy with 7.5 times fewer samples"]
    assert seven["recomputed"].endswith("more than 31 times")
    assert all(row["verdict"] == "untested" for row in found.values() if "ImageNet" in row["claim"])
    written = (tmp_path / "claims.md").read_text()
    assert written == (DOCS / "claims.md").read_text(), "dp claims --docs docs"
    rows = answer["errata"]  # printed values are clearly beside what is simulated, which the right ones are not
    simulated = [row for row in rows if row["se"] is not None]
    assert len(simulated) == 4
    for row in simulated:
        assert abs(row["simulated"] - row["right"]) < NOISE * row["se"], row
        if row["printed"] is not None:
            assert abs(row["simulated"] - row["printed"]) > CLEARLY * row["se"], row
    sign = next(row for row in rows if row["where"].startswith("eq. 7"))
    assert sign["printed"] < 0 < sign["right"]
    right = {row["where"]: row["right"] for row in rows}
    assert right["text, ImageNet-100"] == pytest.approx(31.25)
    assert right["text, ImageNet-1k"] == pytest.approx(20.3, abs=0.05)
    assert right["Table 4, N = 130k, k = 27"] == 1858000


def test_one_claim_has_its_fields_and_the_table_what_was_found(patch):
    assert told("claims 1")["recomputed"] == "3.4 times"
    assert "command\tdp real run imagenet100-table1\n" in done("claims 1").out
    assert refused("claims 99") == f"dp: NUMBER 99: there are claims 1 to {len(CLAIMS)}"
    patch("dp_experiments.paper.claims.claims.CLAIMS", CLAIMS[:1])
    assert "\tRecomputed: 3.4 times.\n" in done("claims").out


PAGES = {page: page.read_text() for root in (DOCS, FOLDER) for page in sorted(root.rglob("*.md"))}


def test_the_tables_of_the_docs_are_those_of_the_stored_runs():
    stale = [page for page, text in PAGES.items() if with_tables(text) != text]
    assert not stale, "dp claims --docs docs"
    named = {place["name"] for text in PAGES.values() for place in PLACE.finditer(text)}
    assert named == set(TABLES)


@pytest.mark.parametrize("path", [*stored_files().values(), *DOCS.rglob("*.csv")], ids=lambda path: path.stem)
def test_stored_rows_have_a_cell_for_each_head(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert len({len(row) for row in csv.reader(lines, strict=True)}) == 1


def test_a_page_names_a_table_that_there_is():
    with refusal("there is no table 'digts'"):
        with_tables("<!-- table: digts -->\n<!-- end -->")


LEADS = """
    practice{F}                  real{A}{F}            test
    practice{F}                  finetune{A}{F}        test
    practice{F}                  static{F}             test
    practice{F}                  static{F}             handwriting
    practice-8000{F}{S}          static-8000{F}{S}     test
    practice-encoder{F}          finetune{A}{F}        test
    practice-encoder{F}          static-encoder        test
    practice-encoder{F}          static-encoder        handwriting
    practice-8000-encoder{F}{S}  static-8000-encoder{S}  test
""".format(A="@training.randaugment=2", F="@training.learning_rate=0.003", S="@training.steps=3000")
"""An arm, the one that it leads, and the set on which it does."""


def test_the_page_of_glyphs_says_what_few_real_images_do():
    """Its leads of practice, by rows, and those in its sentences."""
    file = FOLDER / "studies" / "glyphs" / "README.md"
    runs = stored_runs("glyphs-few")

    def said(rows, arm, rival, column):
        found = paired(rows, arm, rival, column)
        return re.sub(r"\b0\.", ".", f"{found.mean:.2f} ± {found.se:.2f}").replace("-", "−")

    for (name, *cells), lead in zip(rows_of(file, "over")[1:], LEADS.strip().splitlines(), strict=True):
        arm, rival, column = lead.split()
        for k, cell in zip((2, 5, 10, 30), cells, strict=True):
            assert not cell or said(runs[runs["k"] == k], arm, rival, column) == cell, (name, k)
    page, when = (" ".join(path.read_text(encoding="utf-8").split()) for path in (file, DOCS / "when.md"))
    equal = runs.query("(k == 10 and arm.str.startswith('practice')) or (k == 5 and arm.str.startswith('static'))")
    rate = "@training.learning_rate=0.003"
    for pair in ((f"practice{rate}", f"static{rate}"), (f"practice-encoder{rate}", "static-encoder")):
        assert said(equal, *pair, "test") in page
        for k in (2, 5, 10):
            assert said(runs[runs["k"] == k], *pair, "test") in when
    tuned = f"finetune@training.randaugment=2{rate}"
    assert said(runs[runs["k"] == 30], "static-encoder", tuned, "test") in page
    assert said(runs[runs["k"] == 30], tuned, "static-encoder", "handwriting") in page
    better = stored_runs("glyphs-full").replace("@.*", "", regex=True)
    for size, column in [(64, "test"), *product((64, 16), ("handwriting", "display"))]:
        lead = said(better, "practice-16000", f"static-{size}000", column).removeprefix("−")
        assert lead in page, (size, column)
