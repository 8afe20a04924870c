"""`dp real ...` as a person meets it: files, exit statuses, one line for a mistake."""

import json
import os
from unittest.mock import create_autospec

import pytest
from dp_experiments.studies.digits.source import DigitsConfig
from dp_experiments.terminal.rich import print_table

from dp_base.locks import locked
from tests.commands import done, refused, told
from tests.experiments.conftest import COMPARED
from torture.attempt import POOL_ROWS, SMALL


def test_run_then_resume_then_refuse(tmp_path, patch):
    out = tmp_path / "run"
    command = ("real run", *SMALL, "--out", out, "--seed 3")
    answer = told(*command)
    assert answer == json.loads((out / "result.json").read_text())
    assert (answer["seed"], answer["samples_generated"], answer["steps"]) == (3, POOL_ROWS, 40)

    assert "complete" in refused(*command)
    (drawn := out / "figures" / "rounds.png").rename(drawn.with_name(".part-999999999-rounds.png"))
    again = done("real resume", out)  # what was killed while it drew its pictures is finished and tidied
    assert [path.name for path in drawn.parent.glob("*rounds.png")] == ["rounds.png"]
    header, values = (line.split("\t") for line in again.out.splitlines())
    assert (header[0], float(values[0])) == ("test_accuracy", pytest.approx(100 * answer["test_accuracy"], abs=0.01))

    patch("dp_experiments.show.report.pictures.draw_run", lambda run: None)  # it takes its time
    (out / "result.json").unlink()
    assert "--resume" in refused(*command)
    assert told(*command, "--resume")["test_accuracy"] == answer["test_accuracy"]


def test_a_run_reads_its_data_once(tmp_path, patch):
    """Whether or not its generator is trained on them; shape and classes are known without."""
    load = create_autospec(DigitsConfig.load, side_effect=DigitsConfig.load)
    patch(DigitsConfig, "load", load)
    patch("dp_experiments.show.report.pictures.draw_run", lambda run: None)  # it takes its time
    settings = [*SMALL, "--set", "generator.training=none"]  # not in the cache yet
    done("real run", *settings, "--out", tmp_path / "run")
    assert load.call_count == 1
    done("real plan", *settings)
    assert load.call_count == 1


def test_compare_is_paired_resumable_and_drawn(compared):
    pictures = {"comparison.png", "comparison.pdf"}
    tables = {"runs.csv", "comparison.csv"}
    assert {*os.listdir(compared)} == {"SHA256SUMS", "command.txt", "runs"} | tables | pictures
    command = ("real compare", *SMALL, COMPARED, "--workers 1 --out", compared)
    done(*command, status=2)  # it holds results
    finished = compared / "runs" / "static-seed1" / "result.json"
    before, table = finished.stat().st_mtime_ns, (compared / "comparison.csv").read_bytes()
    arms = told(*command, "--resume")["arms"]
    sizes = [("practice", POOL_ROWS), ("static-60", 60), ("static", POOL_ROWS)]
    assert [(arm["series"], arm["x"]) for arm in arms] == sizes
    assert finished.stat().st_mtime_ns == before  # not run again
    assert (compared / "comparison.csv").read_bytes() == table


def test_compare_is_refused_before_generators_are_trained(tmp_path, patch):
    """Where nothing can be written, where another process is at work, and where the table cannot be read."""
    patch("dp_experiments.compare.compare.run_arms", None)
    (tmp_path / "file").touch()
    out = tmp_path / "out"
    said = done("real compare", *SMALL, "--out", tmp_path / "file" / "out", status=2).err
    assert "cannot be written" in said
    commands = (("real compare", *SMALL, "--resume"), ("figures fig3 --quick",), ("theory sweep",))
    with locked(out):
        for command in commands:
            assert "is being written by process" in done(*command, "--out", out, status=2).err
    assert not out.exists()
    out.mkdir()
    (out / "comparison.csv").touch()
    assert "comparison.csv cannot be read" in refused("real report", out, status=3)


@pytest.mark.parametrize(
    ("command", "width", "headers"),
    [
        ("theory best --rho 0.9 --psi 1 --d 512", 75, {"test_", "generated"}),
        ("theory predict --rho 0.9 --phi 0.2 --alpha 0.5 --d 400", 80, {"squared_norm_sd", "400"}),
        ("real keys", 80, {"additions", "130000"}),
        ("real keys imagenet100", 80, {"training.learning_rate"}),
    ],
)
def test_a_narrow_terminal_breaks_no_word(command, width, headers, monkeypatch, capsys):
    """A header goes on behind `_`, and a row that is too wide becomes lines."""
    piped = done(command).out
    monkeypatch.setenv("COLUMNS", str(width))
    names, *cells = [line.split("\t") for line in piped.splitlines()]
    print_table(names, cells, "")
    shown = capsys.readouterr().out
    assert {word for row in cells for cell in row for word in cell.split() if len(word) < 60} <= set(shown.split())
    assert headers <= set(shown.split())
    assert max(map(len, shown.splitlines())) <= width
