"""generator.kind = "function": what it accepts and refuses, and practice that chooses among its samples."""

import importlib
import sys
from functools import partial

import numpy as np
import pytest
import torch

from dp_base.errors import InputError, MissingError
from dp_real import Run, run
from dp_real.config import parse_config
from dp_real.config.arms import arm_config
from dp_real.generators.function import UserGenerator, unguided
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.plan import forecast
from dp_real.plan.needs import needs
from dp_real.practice.rounds import MIN_ROWS
from dp_real.runs.identity import drawing_identity, input_digests
from dp_real.runs.prepare import load_generator
from tests.dp_real.conftest import SMALL, changed
from tests.refusals import refusal

HERE, NUMBER, K = __name__, 3, 4
OMEGA = "guidance.omega=30"


def noisy_bars(labels, seeds):
    """A bar for the class, under noise of the row's own strength, so that some samples are harder than others."""
    rows = []
    for label, seed in zip(labels, seeds, strict=True):
        rng = np.random.default_rng(seed)
        x = -np.ones((1, 8, 8))
        x[0, label % 5 : label % 5 + 4, :4] = 1 if label < 5 else 0
        rows.append(np.clip(x + rng.uniform(0, 2) * rng.standard_normal(x.shape), -1, 1))
    return np.stack(rows)


BARS = {"generator": {"kind": "function", "call": f"{HERE}:noisy_bars"}, "guidance": {"candidates": K}}
configured = partial(changed, parse_config(SMALL | BARS | {"sampling": {"block_size": 32}}))


def rounds(config, folder):
    run(config, folder)
    return Run(folder)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    return rounds(configured(OMEGA), tmp_path_factory.mktemp("runs") / "chosen")


def test_choosing_gives_harder_rows_than_the_control_at_the_same_cost(chosen, tmp_path):
    control = rounds(arm_config(configured(OMEGA), "practice-unguided"), tmp_path / "control")
    for counted in ("generated", "denoiser_forwards", "denoiser_backwards", "flops"):
        assert chosen.rounds[counted].tolist() == control.rounds[counted].tolist()
    assert chosen.rounds["generated"].tolist() == [60, 40 * K, 40 * K]
    assert chosen.rounds["denoiser_forwards"].tolist() == [0, 0, 0]
    assert forecast.images(chosen.config) == (60 + 2 * 40 * K, 0)
    assert chosen.rounds["entropy"][0] == control.rounds["entropy"][0]
    assert chosen.rounds["entropy"][1] > 1.2 * control.rounds["entropy"][1]  # of the same learner and candidates


def test_rows_do_not_depend_on_the_sharing_into_blocks(chosen, tmp_path):
    other = rounds(configured(OMEGA, "sampling.block_size=7"), tmp_path)
    assert chosen.pool.table()["seed"].to_pylist() == other.pool.table()["seed"].to_pylist()


def test_an_automatic_strength_moves(tmp_path):
    """After each part of the first chosen round, then after each round."""
    automatic = rounds(configured(), tmp_path)
    sizes = automatic.rounds["count"].tolist()
    plain, first, later = np.split(automatic.pool.table()["omega"].to_numpy(), np.cumsum(sizes)[:2])
    assert set(plain) == {0}
    assert set(first[:MIN_ROWS]) == {5}
    assert 5 not in first[MIN_ROWS:]
    assert len(set(later[: sizes[2]])) == 1
    assert later[0] not in first


def named(call):
    """Its function is looked for when it is loaded only."""
    return configured(f"generator.call={call}")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("no.such.module:draw", MissingError, "ModuleNotFoundError: No module named 'no'; it should name a function"),
        ("leaving_script:draw", MissingError, "SystemExit: 0; it should name a function"),
        (f"{HERE}:NUMBER", InputError, "is of type int: should be a function"),
    ],
)
def test_what_is_no_function_is_named_by_a_run_and_its_plan(call, error, message, tmp_path, monkeypatch):
    (tmp_path / "leaving_script.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=f"^generator.call = '{call}'.*{message}") as caught:
        load_generator(named(call))
    assert {need.what: need.problem for need in needs(named(call), tmp_path)}["generator"] == str(caught.value)


def test_a_module_of_that_name_in_another_folder_is_not_taken_for_it(tmp_path):
    """As in a notebook that reads the files of two tasks."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "twin_renderer.py").write_text("draw = print\n")
    twin = "generator.call=twin_renderer:draw"
    load_generator(configured(twin, f"generator.folder={one}"))
    with refusal(f"'twin_renderer:draw' is that of {one}/.*, not of {other}/.*: rename"):
        load_generator(configured(twin, f"generator.folder={other}"))


LABELS, SEEDS = torch.zeros(2, dtype=torch.int64), np.array([70, 71], np.uint64)


def asked(function, guidance=None):
    return UserGenerator(unguided(function, "f"), "f", configured().data).sample(LABELS, SEEDS, guidance)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0.0], "gave a list: should be an array"),
        (np.zeros((2, 8, 8)), r"gave shape \[2, 8, 8\] for 2 labels: should be \[2, 1, 8, 8\]"),
        (np.zeros((2, 1, 8, 8), np.uint8), "gave uint8: should be floats"),
        (np.full((2, 1, 8, 8), 1.1), r"gave values from 1.1 to 1.1: should be in \[-1, 1\]"),
    ],
)
def test_what_is_no_image_is_refused(given, message):
    with refusal(f"^f {message}"):
        asked(lambda labels, seeds: given)


def test_arrays_become_float32_and_the_function_may_change_its_own():
    def shifts(labels, seeds):
        labels += 1
        seeds %= 7
        return torch.full((2, 1, 8, 8), 1.001, dtype=torch.float16)

    assert asked(shifts).dtype == asked(noisy_bars).dtype == torch.float32
    assert (LABELS.tolist(), SEEDS.tolist()) == ([0, 0], [70, 71])
    with refusal("gives no gradient"):
        asked(noisy_bars, EntropyGuidance(lambda x: x, 0.1))


def test_a_function_that_ends_the_process_is_named():
    with refusal(r"^f raised SystemExit: 0 \(.*test_function.py, line"):
        asked(lambda labels, seeds: sys.exit(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("guidance.candidates=1", "no denoiser to guide: set guidance.candidates to at least 2"),
        ("sampling.guidance_scale=2", "sampling.guidance_scale must be 1"),
        ("guidance.window=[0.2,1] guidance.every=2", "leave out window, every: candidates = 4"),
        ("guidance.omega=0 practice.oversample=2", "must be 1"),
        ("data={source='text',validation='t',classes=['a','b']}", "arrays$"),
        ("generator.call=os.path", "generator.call = 'os.path'"),
        (
            "guidance.candidates=1 guidance.every=2 guidance.x=1 sampling.guidance_scale=2 generator.prompts=['{}']",
            r"key generator.prompts; .* key guidance.x; .*candidates to at least 2, leave out guidance.every, or omega"
            r".*guidance_scale must be 1; dp real init NAME --kind function --from FOLDER writes a file that fits",
        ),
    ],
)
def test_keys_that_do_not_apply_are_refused(settings, message):
    with refusal(message):
        configured(*settings.split())


def test_the_pruning_arms_prune_plain_samples():
    pruned = arm_config(configured(), "prune-in-loop")
    assert (pruned.guidance.candidates, pruned.practice.oversample) == (1, 5)


def test_the_code_of_a_module_that_is_not_imported_counts(tmp_path, monkeypatch):
    """Or a run of another process would share rows that an earlier version of the function made."""
    monkeypatch.syspath_prepend(tmp_path)
    config = named("a_renderer:draw")
    assert config.generator.code_digest() == ""
    drawn = []
    for version in (1, 2):
        (tmp_path / "a_renderer.py").write_text(f"VERSION = {version}\n")
        importlib.invalidate_caches()
        drawn.append(drawing_identity(config, input_digests(config, None)))
    assert "a_renderer" not in sys.modules
    assert drawn[0] != drawn[1]
