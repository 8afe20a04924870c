"""Stored rows say what made them, and one can be run again."""

import json
import re

import pytest
from dp_experiments.compare.compare import Comparison
from dp_experiments.studies import stored
from dp_experiments.studies.rerun import MADE, RERUN, StoredRow
from dp_experiments.studies.result_tables import arms_table
from dp_experiments.studies.stored import COLUMNS, stored_files, stored_runs

from dp_real.runs.reader import Run
from tests.commands import refused, told
from tests.refusals import refusal
from torture.attempt import SMALL_SETTINGS

TABLES = stored_files()
OF_RUNS = [name for name in TABLES if {"arm", "split", "seed", "test"} <= set(stored_runs(name))]
OWN = re.compile(r" \(shares")
ARM = "@".join(["practice", *(f"{key}={value}" for key, value in SMALL_SETTINGS.items())])


@pytest.mark.parametrize("name", TABLES)
def test_each_table_says_what_made_its_rows(name):
    head = TABLES[name].read_text()
    assert MADE.match(head)
    assert (name in OF_RUNS) == bool(RERUN.search(head))


@pytest.mark.parametrize("name", OF_RUNS)
def test_each_arm_of_a_stored_run_is_one_of_today_or_refused(name):
    arms = stored_runs(name).drop_duplicates([*{"stage", "settings", "objective", "k", "arm"} & set(stored_runs(name))])
    for number, row in zip(arms.index + 1, arms.to_dict("records"), strict=True):
        if OWN.search(row["arm"]) or row.get("settings") == "static-4000" or isinstance(row.get("objective"), str):
            with refusal("settings of its own, which are no arm"):
                StoredRow.read(f"{name}:{number}")
        else:
            config = StoredRow.read(f"{name}:{number}").config
            assert (config.seed, config.data.split, config.threads) == (row["seed"], row["split"], 1)


@pytest.fixture
def file(tmp_path, patch):
    """The place of a table of stored runs, the only one."""
    patch(stored, "FOLDER", tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs" / "small.csv"


@pytest.fixture
def table(file, own_cache):
    """A table of six runs, of which the first three are of the arm ARM."""
    rows = [f"{ARM},{split},{split},70.0,{test},40,40" for split, test in enumerate((70.0, 71.0, 72.0))]
    rows += [f"static,{split},{split},10.0,{test},40,40" for split, test in enumerate((69.0, 71.0, 73.0))]
    head = "# made: version 0.1.0\n# rerun: digits\narm,split,seed,validation,test,generated,kept\n"
    file.write_text(head + "\n".join(rows))
    return file


def test_a_row_is_run_again(table, tmp_path):
    words = ("claims --rerun small:1 --out", tmp_path / "run")
    assert StoredRow.read("small:1").spread == pytest.approx(2 * 2**0.5)  # it is 1, 0 and -1 above the other arm
    found = told(*words, status=1)
    assert (found["verdict"], found["made"], found["stored"]["test"]) == ("another", "version 0.1.0", 70.0)
    numbers = ",".join(f"{found['now'][column]:.3f}" for column in COLUMNS)
    table.write_text(table.read_text().replace("70.0,70.0,40,40", numbers))
    assert told(*words)["verdict"] == "the same"
    row, result = StoredRow.read("small:1"), Run(tmp_path / "run").result
    for apart, verdict in ((0.99, "within the spread"), (1.01, "another")):
        further = result | {"test_accuracy": result["test_accuracy"] + apart * row.spread / 100}
        assert row.compared_with(further)["verdict"] == verdict
    assert row.compared_with(result | {"samples_generated": 50})["verdict"] == "within the spread"


def test_a_comparison_becomes_a_table_of_stored_runs(compared, file):
    _, run = next(Comparison(compared).runs())
    result = run.result
    (run.path / "result.json").write_text(json.dumps(result | {"sets": [{"set": "far", "accuracy": 0.25}]}))
    stored.store(compared, file, "digits --tuned published")
    with refusal(r"small\.csv exists"):
        stored.store(compared, file, "digits")
    arms = Comparison(compared).arms.set_index("series")
    row = StoredRow.read("small:1")
    assert (row.config.name, row.config.seed) == ("digits", 1)
    assert all(f"{name}={version}" in row.made for name, version in result["versions"].items())
    assert (row.compared_with(result)["verdict"], row.row["far"]) == ("the same", 25)
    assert stored_runs("small").groupby("arm")["test"].mean().to_dict() == pytest.approx(arms["y"].to_dict(), abs=1e-3)
    page = arms_table("small", {"practice": "Practice", "static-60": "Static"}, ["static-60"])
    assert f"| Practice | {arms['x']['practice']:.0f} | {arms['y']['practice']:.2f} |" in page
    difference = arms["minus_static-60"]["practice"]
    assert f"{-difference:+.2f}".replace("-", "−") in page


def test_what_is_no_row_is_refused(table):
    (table.parent / "other.csv").write_text("a,b\n1,2\n")
    for named, said in (("small:9", "there are 6"), ("small", "as small:1"), ("other:1", "is no table of runs")):
        assert said in refused("claims --rerun", named)
    refused("claims --rerun nowhere:1")
