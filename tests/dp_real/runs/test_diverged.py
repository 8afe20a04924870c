"""Numbers that stop being finite end a run in one line that names step and key; nothing of them is kept."""

import tomllib
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dp_base.errors import DivergedError
from dp_real import Pool, Run, run
from dp_real.data.examples import Examples
from dp_real.evaluate.assess import accuracies, chance, is_imbalanced, standard_error
from dp_real.generators import trained
from dp_real.generators.models import denoiser
from dp_real.practice.rounds import Rounds
from dp_real.runs.files import RunFiles
from dp_real.runs.folder import RunFolder
from dp_real.runs.loop import LoopState, has_collapsed
from dp_real.runs.prepare import fresh_learner
from dp_real.runtime import resumable
from dp_real.runtime.computing import require_samples
from dp_real.runtime.seeds import next_seeds, row_seeds
from tests.dp_real.conftest import changed
from tests.dp_real.runs.folders import stopped_at
from tests.refusals import refusal


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            "training.learning_rate=1e30",
            r"step 10: training losses .* training.learning_rate, .*_decay.*rounds-0001",
        ),
        (
            "guidance.scale=raw guidance.omega=1e30",
            r"round 1: 32 of 32 samples are not finite: lower guidance.omega = 1e\+30; .*rounds-0001",
        ),
        ("sampling.guidance_scale=1e38", r"step 0: round 0: .* sampling.guidance_scale = 1e\+38; .*run has no"),
    ],
)
def test_a_run_that_diverges_says_where_and_why_and_keeps_what_was_good(config, generator, tmp_path, settings, said):
    out = tmp_path / "run"
    with refusal(said, DivergedError):
        run(changed(config, *settings.split()), out)
    assert not (out / "result.json").exists()
    for weights in out.glob("checkpoints/*/learner.safetensors"):
        assert all(value.isfinite().all() for value in load_file(weights).values())
    if (out / "pool").exists():
        assert Pool(out / "pool", config.task.sample_shape, 1).x[:].isfinite().all()


def test_of_an_automatic_strength_the_aim_is_to_be_lowered(config):
    automatic = changed(config, "guidance.omega=auto")
    assert automatic.sample_remedy(guided=True) == "lower guidance.wrong_share = 0.2"


def test_a_learner_that_falls_back_to_chance_ends_the_run(config, generator, tmp_path, patch):
    """Its loss is finite, but patience would buy samples that are hard for a dead learner."""
    accuracies = iter([(0.1, 0.5), (0.9, 0.8), (0.9, 0.11), (0.9, 0.1)])
    patch("dp_real.runs.loop.accuracies", lambda *_: next(accuracies))
    said = r"step 30: the mean of .* accuracies fell from 80.0% to 11.0%, which is chance: lower .*max_grad_norm"
    with refusal(said + ".*the last good checkpoint stays", DivergedError):
        run(config, tmp_path)
    assert stopped_at(tmp_path) < 30


def test_examples_that_are_all_right_leave_an_error_bar():
    variances = 0.25 * 0.75, 0.005 * 0.995, 0.005 * 0.995
    assert [standard_error(share, 100) ** 2 for share in (0.25, 0.0, 1.0)] == pytest.approx(
        [v / 100 for v in variances]
    )


@pytest.mark.parametrize(
    ("accuracy", "best", "examples", "collapsed"),
    [
        (0.13, 0.9, 100, True),
        (0.2, 0.9, 100, False),
        (0.1, 0.25, 1000, False),
        (0.1, -1.0, 100, False),
        (0.9, 0.9, 100, False),
        (0.1, 0.5, 10, False),  # of ten examples, that is what chance gives
    ],
)
def test_what_counts_as_a_collapse(accuracy, best, examples, collapsed):
    assert has_collapsed(accuracy, best, 0.1, 6 * standard_error(0.1, examples)) == collapsed


@pytest.mark.parametrize(
    ("counts", "error", "unequal"),
    [
        ([50, 50], 0.05, False),
        ([40, 10, 9], (2 / 9 * (1 / 40 + 1 / 10 + 1 / 9)) ** 0.5 / 3, True),
    ],
)
def test_chance_of_unequal_classes(counts, error, unequal):
    y = 1 + torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))  # a class that is not there counts not
    examples = Examples(torch.empty(0), y)
    assert chance(examples) == pytest.approx((1 / len(counts), error))
    assert is_imbalanced(examples) == unequal


UNEQUAL = tomllib.loads("""
name = "unequal"
training = { steps = 60, batch_size = 16, learning_rate = 0.01 }
guidance = { omega = 0 }
practice = { initial = 40, increment = 20, additions = 2, evaluate_every = 5 }
""")


def test_unequal_classes_are_told_and_end_no_run(tmp_path, caplog):
    """Nine of ten are of one class: what is right about nine of ten knows nothing."""

    def draw(y, generator):
        return torch.stack([y - 0.5, 0 * y], 1) * 3 + torch.randn(len(y), 2, generator=generator)

    y = (torch.arange(500) >= 450).long()
    real = draw(y, torch.Generator().manual_seed(1)), y
    torch.manual_seed(1)
    always_0 = nn.Sequential(nn.Linear(2, 2), nn.Threshold(1e9, 0.0))
    for watch, learner, said in (
        ("accuracy", nn.Linear(2, 2), "90% of 500"),
        ("balanced", always_0, f"{tmp_path / 'balanced'} ends at chance, as far as 500 validation examples tell"),
    ):
        practice = UNEQUAL["practice"] | {"watch": watch}
        caplog.clear()
        given = {"learner": learner, "generator": draw, "data": {"validation": real, "test": real}}
        run(UNEQUAL | {"practice": practice}, tmp_path / watch, **given)
        assert [record.getMessage()[: len(said)] for record in caplog.records] == [said]


def test_a_checkpoint_never_has_weights_that_are_not_finite(config, tmp_path):
    learner = fresh_learner(config)
    learner.parameters[0].data[0] = torch.inf
    folder = RunFolder(RunFiles(tmp_path), lambda steps: None)
    with refusal("weights are not finite", DivergedError):
        folder.checkpoint(LoopState(10), learner, Pool(tmp_path / "pool", (1, 8, 8)), keep=False)
    assert not list(tmp_path.iterdir())


def test_gradients_are_shortened_on_request_only(config):
    def moved(*settings):
        learner = fresh_learner(changed(config, *settings))
        before = [weight.clone() for weight in learner.parameters]
        for _ in range(2):
            learner.train_step(torch.ones(4, 1, 8, 8), torch.arange(4))
        return sum((weight - old).norm().item() for weight, old in zip(learner.parameters, before, strict=True))

    assert moved() == moved("training.max_grad_norm=0") > 0.01
    assert 0 < moved("training.max_grad_norm=1e-14") < 1e-6  # far below Adam's epsilon


# generators


@pytest.mark.parametrize(
    ("hides", "said"),
    [
        (None, r"step 3: losses are not finite: the examples that it learns are at fault"),
        ("losses", "weights of the generator"),
        ("samples", "of one value throughout"),
    ],
)
def test_a_generator_of_no_use_is_not_cached(own_cache, config, data, monkeypatch, patch, hides, said):
    """Its losses are not finite, or these are, but its weights are broken, or all its samples alike."""
    if hides == "losses":
        true = resumable.require_finite
        patch("dp_real.runtime.resumable.require_finite", lambda what, *of: "losses" in what or true(what, *of))
    if hides == "samples":
        patch(denoiser.DenoiserGenerator, "sample", lambda self, y, *_: torch.zeros(len(y), 1, 8, 8))
    rate = 2e-3 if hides == "samples" else 1e30
    sizes = trained.DenoiserSizes(8, 1, 3 if hides is None else 4, rate)
    monkeypatch.setitem(trained.DENOISERS, "light", sizes)
    with refusal(said, DivergedError):
        config.generator.load(config.sampling, config.data, data)
    assert not [*own_cache.rglob("depends.json")]


def test_vectors_may_be_of_one_value():
    require_samples(torch.zeros(4, 5), "round 1", "lower it")


def broken_images(config, monkeypatch, rows, guided):
    """A generator whose images of the rows of the first round, or the first guided one, come out broken so often."""
    bad = set()
    for row, times in rows.items():
        seeds = row_seeds(config.seed, int(guided), [row])
        for _ in range(times):
            bad.add(int(seeds[0]))
            seeds = next_seeds(seeds)
    sample = denoiser.DenoiserGenerator.sample

    def breaks(self, labels, seeds, *rest):
        x = sample(self, labels, seeds, *rest)
        for index, seed in enumerate(seeds.tolist()):
            if seed in bad:
                x[index] = 0.25 if index % 2 else torch.nan
        return x

    monkeypatch.setattr("dp_real.generators.models.denoiser.DenoiserGenerator.sample", breaks)


@pytest.mark.parametrize("guided", [False, True])
def test_an_image_of_no_use_is_drawn_again_counted_and_drawn_so_on_resuming(
    config, unbroken, tmp_path, monkeypatch, guided
):
    broken, stopped = (tmp_path / name for name in ("broken", "stopped"))
    broken_images(config, monkeypatch, {3: 1, 20: 2}, guided)
    result = run(config, broken)
    assert (result["samples_redrawn"], result["samples_generated"]) == (3, 140 + 3)
    assert Run(broken).rounds["redrawn"].tolist() == ([0, 3, 0] if guided else [3, 0, 0])
    pools = [Run(folder).pool for folder in (unbroken, broken)]
    begin = config.practice.initial if guided else 0
    plain, redrawn = (pool.x[begin : begin + 32] for pool in pools)
    assert (plain != redrawn).flatten(1).any(1).nonzero().flatten().tolist() == [3, 20]
    assert all(pool.x[:].isfinite().all() for pool in pools)

    kept = Rounds._block
    with monkeypatch.context() as dies:
        dies.setattr(Rounds, "_block", lambda self, *rest: kept(self, *rest) and 1 / 0)  # once one is kept
        with pytest.raises(ZeroDivisionError):
            run(config, stopped)
    assert run(config, stopped, resume=True)["samples_redrawn"] == 3
    assert Run(stopped).pool.x[:].equal(pools[1].x[:])


@pytest.mark.parametrize("rows", [{row: 1 for row in range(4)}, {5: 4}])
def test_many_images_of_no_use_or_one_that_stays_so_end_the_run(config, generator, tmp_path, monkeypatch, rows):
    """4 of a block's 32 are more than a tenth; the fifth row is broken in all of its four tries."""
    broken_images(config, monkeypatch, rows, guided=False)
    with refusal(rf"round 0: {(len(rows) + 1) // 2} of 32 samples are ", DivergedError):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run/pool").exists()


def test_a_validation_image_with_a_logit_that_is_not_finite_ends_the_run():
    broken = SimpleNamespace(precision="float32", logits=lambda x: torch.full((len(x), 10), torch.nan))
    with refusal("logits are not finite", DivergedError):
        accuracies(broken, Examples(torch.zeros(3, 1, 8, 8), torch.arange(3)))
