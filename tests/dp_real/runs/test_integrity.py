"""Damage is named or mended by going back; it is never used."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
import torch

from dp_base.checksums import RECORD, digest, seal
from dp_base.errors import DamagedError
from dp_base.locks import locked
from dp_base.reading import read_json
from dp_real import Run, load_config, run
from dp_real.data.examples import Examples
from dp_real.data.sets.images import ImageFiles, ImageSet
from dp_real.runs.branch import branch
from dp_real.runs.files import RunFiles
from dp_real.runs.identity import input_differences, input_digests
from dp_real.runs.reader import problems
from tests.dp_real.conftest import changed
from tests.dp_real.runs.folders import assert_resumes_as, empty, flip, halve, reword
from tests.refusals import refusal


def only(folder, pattern):
    return min(folder.glob(pattern))


@pytest.mark.parametrize(
    ("newer", "harm"),
    [
        ("checkpoints/latest-*/learner.safetensors", flip),
        ("checkpoints/latest-*/state.json", Path.unlink),
        ("pool/round-0002/*.arrow", halve),
        ("pool/round-0002/*.arrow", empty),
    ],
)
def test_a_run_goes_back_to_what_is_intact_and_ends_the_same(
    config,
    unbroken,
    copied,
    caplog,
    newer,
    harm,
):
    """Without what its newest checkpoint needs, and older ones do not."""
    file = only(copied, newer)
    harm(file)
    assert str(file) in "\n".join(problems(copied))
    assert_resumes_as(unbroken, config, copied)
    (remark,) = caplog.messages
    assert re.fullmatch(rf"{re.escape(str(file))} .*; step-\d+-rounds-0002 is used instead", remark)
    assert problems(copied) == []


def test_logs_are_those_of_the_checkpoint(config, unbroken, copied):
    """Whatever happened to them, and whatever stands after it."""
    (copied / "rounds.jsonl").write_text("".join((copied / "rounds.jsonl").read_text().splitlines(True)[:2]))
    with open(copied / "metrics.jsonl", "a") as log:
        log.write('{"stdp": 99}\n{"step":')
    said = rf"rounds.jsonl lacks rows .* dp real resume {copied} "
    with refusal(said, DamagedError):
        _ = Run(copied).rounds
    assert re.search(said, "\n".join(problems(copied)))
    assert_resumes_as(unbroken, config, copied)


@pytest.mark.parametrize("older", ["pool/round-0000/*.arrow", f"pool/round-0000/{RECORD}"])
def test_damage_that_all_checkpoints_share_is_named_and_nothing_is_lost(config, copied, older):
    file = only(copied, older)
    halve(file)
    before = sorted(path.relative_to(copied) for path in copied.rglob("*"))
    with refusal(rf"{file.name} .*no checkpoint .* is intact .*in a new folder: dp real run", DamagedError):
        run(config, copied, resume=True)
    assert sorted(path.relative_to(copied) for path in copied.rglob("*")) == before


def test_an_older_checkpoint_is_in_nobodys_way(config, unbroken, copied, caplog):
    """It is left out where older ones are read, with a remark."""
    empty(only(copied, "checkpoints/step-*/state.json"))
    assert_resumes_as(unbroken, config, copied)
    assert caplog.records == []
    assert [result["pool_size"] for result in branch(copied)] == [100, 140]
    (remark,) = caplog.messages
    assert re.search(r"step-.*state.json is damaged.*this checkpoint is left out", remark)


READERS = [
    (flip, "result.json", lambda run: run.result),
    (halve, "metrics.jsonl", lambda run: run.metrics),
    (Path.unlink, "rounds.jsonl", lambda run: run.rounds),
    (flip, "learner/model.safetensors", lambda run: run.learner()),
    (shutil.rmtree, "learner", lambda run: run.learner()),
    (shutil.rmtree, "pool", lambda run: run.pool),
    (empty, "pool/round-0002/*.arrow", lambda run: run.pool),
    (halve, "checkpoints/step-*/learner.safetensors", lambda run: run.learner(run.checkpoints[0])),
]


@pytest.mark.parametrize(("harm", "pattern", "read"), READERS)
def test_readers_of_a_complete_run_name_the_file(complete, harm, pattern, read):
    assert problems(complete) == []
    file = only(complete, pattern)
    harm(file)
    with refusal(rf"{file.name} .*; \w+", DamagedError) as error:
        read(Run(complete))
    assert error.value.exit_status == 3
    named = [line for line in problems(complete) if str(file) in line]
    assert str(error.value) in named or "pool" in pattern
    assert all(re.search(r"dp real|remove", line) for line in named)


def test_the_remedies_work(config, unbroken, complete):
    """Of a complete run, one trains the last part again. Its card can be edited as before."""
    flip(complete / "learner/model.safetensors")
    (complete / "result.json").unlink()
    assert_resumes_as(unbroken, config, complete)
    with open(complete / "learner/README.md", "a") as card:
        card.write("mine")
    assert problems(complete) == []


def test_a_run_has_one_writer(config, copied, unbroken):
    before = times(copied)
    with locked(copied):
        for write in (lambda: run(config, copied, resume=True), lambda: branch(copied)):
            with refusal(r"is being written by process \d+"):
                write()
    assert times(copied) == before
    assert_resumes_as(unbroken, config, copied)


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_changed_configuration_is_refused_unless_that_is_meant(copied, caplog):
    """It is damaged, or somebody edited it, perhaps because the data moved."""
    file = copied / "config.toml"
    reword(file, "evaluate_every = 10\n", "evaluate_every = 20\n")
    said = f"{file} changed since {copied} began"
    assert f"{said}; restore it, unless the change is meant" in problems(copied)
    before = times(copied)
    with refusal(f"{said}.*--accept-changes"):
        run(Run(copied).config, copied, resume=True)
    assert before.items() <= times(copied).items()
    result = run(Run(copied).config, copied, resume=True, accept_changes=True)
    assert f"{said}: the run will end differently than without this change" in caplog.messages
    assert result["accepted_changes"] == [said]


def test_a_finished_run_that_lost_its_configuration_is_named(config, complete):
    RunFiles(complete).config.unlink()
    with refusal(f"{complete}/config.toml is missing; restore it, or remove {complete} ", DamagedError):
        run(config, complete, resume=True)


def test_all_of_a_large_set_counts(config, copied, data, tmp_path, patch):
    """Its digest is of evenly spaced examples. Another has the values of all in memory, and the sizes of files."""
    patch("dp_real.runs.identity.SAMPLED", 10)
    (tmp_path / "a").write_bytes(b"12")
    files = ImageFiles([tmp_path / "a"] * 40, (1, 8, 8), keep=False)
    patch(ImageFiles, "__getitem__", lambda self, rows: torch.zeros(40, 1, 8, 8)[rows])
    sets = {"files": ImageSet(files, torch.arange(40))}
    x = data.validation.x[:].clone()
    own = replace(data, validation=Examples(x, data.validation.y), sets=sets)
    before = input_digests(config, own)
    x[1] += 0.1  # none of the evenly spaced
    (tmp_path / "a").write_bytes(b"123")
    assert list(input_differences(RunFiles(copied), before, input_digests(config, own))) == [
        f"the set files changed since {copied} began",
        f"the validation set changed since {copied} began",
    ]


def test_the_number_of_threads_is_that_of_the_beginning(config, generator, tmp_path, patch):
    """threads = 0 leaves it to torch, which may choose another number where the run goes on."""
    undecided = changed(config, threads=0)
    begun = run(undecided, tmp_path)
    assert Run(tmp_path).config.threads == begun["threads"] == torch.get_num_threads()
    patch("torch.get_num_threads", lambda: 99)
    assert run(undecided, tmp_path, resume=True)["threads"] == begun["threads"]


# formats


def rewrite_state(folder, change):
    """Change what the latest checkpoint says."""
    file = only(folder, "checkpoints/latest-*/state.json")
    state = read_json(file)
    change(state)
    file.write_text(json.dumps(state))
    seal(file.parent)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.update(format=2), "state.json has format 2, and this version of dp reads format 1"),
        (lambda state: state.pop("format"), "state.json has no format"),
    ],
)
def test_a_checkpoint_of_another_format_is_refused(config, copied, change, said):
    rewrite_state(copied, change)
    with refusal(said):
        run(config, copied, resume=True)


def test_a_configuration_of_another_format_is_refused(copied):
    reword(copied / "config.toml", "format = 1\n", "format = 7\n")
    with refusal(r"config.toml has format 7, and this version of dp reads format 1"):
        _ = Run(copied).config


def test_what_lacks_keys_that_have_a_default_goes_on(copied):
    """As it was written before there were those keys: a format's number need not rise for a new one."""
    file = copied / "config.toml"
    older = load_config(file).model_dump(mode="json", exclude_defaults=True)
    file.write_text(tomli_w.dumps(older))  # a user's has no number either

    def forget(state):
        del state["training_flops"], state["costs"]["forwards"]
        state["inputs"] = {"config": digest(file)}

    rewrite_state(copied, forget)
    assert run(load_config(file), copied, resume=True)["steps"] == 120
