"""A run's folder: complete, resumable bit for bit, and refused where it would overwrite something."""

import logging
import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from dp_base.errors import Interrupted, MissingError
from dp_base.progress import progress
from dp_base.reading import read_json
from dp_real import Run, run
from dp_real.config.arms import arm_config
from dp_real.data.sets.real_rows import balanced_rows
from dp_real.runs.afterwards import hindsight
from dp_real.runs.branch import branch
from dp_real.runs.files import RunFiles, newest_intact
from dp_real.runs.folder import RunFolder
from dp_real.runs.loop import TrainingLoop
from dp_real.runs.prepare import fresh_learner, load_generator
from dp_real.runs.run import tracking
from dp_real.runtime.seeds import row_seeds
from tests.dp_real.conftest import changed
from tests.dp_real.runs.folders import assert_resumes_as, dying, json_lines, stopped_at, traces
from tests.refusals import refusal


def test_what_a_run_leaves(unbroken):
    logs = {"metrics.jsonl", "rounds.jsonl", "result.json", "SHA256SUMS"}
    assert {path.name for path in unbroken.iterdir()} == {"config.toml", "pool", "checkpoints", "learner"} | logs
    found = traces(unbroken)
    result = found["result"]
    assert (result["samples_generated"], result["steps"], result["additions"]) == (140, 120, 2)
    assert result["samples_seen"] == 120 * 64
    assert result["inputs"].keys() == {"classes", "validation", "training", "test"}
    assert [row["step"] for row in found["metrics.jsonl"]] == list(range(10, 121, 10))
    last = found["metrics.jsonl"][-1]
    assert (last["lr"], last["val_accuracy"]) == (0, result["val_accuracy"])
    assert [row["omega"] for row in found["rounds.jsonl"]] == pytest.approx([0, 0.05, 0.05])
    assert result["test_accuracy"] > 0.3  # it learned; chance is .1


def test_a_pool_row_can_be_drawn_again_from_its_seed(unbroken, generator, config):
    pool = Run(unbroken).pool
    seeds = pool.table()["seed"].to_numpy()
    assert (seeds[:60] == row_seeds(config.seed, 0, range(60))).all()
    torch.testing.assert_close(generator.sample(pool.y[7:8], seeds[7:8], None), pool.x[7:8], atol=2e-5, rtol=0)


@pytest.mark.parametrize("again", [signal.SIGINT, signal.SIGTERM])
def test_of_signals_only_a_second_ctrl_c_stops_at_once(config, unbroken, tmp_path, monkeypatch, again):
    """Launchers and cluster managers send the others as often as they like."""
    train_step = TrainingLoop.train_step

    def signalled(loop):
        for number in (signal.SIGUSR1, again) if loop.state.step == 17 else ():
            signal.raise_signal(number)
        train_step(loop)

    monkeypatch.setattr("dp_real.runs.loop.TrainingLoop.train_step", signalled)
    with refusal("dp real resume", Interrupted):
        run(config, tmp_path)
    monkeypatch.undo()
    assert stopped_at(tmp_path) == (0 if again == signal.SIGINT else 18)
    assert_resumes_as(unbroken, config, tmp_path)


@pytest.mark.parametrize("place", ["load_data", "conclude"])
def test_an_interrupt_names_the_command_that_goes_on(config, tmp_path, monkeypatch, patch, place):
    """Also before the first step, and after the last."""
    out = tmp_path / "a run"
    patch(f"dp_real.runs.run.{place}", Mock(side_effect=KeyboardInterrupt))
    with refusal(rf"interrupted: dp real resume '{out}' goes on", Interrupted):
        run(config, out)
    monkeypatch.undo()
    assert run(config, out, resume=True)["steps"] == config.training.steps
    patch("dp_real.runs.branch.load_data", Mock(side_effect=KeyboardInterrupt))
    with refusal(rf"interrupted: dp real branch '{out}' goes on", Interrupted):
        branch(out)


def test_a_run_killed_between_two_checkpoints_has_one(config, unbroken, tmp_path, monkeypatch, patch):
    """At each step of replacing it: before the new one is in place, or before the old one is removed."""
    patch("dp_real.runs.loop.CHECKPOINT_EVERY", 1)
    for survived in range(4):  # moves of checkpoint folders: the first, its successor, the first away, the next
        folder, rename, left = tmp_path / f"broken-{survived}", os.rename, survived

        def dies(source, target):
            nonlocal left
            if "checkpoints" in Path(source).parts:
                if left == 0:
                    raise ZeroDivisionError
                left -= 1
            rename(source, target)  # noqa: B023 (called within the turn)

        patch("os.rename", dies)
        with pytest.raises(ZeroDivisionError):
            run(config, folder)
        monkeypatch.undo()
        newest = newest_intact(RunFiles(folder))
        assert (newest is None) == (survived == 0)
        assert_resumes_as(unbroken, config, folder)


def test_a_stop_is_heeded_while_a_round_is_drawn(config, unbroken, drawn, tmp_path, patch):
    """Between its blocks. Blocks that are drawn are not drawn again, since rounds of real images take hours."""
    folder = tmp_path / "stopped"
    patch("dp_real.runs.folder.RunFolder.any_must_stop", lambda self: any(index == 1 for index, *_ in drawn))
    with refusal("dp real resume", Interrupted):
        run(config, folder)
    assert len(json_lines(folder / "rounds.jsonl")) == 1  # the first addition has two blocks
    assert [count for *_, count in drawn] == [32, 28, 32]  # the initial round, and some of the first addition
    patch("dp_real.runs.folder.RunFolder.any_must_stop", lambda self: False)
    drawn.clear()
    assert_resumes_as(unbroken, config, folder)
    assert [count for *_, count in drawn] == [8, 32, 8]  # the rest of the first addition, the second addition
    assert not (folder / "drawing").exists()


@pytest.mark.parametrize(
    "settings",
    [
        "guidance.omega=auto guidance.candidates=3",
        "training.mixup=0.5 training.ema_decay=0.9 training.label_smoothing=0.1 training.crop=0.5 training.flip=true "
        "training.precision=bfloat16 pool.storage=jpeg",
        "practice.real=20 practice.new_sample_weight=2",
        "data.real_per_class=5",
    ],
)
def test_every_policy_resumes_as_it_would_have_gone_on(config, tmp_path, settings):
    asked = changed(config, "training.steps=60", *settings.split())
    run(asked, tmp_path / "whole")
    with dying(45):
        run(asked, tmp_path / "broken")
    assert_resumes_as(tmp_path / "whole", asked, tmp_path / "broken")


def test_real_examples_can_be_the_start(config, tmp_path, monkeypatch):
    """They cost nothing, and are the same in each arm; what is added is generated. Alone they want no generator."""
    config = changed(config, "practice.real=50", "practice.initial=50", "practice.increment=30")
    results = {}
    for arm, added in {"real-50": (), "static-50": (), "static": (60,), "practice": (30, 30)}.items():
        with monkeypatch.context() as without:
            if not added:
                without.setattr("dp_real.generators.trained.DenoiserConfig.load", None)
            result = results[arm] = run(arm_config(config, arm), tmp_path / arm)
        assert (result["pool_size"], result["samples_generated"]) == (50 + sum(added), sum(added))
        seeds = Run(tmp_path / arm).pool.table()["seed"].to_pylist()
        assert [seed > 0 for seed in seeds] == [False] * 50 + [True] * sum(added)
    first, *others = (Run(tmp_path / arm).pool.minibatch(torch.arange(50)) for arm in results)
    for other in others:
        assert all(map(torch.equal, first, other))
    assert results["real-50"]["test_accuracy"] == results["static-50"]["test_accuracy"]


def test_more_real_examples_than_there_are(config, tmp_path, patch):
    patch("dp_real.generators.trained.DenoiserConfig.load", None)  # said before a generator is trained
    with refusal("real = 901: there are 900 real training examples; the arm real-900 has all"):
        run(changed(config, "practice.initial=901", "practice.real=901"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_real_examples_are_chosen_evenly_and_grow():
    y = np.repeat([0, 1, 2], [20, 3, 10])
    few, more, everything = (balanced_rows(y, count, seed=1) for count in (9, 16, 33))
    assert np.bincount(y[few]).tolist() == [3, 3, 3]
    assert np.bincount(y[more]).tolist() in ([7, 3, 6], [6, 3, 7])
    assert set(few) < set(more) < set(everything) == set(range(33))
    assert (balanced_rows(y, 9, seed=2) != few).any()


def test_a_generator_is_trained_on_the_real_examples_that_a_run_begins_with(config, data, tmp_path):
    def training_examples(real):
        generator = changed(config, f"generator.real={real}").generator
        return generator.training_examples(config.data, data)

    run(changed(config, "practice.initial=100", "practice.real=50", "practice.additions=0"), tmp_path)
    few, pool = training_examples(50), Run(tmp_path).pool
    assert pool.x[:50].equal(few.x)
    assert pool.y[:50].equal(few.y)
    with refusal(r"generator.real = 901: there are 900"):
        training_examples(901)
    with refusal(r"generator.real = 9: fewer examples than the 10 classes"):
        training_examples(9)


def test_a_generator_is_loaded_with_the_threads_of_the_configuration(config, generator, patch):
    """Training it sums in an order that depends on them, and its cache does not tell."""
    found, before = [], torch.get_num_threads()

    def load(*_):
        found.append(torch.get_num_threads())
        return generator

    patch("dp_real.generators.trained.DenoiserConfig.load", load)
    for threads in (1, 3):
        load_generator(changed(config, threads=threads))
    assert found == [1, 3]
    assert torch.get_num_threads() == before


def test_branches_without_a_cool_down_are_the_learners_of_their_checkpoints(config, tmp_path):
    run(changed(config, "training.cooldown=0.0"), tmp_path)
    branch(tmp_path)
    assert [result["pool_size"] for result in Run(tmp_path).branches] == [60, 100]


def test_branches_are_cool_downs_from_each_pool_size(config, unbroken, complete, patch, caplog):
    patch("dp_real.generators.trained.DenoiserConfig.load", None)  # nothing is drawn
    results = branch(complete)
    assert [result["pool_size"] for result in results] == [60, 100, 140]
    assert results[-1] == read_json(unbroken / "result.json")
    for result in results[:-1]:
        folder = complete / "branches" / f"{result['pool_size']:09d}"
        rows = json_lines(folder / "metrics.jsonl")
        start = Run(unbroken).rounds["step"][result["additions"] + 1]
        assert result["steps"] == rows[-1]["step"] == start + config.training.cooldown_steps
        assert rows[-1]["lr"] == 0 < rows[0]["lr"] < config.training.learning_rate
    assert traces(complete) == traces(unbroken)  # the run itself is untouched
    before = (complete / "branches/000000060/result.json").stat().st_mtime_ns
    shutil.rmtree(complete / "branches/000000100")
    branch(complete)
    assert (complete / "branches/000000060/result.json").stat().st_mtime_ns == before
    for folder in ("branches/000000100", next(complete.glob("checkpoints/step*rounds-0002"))):
        shutil.rmtree(complete / folder)
    assert [result["pool_size"] for result in branch(complete)] == [60, 140]
    assert "checkpoints: 1 before additions are missing" in caplog.text
    shutil.rmtree(complete / "checkpoints")
    assert [result["pool_size"] for result in branch(complete)] == [60, 140]  # the one that ended needs none
    shutil.rmtree(complete / "branches")
    with refusal("checkpoints: those before additions, where branches begin, are missing", MissingError):
        branch(complete)


def test_blocks_of_another_learner_or_of_other_inputs_are_not_used(config, unbroken, tmp_path, monkeypatch):
    """A run goes back to before the checkpoint that they were drawn from, or the code of its generator has changed."""
    files = RunFiles(tmp_path / "run")
    drawing = files.drawing

    def stop_in(index, resume):
        monkeypatch.setattr(
            "dp_real.runs.folder.RunFolder.any_must_stop", lambda self: (drawing / f"round-{index}-row-0").exists()
        )
        with pytest.raises(Interrupted):
            run(config, tmp_path / "run", resume=resume)
        monkeypatch.undo()

    def kept(inputs=None):
        folder = RunFolder(files, lambda n: None, inputs=inputs or {}, accept_changes=True)
        folder.restore(config, fresh_learner(config))
        return sorted(path.name for path in drawing.glob("round-*"))

    stop_in(0, resume=False)
    noted = read_json(files.drawn_with)
    assert kept(noted) == ["round-0-row-0"]
    assert kept(noted | {"code": "another"}) == []
    stop_in(1, resume=True)
    shutil.copytree(drawing / "round-1-row-0", drawing / "round-2-row-0")
    assert kept() == ["round-1-row-0"]
    shutil.copytree(drawing, tmp_path / "drawing")
    assert kept(dict.fromkeys(noted, "another")) == []
    shutil.copytree(tmp_path / "drawing", drawing, dirs_exist_ok=True)
    shutil.rmtree(newest_intact(files).path)
    assert kept() == []
    assert_resumes_as(unbroken, config, tmp_path / "run")


def test_its_progress_is_shown_as_it_is_asked(config, tmp_path):
    shown = []

    @contextmanager
    def noting(description, total):
        shown.append(description)
        yield lambda steps: None

    run(config, tmp_path, progress=noting)
    assert {config.name, "checking images", "drawing examples"} <= {*shown}
    with progress("what follows", 1):
        assert "what follows" not in shown


def test_logs_and_dashboard_get_each_evaluation(config, tmp_path, patch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    patch("dp_real.runs.folder.LINES_APART", 0.0)
    lines = []
    patch(logging.getLogger("dp_real.steps"), "info", lambda text, *facts: lines.append(text % facts))
    run(changed(config, tracker="tensorboard"), tmp_path / "run")
    found = traces(tmp_path / "run")
    for row, line in zip(found["metrics.jsonl"], lines, strict=True):
        assert line.startswith(f"run: step {row['step']:,} of 120, accuracy {row['val_accuracy']:.1%}")
        assert "gradient " in line
    events = EventAccumulator(f"{tmp_path}/run/deliberate-practice")
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars("val_accuracy")}
    assert shown == pytest.approx({row["step"]: row["val_accuracy"] for row in found["metrics.jsonl"]})
    assert [event.step for event in events.Scalars("round/entropy")] == [row["step"] for row in found["rounds.jsonl"]]


def test_a_dashboard_is_told_of_the_configuration(config, tmp_path, patch):
    accelerator = Mock(trackers=[])
    patch("dp_real.runs.run.Accelerator", lambda **options: accelerator)
    files = RunFiles(tmp_path)
    files.config.touch()
    with tracking(changed(config, tracker="wandb"), files):
        _, told, options = accelerator.init_trackers.call_args.args
    assert (told["training.batch_size"], told["name"]) == (config.training.batch_size, config.name)
    assert options["wandb"]["settings"] == {"x_disable_meta": True}  # wandb would send the command line


def test_hindsight_sees_what_was_recorded_when_added(unbroken):
    """At the checkpoint before its addition a round is as wrong as the log says."""
    rows, rounds = hindsight(Run(unbroken)), Run(unbroken).rounds
    assert len(rows) == 2 * 3  # checkpoints x rounds
    for row in rows:
        known = rounds.iloc[row["round"]]
        assert row["added"] == known["step"]
        if row["round"] and row["step"] == row["added"]:
            found = row["wrong"], row["entropy"], row["wrong_again"]
            assert found == pytest.approx((known["fraction_wrong"], known["entropy"], 1), rel=1e-5)
    assert min(row["wrong_again"] for row in rows if row["step"] > row["added"]) < 1


def test_refusals(complete, config, tmp_path):
    with refusal("complete"):
        run(config, complete)
    for same in (config, changed(config, "compare.seeds=9")):  # a run is the same in any comparison
        assert run(same, complete, resume=True)["steps"] == 120  # nothing is done again

    (complete / "result.json").unlink()
    thesis = tmp_path / "notes/thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    for asked, folder, resume, said in (
        (config, complete, False, "--resume"),
        (changed(config, seed=5), complete, True, "of another configuration: seed differs; restore it"),
        (config, thesis.parent, False, "something else"),
        (config, thesis, False, "is a file"),
        (config, tmp_path / "nowhere", True, "no run"),
    ):
        with refusal(said):
            run(asked, folder, resume=resume)
    assert thesis.read_text() == "mine"
