"""A run as its folder tells it: complete, unfinished, hardly begun, or none at all."""

import pandas as pd
from safetensors.torch import load_file

from dp_base.checksums import RECORD
from dp_base.errors import DamagedError, MissingError
from dp_base.reading import read_json
from dp_real import Run, load_learner, run
from dp_real.evaluate.assess import accuracies
from dp_real.runs.branch import branch
from tests.dp_real.conftest import changed
from tests.dp_real.runs.folders import assert_loads_elsewhere, json_lines, same_tensors
from tests.refusals import refusal

# a finished run: 60 rows, 40 more, and 40 more


def test_what_it_was_and_what_came_of_it(unbroken, config, monkeypatch):
    monkeypatch.chdir(unbroken.parent)
    done = Run(unbroken.name)
    monkeypatch.chdir("/")
    assert (done.path, done.config, done.complete) == (unbroken, config, True)
    assert done.result == read_json(unbroken / "result.json")
    pd.testing.assert_frame_equal(done.metrics, pd.DataFrame(json_lines(unbroken / "metrics.jsonl")))
    pd.testing.assert_frame_equal(done.rounds, pd.DataFrame(json_lines(unbroken / "rounds.jsonl")))
    assert done.branches == []


def test_its_learner_and_that_at_each_checkpoint(unbroken, data):
    """One before each addition, by step."""
    done = Run(unbroken)
    assert accuracies(done.learner(), data.test)[0] == done.result["test_accuracy"]
    before = [(at.state.rounds, at.state.step, at.state.costs["generated"]) for at in done.checkpoints]
    assert before == [(1, done.rounds["step"][1], 60), (2, done.rounds["step"][2], 100)]
    for at in done.checkpoints:
        learner = done.learner(at)
        assert same_tensors(learner.tensors(), load_file(at.path / "learner.safetensors"))
        assert learner.step == at.state.step  # it could go on from there


def test_its_learner_needs_no_run(config, tmp_path, hub):
    run(changed(config, "learner={kind='conv'}"), tmp_path / "run")
    assert_loads_elsewhere(tmp_path / "run", tmp_path)
    with refusal(r"learner.json cannot be read: .*; name the folder RUN/learner", MissingError):
        load_learner(tmp_path / "run")
    with refusal("nowhere: no such folder; name the folder RUN/learner of a finished run, or a hub id", MissingError):
        load_learner("nowhere")
    weights = tmp_path / "run/learner/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    with refusal("no learner could be read: the folder must hold what save_pretrained, or a run, writes", MissingError):
        load_learner(tmp_path / "run/learner")
    with refusal(r"org/name: no learner could be read: fetch it", MissingError):
        load_learner("org/name")


def test_its_branches_by_size(complete):
    results = branch(complete)
    done = Run(complete)
    assert done.branches == results[:-1]
    done.files.branch(60).result.unlink()  # it was there, as the checksums tell
    said = r"000000060/result.json is missing; remove .*dp real branch .* makes it again"
    with refusal(said, DamagedError):
        _ = done.branches
    (done.files.branch(60).path / RECORD).unlink()  # one that was stopped
    assert [result["pool_size"] for result in done.branches] == [100]


# an unfinished run, or none


def test_an_unfinished_run_tells_what_there_is_each_time(copied, unbroken, config):
    with open(copied / "metrics.jsonl", "a") as log:
        log.write('{"step": 9')  # torn
    begun = Run(copied)
    assert (begun.complete, begun.result, begun.config) == (False, {}, config)
    assert begun.metrics["step"].tolist() == list(range(10, 91, 10))
    assert begun.rounds["count"].tolist() == [60, 40, 40]
    assert len(begun.pool) == 140
    (latest,) = (copied / "checkpoints").glob("latest-*")
    assert same_tensors(begun.learner().tensors(), load_file(latest / "learner.safetensors"))
    run(config, copied, resume=True)
    assert begun.result["test_accuracy"] == Run(unbroken).result["test_accuracy"]
    assert len(begun.metrics) == 12


def test_a_run_that_has_hardly_begun(tmp_path, config):
    (tmp_path / "config.toml").write_text(config.to_toml())
    begun = Run(tmp_path)
    assert not begun.complete
    assert begun.metrics.empty
    assert begun.rounds.empty
    assert begun.checkpoints == begun.branches == []
    with refusal(f"{tmp_path}: there is no pool yet; .* dp real resume {tmp_path}", MissingError):
        _ = begun.pool
    with refusal(f"{tmp_path}: nothing has been learned yet; .* dp real resume {tmp_path}"):
        begun.learner()


def test_a_folder_that_is_no_runs(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "thesis.txt"):
        with refusal(f"{path} is not the folder of a run: it has no config.toml$"):
            Run(path)
    (tmp_path / "pool").mkdir()
    with refusal(rf'datasets.load_dataset\("arrow", data_files="{tmp_path}/pool/\*/'):
        Run(tmp_path)
