"""A comparison: paired statistics, the figure's curves, and the folder that keeps it."""

import shutil
from types import SimpleNamespace

import pytest
from dp_experiments.compare.compare import Comparison, curves, run_arms, summarize
from dp_experiments.presets.presets import load_preset
from dp_experiments.show.report.page import shown_comparison
from dp_experiments.terminal.lines import records
from scipy import stats

from dp_base.errors import DamagedError, DivergedError
from tests.commands import done, refused
from tests.experiments.compare.made import runs_of
from tests.refusals import refusal


def test_differences_are_paired():
    """Arms that share a large seed effect: the paired error is small."""
    measured = {"practice-200": [0.51, 0.69, 0.6, 0.8], "static-400": [0.4, 0.6, 0.5, 0.7]}
    runs = runs_of(measured, splits=4, training_flops=7)
    runs["generation_flops"] = 1000 * runs["pool_size"]
    practice, _ = summarize(runs, "static-400").to_dict("records")
    assert practice["minus_static-400"] == pytest.approx(10)
    assert practice["difference_se"] == pytest.approx((2 / 3) ** 0.5 / 2)
    assert practice["se"] == pytest.approx(100 * stats.sem(measured["practice-200"]))
    assert practice["x"] == 200
    assert summarize(runs, "static-400", "compute")["x"].tolist() == [200_007, 400_007]


def test_the_figure_joins_sizes_and_its_bars_leave_out_what_seeds_share():
    """Bars against their definition: with two arms, the difference's standard error over √2, whatever seeds share."""
    arms = ["practice@training.crop=0.5@guidance.omega=0.04", "static@training.crop=0.5"]
    measured = {arms[0]: [0.05, 0.27, 0.53], arms[1]: [0.0, 0.2, 0.4]}
    runs = runs_of(measured, dict.fromkeys(arms, 200))
    table = curves(runs, summarize(runs, arms[1]))
    assert list(table["series"]) == ["practice\nguidance.omega=0.04", "static"]
    expected = stats.sem([0, 2, 8]) / 2**0.5
    assert (table["y"] - table["y_low"]).tolist() == pytest.approx([expected] * 2)
    assert (table["y_high"] - table["y"]).tolist() == pytest.approx([expected] * 2)
    sizes = runs.assign(arm=runs["arm"].map(dict(zip(arms, ("static-400", "static"), strict=True))))
    assert list(curves(sizes, summarize(sizes, "static"))["series"]) == ["static", "static"]


def test_a_comparison_lists_its_runs_as_its_table_does(tmp_path):
    """An arm's name may have a slash. Runs of arms that an earlier call had, and a table of sets, are not its."""
    arms = ["practice@generator.model=openai/x", "static"]
    runs = runs_of({arm: [0.5] for arm in arms}, dict.fromkeys(arms, 200), first=3)
    comparison = Comparison(tmp_path)
    (tmp_path / "sets.csv").write_text("arm\nstatic\n")
    for arm in (*arms, "static-400"):
        folder = comparison.run_folder(arm, 3)
        folder.mkdir(parents=True)
        (folder / "config.toml").touch()
    comparison.write(runs, "static")
    assert [arm for arm, _ in comparison.runs()] == arms
    assert {folder.parent for folder in (tmp_path / "runs").iterdir()} == {tmp_path / "runs"}
    assert len(list((tmp_path / "runs").iterdir())) == 3
    assert not (tmp_path / "sets.csv").exists()
    shutil.rmtree(comparison.run_folder("static", 3))
    with refusal("static-seed3 is missing", DamagedError):
        list(comparison.runs())


def test_an_arm_whose_flops_are_not_counted_has_no_place_on_their_axis(tmp_path):
    """A probe, which `dp real compare` adds by itself, must not end it when all runs are made."""
    runs = runs_of({"practice-100": [0.93, 0.95], "probe-20": [0.97, 0.98], "static-100": [0.9, 0.91]})
    runs.loc[runs["arm"] == "probe-20", ["generation_flops", "training_flops", "samples_generated"]] = 0
    arms = records(Comparison(tmp_path).write(runs, "static-100", "compute")["comparison"])
    assert (tmp_path / "comparison.png").exists()
    practice, probe, _ = shown_comparison({"axis": "compute", "arms": arms, "sets": []})["shown_arms"]
    assert "worth, times" in practice
    assert "worth, times" not in probe
    assert probe["test accuracy (%)"] == "97.50 ± 0.50"


@pytest.mark.parametrize("name", ["comparison.csv", "runs.csv", "comparison.png"])
def test_damage_to_a_comparison_is_named(name, compared):
    """By whatever reads it. A table that was cut in half, and a picture that is none, were taken as they are."""
    file = compared / name
    file.write_bytes(file.read_bytes()[:-3])
    assert f"{file} is damaged" in refused("real report", file.parent, status=3)
    assert f"{file} is damaged" in done("doctor", file.parent, status=2).err
    if name == "comparison.csv":
        assert f"{file} is damaged" in refused("theory forecast", file, status=3)


def test_each_part_of_a_comparison_says_how_far_it_is(tmp_path, patch, capsys):
    """On a terminal in this process alone, whose lines rich prints above the bar of all runs."""
    patch("dp_experiments.terminal.lines.ASIDE_EVERY", 0.0)
    config = load_preset("gaussian", ["training.steps=20"])
    for name, watched, told in (("MainProcess", False, True), ("MainProcess", True, True), ("Loky-1", True, False)):
        patch("sys.stderr.isatty", lambda watched=watched: watched)
        patch("dp_experiments.terminal.lines.current_process", lambda name=name: SimpleNamespace(name=name))
        run_arms(config, ["static-400"], 1, 1, tmp_path / f"{name}-{watched}", 1)
        assert ("static-400, seed 0: gaussian: 20/20\n" in capsys.readouterr().err) == told


def test_one_worker_ends_all_runs_of_a_seed_before_those_of_the_next(tmp_path, patch):
    """A comparison that is stopped has pairs, since no generator is made before a run needs it."""
    order = []

    def recorded(arm, config, *rest):
        order.append((config.seed, arm))
        return {"arm": arm, "seed": config.seed}

    patch("dp_experiments.compare.compare.run_arm", recorded)
    rows = run_arms(load_preset("gaussian"), ["practice", "static-400"], 2, 2, tmp_path, 1)
    assert [seed for seed, _ in order] == [0, 0, 1, 1]
    assert rows["arm"].tolist() == ["practice", "practice", "static-400", "static-400"]
    assert rows["seed"].tolist() == [0, 1, 0, 1]


def test_a_run_that_diverges_costs_no_other_run(tmp_path, patch, capsys):
    """And no arm is judged by the seeds that happened to end."""

    def diverging(arm, config, out, *rest):
        if begins:
            out.mkdir(parents=True)
        if (arm, config.seed) == ("practice", 0):
            raise DivergedError("step 5: training losses are not finite")
        ended.append((arm, config.seed))
        return {"arm": arm, "seed": config.seed}

    ended, begins = [], True
    patch("dp_experiments.compare.compare.run_arm", diverging)
    with refusal("1 of 4 runs diverged, .*: change these arms, .*--resume; the last: step 5", DivergedError):
        run_arms(load_preset("gaussian"), ["practice", "static"], 2, 2, tmp_path, 1)
    assert sorted(ended) == [("practice", 1), ("static", 0), ("static", 1)]
    assert "step 5: training losses are not finite\n" in capsys.readouterr().err
    ended, begins = [], False  # the generator of a split diverged, which each of its runs would train again
    with refusal("^step 5: training losses are not finite$", DivergedError):
        run_arms(load_preset("gaussian"), ["practice", "static"], 2, 2, tmp_path / "new", 1)
    assert not ended


def test_a_comparison_that_was_stopped_is_told_how_to_end(tmp_path):
    (tmp_path / "runs").mkdir()
    assert refused("real report", tmp_path).endswith("comparison.csv: dp real compare --resume finishes one")


def test_seconds_are_counted_of_any_learner(tmp_path):
    """As FLOPs are not; tests/experiments/cli/test_refusals.py has these."""
    short = "--arms static-400 --seeds 1 --workers 1 --set training.steps=20"
    done("real compare gaussian", short, "--x seconds --out", tmp_path / "compare")
