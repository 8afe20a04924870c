"""A run as its folder tells it: complete, unfinished, hardly begun, or none at all."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader

from dp_base.checksums import RECORD
from dp_base.errors import DamagedError, InputError, MissingError
from dp_real.config import Config
from dp_real.evaluate.assess import accuracy
from dp_real.examples import RealData
from dp_real.learners.models.network import NetworkLearner
from dp_real.practice import Practice
from dp_real.protocols import Generator
from dp_real.runs.branch import branch
from dp_real.runs.reader import Run
from dp_real.runs.run import run


@pytest.fixture(scope="module")
def folder(config: Config, generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a finished run: 60 rows, 40 more, and 40 more."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    run(config, folder)
    return folder


@pytest.fixture
def broken(config: Config, generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run that died at step 95, with all its data, far from its latest checkpoint."""
    train_step = Practice.train_step
    monkeypatch.setattr(Practice, "train_step", lambda self: 1 / 0 if self.state.step == 95 else train_step(self))
    with pytest.raises(ZeroDivisionError):
        run(config, tmp_path / "broken")
    monkeypatch.undo()
    return tmp_path / "broken"


def lines(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def network(config: Config, weights: dict[str, torch.Tensor]) -> nn.Module:
    """The learner's network with these weights, made without the code that is tested here."""
    module = config.learner.network(config.task)
    assert module is not None
    module.load_state_dict(weights)
    return module.eval()


def below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


# a finished run


@pytest.mark.parametrize("kind", [str, Path])
def test_what_it_was_and_what_came_of_it(folder: Path, config: Config, kind: type):
    done = Run(kind(folder))
    assert done.path == folder
    assert done.config == config
    assert done.complete
    assert done.result == json.loads((folder / "result.json").read_text())
    assert done.result["pool_size"] == 140
    assert done.branches == []


def test_its_logs_are_tables(folder: Path):
    done = Run(folder)
    pd.testing.assert_frame_equal(done.metrics, pd.DataFrame(lines(folder / "metrics.jsonl")))
    pd.testing.assert_frame_equal(done.rounds, pd.DataFrame(lines(folder / "rounds.jsonl")))
    assert done.metrics["step"].tolist() == list(range(10, 121, 10))
    assert list(done.metrics) == [
        "step",
        "pool_size",
        "epoch",
        "lr",
        "train_loss",
        "val_accuracy",
        "images_generated",
        "seconds",
    ]
    assert done.rounds["count"].tolist() == [60, 40, 40]
    assert {"round", "step", "count", "omega", "entropy", "fraction_wrong"} <= set(done.rounds)


@pytest.mark.parametrize("workers", [0, 2])
def test_its_pool_is_a_data_set_of_torch(folder: Path, config: Config, workers: int):
    """Read by this process, or by workers that are spawned and open the pool themselves."""
    pool = Run(folder).pool
    assert len(pool) == 140
    assert not pool.in_memory  # it has not been read as a whole yet
    context = "spawn" if workers else None
    loader = DataLoader(pool, batch_size=32, num_workers=workers, multiprocessing_context=context)
    batches = list(loader)
    assert [len(labels) for _, labels in batches] == [32, 32, 32, 32, 12]
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert x.shape == (140, *config.task.sample_shape)
    assert torch.equal(x, pool.x[:])
    assert torch.equal(y, pool.y)
    assert torch.equal(y, torch.tensor(pool.table()["label"].to_pylist()))


def test_a_row_of_its_pool(folder: Path):
    pool = Run(folder).pool
    example, label = pool[7]
    assert torch.equal(example, pool.x[7:8][0])
    assert label == pool.y[7]
    assert torch.equal(pool[-1][0], pool.x[139:][0])
    for outside in (140, -141):
        with pytest.raises(IndexError):
            pool[outside]
    some = torch.utils.data.Subset(pool, [3, 139, 3])
    assert torch.equal(torch.stack([example for example, _ in some]), pool.minibatch(torch.tensor([3, 139, 3]))[0])


def test_its_learner_is_the_one_that_was_saved(folder: Path, config: Config, data: RealData):
    learner = Run(folder).learner()
    saved = network(config, load_file(folder / "learner" / "model.safetensors"))
    x = data.test.x[:]
    with torch.no_grad():
        assert torch.equal(learner.logits(x), saved(x))
    assert accuracy(learner, data.test) == Run(folder).result["test_accuracy"]


def test_its_checkpoints_and_the_learner_at_each(folder: Path, config: Config, data: RealData):
    """One before each addition, by step."""
    done = Run(folder)
    assert [at.path.name for at in done.checkpoints] == sorted(
        path.name for path in (folder / "checkpoints").glob("step-*")
    )
    assert [at.state.rounds for at in done.checkpoints] == [1, 2]
    assert [at.state.step for at in done.checkpoints] == done.rounds["step"].tolist()[1:]
    assert [at.state.costs.generated for at in done.checkpoints] == [60, 100]
    for at in done.checkpoints:
        tensors, learner = load_file(at.path / "learner.safetensors"), done.learner(at)
        with torch.no_grad():
            assert torch.equal(
                learner.logits(data.test.x[:]), network(config, below("module.", tensors))(data.test.x[:])
            )
        assert isinstance(learner, NetworkLearner)
        assert learner.step == at.state.step  # it could go on from there


def test_its_branches_by_size(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "run")
    results = branch(tmp_path / "run")
    done = Run(tmp_path / "run")
    assert done.branches == results[:-1]
    assert [result["pool_size"] for result in done.branches] == [60, 100]
    done.files.branch(60).result.unlink()  # it was there, as the checksums tell
    with pytest.raises(
        DamagedError, match=r"000000060/result.json is missing; remove .*dp real branch .* makes it again"
    ):
        _ = done.branches
    (done.files.branch(60).path / RECORD).unlink()  # one that was stopped
    assert [result["pool_size"] for result in done.branches] == [100]


# an unfinished run


def test_an_unfinished_run_tells_what_there_is(broken: Path, config: Config, data: RealData):
    with open(broken / "metrics.jsonl", "a") as log:
        log.write('{"step": 9')  # torn
    begun = Run(broken)
    assert not begun.complete
    assert begun.result == {}
    assert begun.config == config
    assert begun.metrics["step"].tolist() == list(range(10, 91, 10))
    assert begun.rounds["count"].tolist() == [60, 40, 40]
    assert len(begun.pool) == 140
    assert [at.state.rounds for at in begun.checkpoints] == [1, 2]
    (latest,) = (broken / "checkpoints").glob("latest-*")
    weights = below("module.", load_file(latest / "learner.safetensors"))
    with torch.no_grad():
        assert torch.equal(begun.learner().logits(data.test.x[:]), network(config, weights)(data.test.x[:]))


def test_it_is_read_anew_each_time(broken: Path, folder: Path, config: Config):
    begun = Run(broken)
    before = begun.metrics
    run(config, broken, resume=True)
    assert begun.complete
    assert begun.result["test_accuracy"] == Run(folder).result["test_accuracy"]
    assert (len(before), len(begun.metrics)) == (9, 12)


def test_a_run_that_has_hardly_begun(tmp_path: Path, config: Config):
    (tmp_path / "config.toml").write_text(config.to_toml())
    begun = Run(tmp_path)
    assert not begun.complete
    assert begun.metrics.empty
    assert begun.rounds.empty
    assert begun.checkpoints == begun.branches == []
    with pytest.raises(MissingError, match=f"{tmp_path}: there is no pool yet; .* dp real resume {tmp_path}"):
        _ = begun.pool
    with pytest.raises(InputError, match=f"{tmp_path}: nothing has been learned yet; .* dp real resume {tmp_path}"):
        begun.learner()


# none


def test_a_folder_that_is_no_runs(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "thesis.txt"):
        with pytest.raises(InputError, match=f"{path} is not the folder of a run: it has no config.toml"):
            Run(path)


def test_a_configuration_that_is_not_valid_any_more(tmp_path: Path, config: Config):
    (tmp_path / "config.toml").write_text(config.to_toml().replace("[sampling]", "[sampling]\nsampler = 'old'"))
    begun = Run(tmp_path)
    with pytest.raises(InputError, match=r"config\.toml: unknown key sampling\.sampler"):
        _ = begun.config
