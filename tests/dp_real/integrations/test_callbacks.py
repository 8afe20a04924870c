"""What the callbacks for other libraries' trainers pass on; docs/guide/training.md runs them."""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from dp_real.runtime.distributed import this_process
from tests.refusals import refusal


class Steps:
    """A practice that notes what it is told."""

    def __init__(self):
        self.told, self.dataset = [], None

    def step(self, metric, model):
        self.told.append((metric, model))

    def state_dict(self):
        return {"evaluations": len(self.told)}

    def load_state_dict(self, state):
        self.told = [None] * state["evaluations"]


ON = SimpleNamespace(should_training_stop=False)


def in_transformers(practice, metrics, at, **options):
    from dp_real.integrations.transformers import KEY, PracticeCallback

    state = SimpleNamespace(global_step=at, max_steps=100, stateful_callbacks={})
    callback = PracticeCallback(practice, **options)
    for _ in range(1 if callback.monitor in metrics else 2):  # the first may be of another set
        callback.on_evaluate(None, state, ON, metrics=metrics, model="model")
    assert state.stateful_callbacks.pop(KEY) == practice.state_dict()
    callback.on_step_end(None, state, ON)  # the checkpoint before an evaluation has a state, too
    again = Steps()
    PracticeCallback(again).on_train_begin(SimpleNamespace(eval_strategy="no"), state, ON)
    assert again.state_dict() == practice.state_dict()


def in_lightning(practice, metrics, at, max_epochs=10, max_steps=-1, **options):
    from dp_real.integrations.lightning import PracticeCallback

    trainer = SimpleNamespace(
        sanity_checking=False,
        state=SimpleNamespace(fn="fit"),
        global_step=3 * at,  # of three optimizers
        max_steps=max_steps,
        current_epoch=at // 10,
        max_epochs=max_epochs,
        fit_loop=SimpleNamespace(batch_idx=at % 10 - 1),
        num_training_batches=10,
        callback_metrics=metrics,
        enable_validation=False,
    )
    callback = PracticeCallback(practice, **options)
    callback.on_train_start(trainer, "model")
    callback.on_validation_end(trainer, "model")
    assert callback.state_dict() == practice.state_dict()
    for other in ({"sanity_checking": True}, {"state": SimpleNamespace(fn="validate")}):
        PracticeCallback(None, **options).on_validation_end(SimpleNamespace(**vars(trainer) | other), "model")


@pytest.mark.filterwarnings("ignore")  # of lightning, when it is imported
@pytest.mark.parametrize(
    ("evaluated", "name"),
    [
        (in_transformers, "eval_accuracy"),
        (in_lightning, "val_acc"),
        (partial(in_lightning, max_epochs=-1, max_steps=300), "val_acc"),
    ],
)
def test_a_callback_steps_until_the_cooldown(caplog, evaluated, name):
    practice = Steps()
    evaluated(practice, {name: 0.5}, at=79)
    evaluated(practice, {name: 0.6}, at=80)
    evaluated(practice, {"loss": 2.0}, at=50, monitor="loss")
    evaluated(practice, {"error": 1.0}, at=50, monitor="error", mode="min")
    evaluated(practice, {"loss": 1.0}, at=60, monitor="loss", until=np.float32(0.5))
    assert practice.told == [(0.5, "model"), (-2.0, "model"), (-1.0, "model")]
    with refusal(f"monitor = '{name}': .*(evaluated|logged are) loss"):
        evaluated(practice, {"loss": 1.0}, at=1)
    assert "the practice adds nothing without" in caplog.text


def test_the_trainer_evaluates_other_sets_too():
    """Those of a dict by turns, and any when it has trained or stopped early."""
    from dp_real.integrations.transformers import PracticeCallback

    practice = Steps()
    callback = PracticeCallback(practice, monitor="eval_b_accuracy")
    during = [(10, "eval_a"), (10, "eval_b"), (20, "eval_a"), (20, "eval_b")]
    for step, name in [*during, (100, "test"), (100, "test"), (30, "eval_b"), (30, "test"), (30, "test")]:
        state = SimpleNamespace(global_step=step, max_steps=100, stateful_callbacks={})
        control = SimpleNamespace(should_training_stop=step > 20)
        callback.on_evaluate(None, state, control, metrics={f"{name}_accuracy": step}, model="model")
    assert practice.told == [(10, "model"), (20, "model")]


@pytest.mark.filterwarnings("ignore")  # of lightning, when it is imported
@pytest.mark.parametrize("options", [{"mode": "maximum"}, {"until": 80}, {"until": "x"}, {"until": float("nan")}])
@pytest.mark.parametrize("library", ["lightning", "transformers"])
def test_what_a_callback_cannot_mean_is_told_when_it_is_made(library, options):
    (name,) = options
    with refusal(f"{name} = .*: should be"):
        import_module(f"dp_real.integrations.{library}").PracticeCallback(Steps(), **options)


@pytest.mark.parametrize(("columns", "own"), [(None, False), (None, True), (("text", "labels"), False)])
def test_the_trainers_own_collators_need_names_of_columns(columns, own):
    from transformers import default_data_collator

    from dp_real.integrations.transformers import PracticeCallback

    dataset = SimpleNamespace(columns=columns)
    collate = SimpleNamespace(data_collator=dict if own else default_data_collator)  # it removes unused columns
    begin = PracticeCallback(SimpleNamespace(dataset=dataset)).on_train_begin
    state, loader = SimpleNamespace(stateful_callbacks={}), SimpleNamespace(dataset=dataset, collate_fn=collate)
    with nullcontext() if columns or own else refusal("columns = None: should be"):
        begin(SimpleNamespace(eval_strategy="epoch"), state, ON, train_dataloader=loader)


LIGHTNING = """
import sys, torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from dp_real import Practice
from dp_real.integrations.lightning import PracticeCallback
from tests.dp_real.practice.small import Sampler, net

class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())

keys = {"initial": 30, "increment": 12, "patience": 1, "min_delta": 1.0}
practice = Practice(Sampler(), "a b c".split(), "practice", shape=(4,), **keys)
validation = DataLoader(TensorDataset(torch.randn(30, 4), torch.arange(30) % 3), 10)
alone = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
trainer = Trainer(
    max_epochs=4, accelerator="cpu", devices=2, strategy="ddp", callbacks=[PracticeCallback(practice)], **alone
)
trainer.fit(Classifier(), DataLoader(practice.dataset, 10, shuffle=True), validation)
print(f"rank {trainer.global_rank}: {practice!r}, of class 2 {practice.pool.y.tolist().count(2)}", flush=True)
trainer.strategy.barrier()  # the first that ends takes the others' store with it
"""


def test_a_process_that_lightning_started_has_its_rank_before_its_group(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    for name, value in {"NODE_RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert this_process()[:2] == (1, 1)


@pytest.mark.slow
def test_lightning_starts_the_other_processes_when_a_practice_has_begun(tmp_path):
    """It runs the program once more for each, without RANK, and starts their group in `fit`."""
    (tmp_path / "script.py").write_text(LIGHTNING)
    path = os.pathsep.join([os.getcwd(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    command, env = [sys.executable, "script.py"], os.environ | {"PYTHONPATH": path}
    said = subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=300, capture_output=True, text=True)
    # their lines may stand in one
    ranks = re.findall(r"rank (\d): Practice\([^)]*: 54 samples, 3 rounds\), of class 2 18", said.stdout)
    assert sorted(ranks) == ["0", "1"], said.stdout + said.stderr
