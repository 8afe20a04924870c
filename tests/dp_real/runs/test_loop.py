"""Algorithm 1 against a scripted learner: when it asks for data, how much, and when it no longer does."""

import tomllib
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from dp_real.config import parse_config
from dp_real.data.examples import Examples, RealData
from dp_real.pool import Pool
from dp_real.practice.rounds import Rounds, steer
from dp_real.runs.loop import LoopState, TrainingLoop
from tests.dp_real.conftest import changed


def scripted_learner():
    """Its validation accuracy follows a script; everything else is constant."""
    learner = Mock(learning_rate=0.1, logits=lambda x: torch.tensor([[1.0, 0, 0]]).expand(len(x), 3))
    learner.row_flops.return_value = 0
    learner.drain_loss.return_value = 1.0
    return learner


def zeros(labels, seeds, guidance):
    """Samples of nothing but zeros, at a known cost."""
    return (torch.zeros(len(labels), 8) @ torch.zeros(8, 3)).view(-1, 3, 1, 1)


FLOPS = 2 * 8 * 3  # of a row


class Notebook(Mock):
    """Notes what a run's folder would be given."""

    latest = ()

    def rows(self, kind):
        return [call.args[0] for call in getattr(self, kind).call_args_list]

    @property
    def added(self):
        return [row["step"] for row in self.rows("addition")]

    def checkpoint(self, state, learner, pool, keep):
        self.latest = self.latest if keep else (*self.latest, state.step)


SCRIPTED = tomllib.loads("""
name = "scripted"
data = { source = "folder", validation = "nowhere", classes = ["a", "b", "c"], size = 1 }
generator = { kind = "denoiser" }
learner = { kind = "mlp" }
sampling = { block_size = 4 }
training = { steps = 100, batch_size = 5 }
practice = { initial = 9, increment = 6, additions = 3, patience = 2, evaluate_every = 10 }
""")


def run(tmp_path, accuracies=(0.5,) * 10, warmup=0.1, shares=(300, 300, 300), **plan):
    """A run of 100 steps, cool-down from step 80, evaluated every 10; a pair is (accuracy, balanced accuracy)."""
    config = changed(parse_config(SCRIPTED), training={"warmup": warmup}, practice=plan)
    script = (each if isinstance(each, tuple) else (each, each) for each in [*accuracies, *[0.0] * 20])
    notebook = Notebook(**{"stop_requested.return_value": False})
    pool = Pool(tmp_path / "pool", config.task.sample_shape)
    labels = torch.arange(3).repeat_interleave(torch.tensor(shares))
    validation = Examples(torch.zeros(len(labels), 3, 1, 1), labels)  # chance: .333, its error of 900 .016
    rounds = Rounds(config, pool, tmp_path / "drawing", Mock(**{"sample.side_effect": zeros}))
    data = RealData(config.task, None, validation, validation)
    practice = TrainingLoop(config, pool, LoopState(100), rounds, scripted_learner(), data, notebook)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dp_real.runs.loop.accuracies", lambda *_: next(script))
        patch.setattr("dp_real.runs.loop.has_collapsed", lambda *_: False)
        practice.run()
    return notebook, practice


def test_data_is_added_when_patience_runs_out_and_patience_starts_anew(tmp_path):
    # best .5 at step 10; steps 20, 30 do not beat it -> add at 30; 40 rises; 50, 60 are equal -> add at 60
    notebook, practice = run(tmp_path, [0.5, 0.5, 0.4, 0.6, 0.6, 0.6, 0.7, 0.8, 0.8, 0.8])
    assert notebook.added == [0, 30, 60]
    assert [row["pool_size"] for row in notebook.rows("evaluation")] == [9] * 3 + [15] * 3 + [21] * 4
    assert practice.state.best == 0.8


def test_nothing_is_added_in_the_cooldown_or_beyond_the_plan(tmp_path):
    notebook, _ = run(tmp_path, patience=1)
    assert notebook.added == [0, 20, 30, 40]  # three additions, then none
    notebook, _ = run(tmp_path / "late", patience=7)
    assert notebook.added == [0]  # patience runs out at step 80, where cool-down begins


def test_rounds_are_class_balanced_drawn_in_blocks_and_guided_after_the_first(tmp_path):
    notebook, practice = run(tmp_path, patience=1)
    calls = [call.args for call in practice.rounds.generator.sample.call_args_list]
    assert [len(labels) for labels, *_ in calls] == [4, 4, 1] + [4, 2] * 3
    assert [guidance is None for *_, guidance in calls] == [True] * 3 + [False] * 6
    assert torch.bincount(practice.pool.y).tolist() == [9, 9, 9]
    assert notebook.rows("addition")[-1]["fraction_wrong"] == pytest.approx(2 / 3)
    assert len(np.unique(practice.pool.table()["seed"].to_numpy())) == 27
    assert practice.state.epoch == pytest.approx(20 * 5 / 9 + 10 * 5 / 15 + 10 * 5 / 21 + 60 * 5 / 27)
    assert practice.learner.train_step.call_count == 100


def test_incremental_patience_grows_with_the_pool(tmp_path):
    # T_max 1 at 9 rows, 1.67 -> 2 at 15, 2.33 -> 2 at 21
    notebook, practice = run(tmp_path, patience=1, patience_growth=1.0)
    assert notebook.added == [0, 20, 40, 60]
    assert practice.config.practice.t_max(2) == 1  # of a pool that lost most of its first examples


LUCKY = (0.89, 0.33), (0.7, 0.5), (0.72, 0.6)


@pytest.mark.parametrize(
    ("watch", "shares", "script", "steps"),
    [
        # all like the first class, until the learner begins to learn: that accuracy is no best one
        ("accuracy", (800, 50, 50), [*LUCKY, (0.8, 0.72), (0.85, 0.74), 0.7, 0.7], [0, 70]),
        ("accuracy", (300, 300, 300), LUCKY, [0, 30, 50, 70]),  # as the paper says
        ("balanced", (300, 300, 300), LUCKY, [0, 50, 70]),
    ],
)
def test_patience_watches_what_it_is_told_and_no_lucky_accuracy_of_unequal_classes(
    tmp_path, watch, shares, script, steps
):
    notebook, _ = run(tmp_path, script, shares=shares, watch=watch)
    assert notebook.added == steps


def test_additions_in_warmup_wait_for_a_learner_that_knows_something(tmp_path):
    script = [0.34, 0.34, 0.34, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7]
    for in_warmup, steps in ((False, [0, 70]), (True, [0, 50, 70])):
        notebook, _ = run(tmp_path / str(in_warmup), script, 0.6, patience=1, additions=2, in_warmup=in_warmup)
        assert notebook.added == steps


def test_costs_are_counted_between_additions_and_in_all(tmp_path):
    notebook, practice = run(tmp_path, patience=1)
    rows, state = notebook.rows("addition"), practice.state
    costs = [[row[name] for name in ("flops", "denoiser_forwards", "denoiser_backwards")] for row in rows]
    assert costs == [[9 * FLOPS, 9 * 20, 0], *[[6 * FLOPS, 6 * 20, 6 * 19]] * 3]
    assert [state.costs[name] for name in ("flops", "forwards", "backwards")] == np.sum(costs, 0).tolist()
    assert [row["training_flops"] for row in rows] == [0] * 4  # no network
    assert sum(row["training_seconds"] for row in rows) == pytest.approx(state.training_seconds)
    assert state.training_seconds < state.seconds - state.generation_seconds  # what followed the last addition
    assert min(row["training_seconds"] for row in rows) >= 0


def test_new_rows_are_drawn_as_often_as_asked(tmp_path):
    _, practice = run(tmp_path, patience=1, additions=1, new_sample_weight=4.0)
    rows = torch.cat([practice.batches.at(step) for step in range(4000)])
    counts = torch.bincount(rows, minlength=15).double()
    expected = 20_000 / (9 + 4 * 6) * torch.tensor([1.0] * 9 + [4.0] * 6)
    assert ((counts - expected).abs() < 5 * expected.sqrt()).all()


def test_automatic_strength_moves_towards_its_target():
    cases = (0.2, 0.4, 0.4), (0.2, 0.3, 0.4), (0.2, 0, 0.4), (0.2, 1, 0.2), (1.4, 0.1, 0.4), (0.024, 1, 0.4)
    assert [steer(*case) for case in cases] == pytest.approx([0.2, 0.2 * (4 / 3) ** 0.5, 0.4, 0.1, 1.6, 0.02])


def test_checkpoints_come_at_their_interval(tmp_path, patch):
    patch("dp_real.runs.loop.CHECKPOINT_EVERY", 3)
    notebook, _ = run(tmp_path, additions=0)
    assert notebook.latest == (0, 30, 60, 90, 100)  # and at the end, before anything else can fail
