"""Damage is named or mended by going back; it is never used."""

import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import dp_real.practice
from dp_base.checksums import RECORD
from dp_base.errors import DamagedError, InputError
from dp_base.locks import locked
from dp_real.config import Config
from dp_real.data.sets.images import ImageFiles, ImageSet
from dp_real.examples import Examples, RealData
from dp_real.generators.trained import DenoiserConfig
from dp_real.protocols import Generator
from dp_real.runs.branch import branch
from dp_real.runs.identity import differences, identity, material, noted
from dp_real.runs.reader import Run, problems
from dp_real.runs.run import run
from dp_real.runs.run_files import RunFiles
from tests.dp_real.runs.folders import same_learner, traces


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


HARM: list[Callable[[Path], Any]] = [flip, halve, empty, Path.unlink]


def only(folder: Path, pattern: str, place: int = 0) -> Path:
    return sorted(folder.glob(pattern))[place]


def newest_data(folder: Path) -> Path:
    return sorted((folder / "pool").glob("*/*.arrow"))[-1]


def oldest_data(folder: Path) -> Path:
    return sorted((folder / "pool").glob("*/*.arrow"))[0]


@pytest.fixture(scope="module")
def keeps_best(config: Config) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update={"keep_best": True})})


@pytest.fixture(scope="module")
def whole(keeps_best: Config, generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(keeps_best, folder)
    return folder


@pytest.fixture(scope="module")
def broken_off(keeps_best: Config, generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that died at step 95, after both additions."""
    train_step = dp_real.practice.Practice.train_step

    def dies(self: dp_real.practice.Practice) -> None:
        if self.state.step == 95:
            raise ZeroDivisionError
        train_step(self)

    folder = tmp_path_factory.mktemp("broken") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dp_real.practice.Practice, "train_step", dies)
        with pytest.raises(ZeroDivisionError):
            run(keeps_best, folder)
    return folder


@pytest.fixture
def copied(broken_off: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(broken_off, tmp_path / "run"))


NEWER = {  # what the newest checkpoint needs, and older ones do not
    "learner": lambda folder: only(folder, "checkpoints/latest-*/learner.safetensors"),
    "state": lambda folder: only(folder, "checkpoints/latest-*/state.json"),
    "data": newest_data,
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("what", NEWER)
def test_a_run_goes_back_to_what_is_intact_and_ends_the_same(
    keeps_best: Config,
    whole: Path,
    copied: Path,
    caplog: pytest.LogCaptureFixture,
    what: str,
    harm: Callable[[Path], Any],
):
    file = NEWER[what](copied)
    harm(file)
    assert str(file) in "\n".join(problems(copied))
    with caplog.at_level(logging.WARNING, "dp_real"):
        run(keeps_best, copied, resume=True)
    (remark,) = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(rf"{re.escape(str(file))} .*; step-\d+-rounds-0002 is used instead", remark)
    assert traces(copied) == traces(whole)
    assert same_learner(copied, whole)
    assert problems(copied) == []


def test_rows_that_the_logs_lack_are_written_again(keeps_best: Config, whole: Path, copied: Path):
    (copied / "rounds.jsonl").write_text("".join((copied / "rounds.jsonl").read_text().splitlines(True)[:2]))
    with pytest.raises(DamagedError, match=r"rounds.jsonl lacks rows .* dp real run .*config.toml --out NEW"):
        _ = Run(copied).rounds
    run(keeps_best, copied, resume=True)
    assert traces(copied) == traces(whole)


OLDER = {
    "data": oldest_data,
    "metrics": lambda folder: folder / "metrics.jsonl",
    "record": lambda folder: folder / "pool" / "round-0000" / RECORD,
}


@pytest.mark.parametrize("what", OLDER)
def test_damage_that_all_checkpoints_share_is_named_and_nothing_is_lost(keeps_best: Config, copied: Path, what: str):
    file = OLDER[what](copied)
    halve(file) if what != "metrics" else file.unlink()
    before = sorted(path.relative_to(copied) for path in copied.rglob("*"))
    with pytest.raises(DamagedError, match=rf"{file.name} .*no checkpoint .* is intact .*dp real run .* --out NEW"):
        run(keeps_best, copied, resume=True)
    assert sorted(path.relative_to(copied) for path in copied.rglob("*")) == before


def test_an_older_checkpoint_is_in_nobodys_way(
    keeps_best: Config, whole: Path, copied: Path, caplog: pytest.LogCaptureFixture
):
    """It is left out where older ones are read, with a remark."""
    empty(only(copied, "checkpoints/step-*/state.json"))
    run(keeps_best, copied, resume=True)
    assert traces(copied) == traces(whole)
    assert caplog.records == []
    assert [result["pool_size"] for result in branch(copied)] == [100, 140]
    (remark,) = (record.getMessage() for record in caplog.records)
    assert re.search(r"step-.*state.json is damaged.*this checkpoint is left out", remark)


def test_the_best_learner_is_made_again(keeps_best: Config, whole: Path, copied: Path, tmp_path: Path):
    """From a checkpoint before it, or after which a better one came."""
    halve(copied / "best" / "model.safetensors")
    run(keeps_best, copied, resume=True)
    assert traces(copied) == traces(whole)
    assert same_learner(copied, whole)


READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Run], Any]]] = {
    "result": (lambda folder: folder / "result.json", lambda run: run.result),
    "metrics": (lambda folder: folder / "metrics.jsonl", lambda run: run.metrics),
    "rounds": (lambda folder: folder / "rounds.jsonl", lambda run: run.rounds),
    "learner": (lambda folder: folder / "learner" / "model.safetensors", lambda run: run.learner()),
    "data": (newest_data, lambda run: run.pool),
    "checkpoint": (
        lambda folder: only(folder, "checkpoints/step-*/learner.safetensors"),
        lambda run: run.learner(run.checkpoints[0]),
    ),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("what", READERS)
def test_readers_of_a_complete_run_name_the_file(whole: Path, tmp_path: Path, what: str, harm: Callable[[Path], Any]):
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    assert problems(folder) == []
    find, read = READERS[what]
    file = find(folder)
    harm(file)
    if (what, harm) != ("result", Path.unlink):  # then it is a run that is not finished
        with pytest.raises(DamagedError, match=rf"{file.name} .*; \w+") as error:
            read(Run(folder))
        assert error.value.exit_status == 3
    named = [line for line in problems(folder) if str(file) in line]
    assert named
    assert all(re.search(r"dp real|remove", line) for line in named)


def test_the_remedies_work(keeps_best: Config, whole: Path, tmp_path: Path):
    """Of a complete run, one trains the last part again."""
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    flip(folder / "learner" / "model.safetensors")
    (folder / "result.json").unlink()
    run(keeps_best, folder, resume=True)
    assert traces(folder) == traces(whole)
    assert same_learner(folder, whole)
    assert problems(folder) == []


def test_what_a_log_has_after_the_checkpoint_is_written_again_however_damaged(
    keeps_best: Config, copied: Path, whole: Path
):
    with open(copied / "metrics.jsonl", "a") as log:
        log.write('{"stdp": 99}\n{"step":')
    run(keeps_best, copied, resume=True)
    assert traces(copied) == traces(whole)


def test_a_run_has_one_writer(keeps_best: Config, copied: Path, whole: Path):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    with locked(copied):
        for write in (lambda: run(keeps_best, copied, resume=True), lambda: branch(copied)):
            with pytest.raises(InputError, match=r"is being written by process \d+"):
                write()
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()} == before
    run(keeps_best, copied, resume=True)
    assert traces(copied) == traces(whole)


def test_a_run_that_cannot_begin_leaves_no_folder(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DenoiserConfig, "load", full)
    with pytest.raises(OSError, match="No space"):
        run(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_configuration_is_refused_unless_that_is_meant(copied: Path, caplog: pytest.LogCaptureFixture):
    """It is damaged, or somebody edited it, perhaps because the data moved."""
    file = copied / "config.toml"
    file.write_text(file.read_text().replace("evaluate_every = 10\n", "evaluate_every = 20\n"))
    said = f"{file} is not what it was when {copied} began"
    assert f"{said}; restore it, unless the change is meant" in problems(copied)
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"{said}.*--accept-changes"):
        run(Run(copied).config, copied, resume=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with caplog.at_level(logging.WARNING, "dp_real"):
        result = run(Run(copied).config, copied, resume=True, accept_changes=True)
    assert f"{said}: the run will not end as it would have" in [record.getMessage() for record in caplog.records]
    assert result["accepted_changes"] == [said]


@pytest.mark.parametrize("name", ["validation", "test"])
def test_another_set_is_refused(
    config: Config, copied: Path, data: RealData, name: str, monkeypatch: pytest.MonkeyPatch
):
    """A result on another test set than the one that the run began with would be told as if it were its own."""
    own = getattr(data, name)
    y = own.y.clone()
    y[0] = (y[0] + 1) % 10
    other = replace(data, **{name: Examples(own.x[:], y)})
    monkeypatch.setattr(type(config.data), "load", lambda self: other)
    with pytest.raises(InputError, match=f"the {name} set is not what it was when {copied} began"):
        run(Run(copied).config, copied, resume=True)
    result = run(Run(copied).config, copied, resume=True, accept_changes=True)
    assert result["accepted_changes"] == [f"the {name} set is not what it was when {copied} began"]


def test_a_finished_run_is_not_told_beside_others_of_another_test_set(
    keeps_best: Config, whole: Path, data: RealData, monkeypatch: pytest.MonkeyPatch
):
    """`dp real compare --resume` keeps finished runs: all must have been judged by the same examples."""
    run(keeps_best, whole, resume=True)
    other = replace(data, test=Examples(data.test.x[:], data.test.y.flip(0)))
    monkeypatch.setattr(type(keeps_best.data), "load", lambda self: other)
    with pytest.raises(InputError, match=f"the test set is not what it was when {whole} began"):
        run(keeps_best, whole, resume=True)


def test_a_finished_run_that_lost_its_configuration_is_named(keeps_best: Config, whole: Path, tmp_path: Path):
    run_folder = Path(shutil.copytree(whole, tmp_path / "run"))
    RunFiles(run_folder).config.unlink()
    with pytest.raises(DamagedError, match=f"{run_folder}/config.toml is missing; restore it, or remove {run_folder} "):
        run(keeps_best, run_folder, resume=True)


def test_inputs_of_a_run(config: Config, copied: Path, data: RealData):
    files = RunFiles(copied)
    found = identity(files, config, data)
    assert found.keys() == {"config", "classes", "validation", "training", "test"}
    assert identity(files, config, data, test=False).keys() == found.keys() - {"test"}
    assert noted(files) == found
    assert not differences(files, {}, found)  # as an earlier version noted them


def test_all_of_a_large_set_counts(
    config: Config, copied: Path, data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its digest is of evenly spaced examples. Another has the values of all in memory, and the sizes of files."""
    monkeypatch.setattr("dp_real.runs.identity.SAMPLED", 10)
    (tmp_path / "a").write_bytes(b"12")
    files = ImageFiles([tmp_path / "a"] * 40, (1, 8, 8), keep=False)
    monkeypatch.setattr(ImageFiles, "__getitem__", lambda self, rows: torch.zeros(40, 1, 8, 8)[rows])
    sets = {"files": ImageSet(files, torch.arange(40))}
    x = data.validation.x[:].clone()
    before = material(config, replace(data, validation=Examples(x, data.validation.y), sets=sets))
    x[1] += 0.1  # is passed over
    (tmp_path / "a").write_bytes(b"123")
    after = material(config, replace(data, validation=Examples(x, data.validation.y), sets=sets))
    assert list(differences(RunFiles(copied), before, after)) == [
        f"the rest of set files is not what it was when {copied} began",
        f"the rest of the validation set is not what it was when {copied} began",
    ]
    older = {name: value for name, value in before.items() if not name.startswith("rest")}
    assert not list(differences(RunFiles(copied), older, after))


def test_the_number_of_threads_is_that_of_the_beginning(
    config: Config, generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """threads = 0 leaves it to torch, which may choose another number where the run goes on."""
    undecided = config.model_copy(update={"threads": 0})
    folder = tmp_path / "run"
    begun = run(undecided, folder)
    assert Run(folder).config.threads == begun["threads"] == torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert run(undecided, folder, resume=True)["threads"] == begun["threads"]
