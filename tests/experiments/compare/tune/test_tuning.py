"""Equal tuning: what is searched for which arm, how trials are chosen and judged, and `dp real tune` as a whole."""

import json
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
from dp_experiments.compare.tune import tune as tuning
from dp_experiments.compare.tune.space import at_end, own_parameters, read_searches, settings_of, space_of
from dp_experiments.compare.tune.tune import Plan, tune
from dp_experiments.compare.tune.tuned import Tuned, with_settings
from dp_experiments.presets.presets import load_preset
from dp_experiments.studies.digits.source import DigitsConfig
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dp_base.errors import DivergedError
from dp_real.config import load_config
from dp_real.config.arms import arm_config
from dp_real.generators import GeneratorConfig
from dp_real.practice.section import flat
from dp_real.runs.identity import drawing_identity
from tests.commands import done, told
from tests.refusals import refusal
from torture.attempt import SMALL


def space(arm, *searches, preset="digits", settings=()):
    """What is searched for an arm of a preset."""
    return space_of(load_preset(preset, settings), arm, read_searches(searches))


def test_each_arm_searches_what_it_has():
    guided, loop, static = (set(space(arm)) for arm in ("practice", "practice-unguided", "static"))
    assert guided - static == {"guidance.wrong_share", "guidance.window", "guidance.every"}
    assert loop == static
    assert {"training.crop", "training.steps", "sampling.guidance_scale", "training.mixup"} <= static
    assert set(space("practice", settings=["guidance.candidates=5"])) - static == {"guidance.wrong_share"}
    fixed = set(space("practice", settings=["guidance.omega=0.02"]))
    assert fixed - static == {"guidance.omega", "guidance.window", "guidance.every"}
    searches = "practice.patience=1:4", "guidance.omega=0.01:0.1:log"
    assert set(space("practice", *searches)) - fixed == {"practice.patience"}
    assert set(space("practice-unguided", *searches)) - loop == {"practice.patience"}
    assert set(space("static", *searches)) == static
    with refusal("arm probe trains no learner of the configuration"):
        space("probe")


def test_randaugment_is_searched_where_its_library_is(patch):
    key = "training.randaugment"
    patch("dp_experiments.compare.tune.space.find_spec", {"kornia": object()}.get)
    assert space("static")[key] == CategoricalDistribution(["0", "1", "2"])
    patch("dp_experiments.compare.tune.space.find_spec", dict().get)
    assert key not in space("static")
    assert key in space("static", f"{key}=[1]")  # a user's own search is never left out


def test_the_number_of_prompts_is_searched_where_there_are_several():
    key = "generator.prompts_per_class"
    assert key not in space("static", preset="imagenet100")
    three = ['generator.prompts=["{}", "a {}", "many a {}"]']
    for arm in ("practice", "static"):
        found = space(arm, preset="imagenet100", settings=three)
        assert found[key] == CategoricalDistribution(["0", "1", "2"])


def test_texts_have_searches_of_their_own():
    practice, static = (set(space(arm, preset="words")) for arm in ("practice", "static"))
    assert practice - static == {"guidance.omega", "guidance.likelihood_weight"}
    assert static >= {"training.label_smoothing", "generator.temperature", "pool.soft_labels"}
    assert not [key for key in static if "crop" in key or "mix" in key or "guidance_scale" in key]
    with refusal(r"--search training\.mixup=.*is for images"):
        space("static", "training.mixup=[0.2]", preset="words")


def test_ranges_are_of_the_keys_own_kind():
    found = space("static", "training.steps=x0.5:x2:log", "training.mixup=0:1", "training.crop=[0, 0.5]")
    assert found["training.steps"] == IntDistribution(2000, 8000, log=True)
    assert found["training.mixup"] == FloatDistribution(0, 1)
    assert found["training.crop"] == CategoricalDistribution(["0", "0.5"])
    ends = {"training.steps": {8000: "highest", 7900: "highest", 4000: None, 2010: "lowest"}}
    ends |= {"training.mixup": {0.99: "highest", 0.0: None}, "training.crop": {"0": None}}
    assert {key: {value: at_end(found[key], value) for value in values} for key, values in ends.items()} == ends


@pytest.mark.parametrize("preset", ["digits", "imagenet100-smoke"])
@pytest.mark.parametrize("arm", ["practice", "static"])
def test_the_first_trial_is_the_presets_own(preset, arm):
    config, searched = load_preset(preset), space(arm, preset=preset)
    assert with_settings(config, settings_of(searched, own_parameters(config, searched))) == config


def test_the_first_trial_is_as_near_as_the_space_has():
    searches = "training.learning_rate=0.01:0.1", "guidance.every=[2, 5]", "guidance.omega=0.01:0.1"
    searched = space("practice", *searches)
    own = settings_of(searched, own_parameters(load_preset("digits"), searched))
    assert (own["training.learning_rate"], own["guidance.every"], own["guidance.omega"]) == (0.01, 2, 0.01)


def test_what_an_arms_name_sets_is_not_searched_and_no_search_changes_how_many_samples_it_makes():
    found = space("practice@training.learning_rate=0.01@guidance.omega=0.02")
    assert not {"training.learning_rate", "guidance.omega", "guidance.wrong_share"} & found.keys()
    assert "guidance.every" in found
    with refusal("it changes how many samples practice makes; name the arm practice-N"):
        space("practice", "practice.increment=[300]")
    assert "practice.increment" in space("practice-1000", "practice.increment=[300]")
    with refusal("additions: it follows from 1000 samples"):
        space("practice-1000", "practice.additions=[3]")
    prune = arm_config(load_preset("digits"), "prune-once", {"practice.oversample": 2})
    assert ("practice.oversample" in space("covariance"), prune.practice.oversample) == (True, 2)
    chosen = space("practice", settings=["guidance.candidates=4"])
    assert space("practice@guidance.candidates=4").keys() == chosen.keys()


# -- the choice of trials, with runs that are only a formula ----------------------------------------------------------

PLAN = Plan(("practice", "static"), {}, seeds=2, splits=1, first=0, batch=3)


@pytest.fixture
def search(tmp_path, patch):
    """Tunes with pretended runs, and returns the best of each arm and all trials.

    accuracy: of validation, by the configuration, the folder and what is shared.
    """

    def search(accuracy, trials=5, plan=PLAN, name="out"):
        def run(config, out, **options):
            assert options["test"] is False
            assert config.data.split == 0
            return {"val_accuracy": accuracy(config, out, options["shared"]), "seconds": 1.0}

        patch(tuning, "run", run)
        patch(tuning, "load_generator", lambda config: None)
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        best = tune(load_preset("digits"), plan, trials, out, 1)
        return best, pd.read_csv(out / "trials.csv")

    return search


def smooth(config, *_):
    """The best settings are known: label smoothing .2; and .1 more for seed 1."""
    return 0.5 - abs(config.training.label_smoothing - 0.2) + 0.1 * config.seed


def test_a_generator_that_is_of_no_use_is_told_before_any_trial(tmp_path, monkeypatch):
    """Each trial would train it again, and fail."""
    useless = Mock(side_effect=DivergedError("its images are not finite"))
    monkeypatch.setattr("dp_real.generators.models.denoiser.try_out", useless)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "out").mkdir()
    with refusal("^its images are not finite$", DivergedError):
        tune(load_preset("digits", ["generator.training=none"]), PLAN, 1, tmp_path / "out", 1)
    assert not (tmp_path / "out" / "trials.csv").exists()


def test_the_best_of_each_arm_is_kept(search, tmp_path):
    best, trials = search(smooth)
    assert list(trials["arm"]) == 5 * ["practice"] + 5 * ["static"]
    for row in best:
        own = trials[trials["arm"] == row["arm"]]
        chosen = own.loc[own["validation"].idxmax()]
        assert (row["trial"], row["validation"]) == (chosen["trial"], chosen["validation"])
        smoothing = row["training.label_smoothing"]
        assert row["validation"] == pytest.approx(100 * (0.55 - abs(smoothing - 0.2)), abs=1e-3)
        assert row["own_settings"] == pytest.approx(35)  # of the preset, which has none
    tuned = Tuned.read(tmp_path / "out")
    settled = tuned.arm_config(tuned.config, "static-2000")
    assert settled.training.label_smoothing == best[1]["training.label_smoothing"]
    assert (settled.practice.initial, settled.practice.additions) == (2000, 0)


def test_what_is_best_for_one_arm_is_tried_by_all(search):
    """Once trials are not random, and so no longer the same for all arms. Practice takes it with its own guidance."""

    def rising(config, out, *_):
        """The best of static data is its latest trial, that of practice its first."""
        arm, _, number = out.parent.name.partition("-trial")
        return int(number) / 100 if arm == "static" else 0.4

    _, trials = search(rising, 16)
    common = [key for key in map(str, trials) if "." in key and not key.startswith("guidance")]
    practice, static = (trials[trials["arm"] == arm].to_dict("records") for arm in ("practice", "static"))
    best = {key: static[14][key] for key in common}
    assert not any(best.items() <= trial.items() for trial in practice[:15])
    assert best.items() <= practice[15].items()
    assert practice[15]["guidance.wrong_share"] == practice[0]["guidance.wrong_share"]
    assert any(static[15][key] != practice[0][key] for key in common)  # which it has tried


def test_a_tuning_that_was_killed_has_the_trials_of_one_that_was_not(search):
    """Also if it was begun with fewer trials. The last trials are no longer random: they depend on those before."""
    plan = Plan(("static",), {}, 1, 1, 0, 3)
    calls = []

    def counted(config, *_):
        calls.append(config)
        return smooth(config)

    def broken(config, *_):
        if len(calls) == 13:  # in the middle of a batch, after one of the best trials so far
            raise KeyboardInterrupt
        return counted(config)

    _, whole = search(smooth, 16, plan, "whole")
    search(broken, 4, plan)
    with pytest.raises(KeyboardInterrupt):
        search(broken, 16, plan)
    pd.testing.assert_frame_equal(search(counted, 16, plan)[1], whole)
    assert len(calls) == 16  # trials that were over were not run again


def test_what_fails_counts_and_the_search_goes_on(search, tmp_path):
    def fragile(config, *_):
        if config.training.label_smoothing > 0.1:
            cause = DivergedError("step 3: the training losses are not finite")
            raise DivergedError(f"{cause}; the last good checkpoint stays: it goes with the trial") from cause
        return smooth(config)

    best, trials = search(fragile)
    failed = trials[trials["training.label_smoothing"] > 0.1]
    assert failed["validation"].isna().all()
    assert set(failed["problem"]) == {"step 3: the training losses are not finite"}
    assert sum(row["failed"] for row in best) == len(failed) > 0
    with refusal("all 5 trials of arm practice failed; the last: nan", DivergedError):
        search(Mock(side_effect=DivergedError("nan")), name="none")
    assert len(pd.read_csv(tmp_path / "none" / "trials.csv")) == 10


def test_settings_that_cannot_be_together_count_as_failed(search):
    """Each value is possible, but some windows have no step to guide."""
    windows = {"guidance.window": [[0.0, 1.0], [0.96, 0.97]]}
    _, trials = search(smooth, plan=Plan(("practice",), windows, 2, 1, 0, 3))
    narrow = trials["guidance.window"] == "[0.96, 0.97]"
    assert 0 < narrow.sum() < len(trials)
    assert trials[narrow]["problem"].str.contains("guides none of the 20 sampling.steps").all()
    assert trials[~narrow]["problem"].isna().all()


def test_trials_that_draw_alike_find_each_others_rows(search):
    """Of both arms, in any batch: a folder for each guidance_scale and seed."""
    found = defaultdict[tuple[float, int], set[Path]](set)

    def noted(config, out, shared):
        found[config.sampling.guidance_scale, config.seed].add(shared / drawing_identity(config, {}))
        return smooth(config)

    search(noted)
    assert len({scale for scale, _ in found}) > 1
    assert {len(folders) for folders in found.values()} == {1}
    assert len({folder for folders in found.values() for folder in folders}) == len(found)


# -- the command ------------------------------------------------------------------------------------------------------


def test_arms_that_were_not_tuned_get_the_settings_of_what_is_most_like_them(tmp_path):
    tuned = {name: {} for name in ("practice", "static-100", "static-1000", "static-9000@training.crop=0")}
    tuned["practice"] = {"training.steps": 2154}
    best = Tuned(tmp_path, load_preset("digits"), 1, tuned)  # 1,000 samples
    guided = "practice practice-2000 practice@guidance.every=5"
    expected = {
        "practice": f"{guided} practice-unguided prune-once-500 random-direction",
        "static-1000": "static static-400 static-5000",
        "static-100": "static-200",
    }
    for source, names in expected.items():
        assert {best.source(name) for name in names.split()} == {source}
    assert (best.remark("practice"), best.remark("static-200")) == ("", "static-200: settings of static-100")
    longer = "practice@training.steps=9000@training.crop=0.5"
    assert best.remark(longer) == f"{longer}: settings of practice, tuned with another training.steps"
    with refusal("arm real was not tuned"):
        best.source("real")


@pytest.mark.parametrize(
    ("preset", "searches"),
    [
        ("digits", {"training.steps": "4000:10000"}),
        ("fashion", {"training.randaugment_magnitude": [6, 9, 12]}),
        ("glyphs", {"training.steps": [12000], "sampling.guidance_scale": [1.0, 1.1, 1.25]}),
        ("words", {}),
    ],
)
def test_published_settings_are_values_that_a_tuning_of_the_preset_could_choose(preset, searches):
    config, published = load_preset(preset), Tuned.published(preset)
    assert not published.differing(config)
    for arm, settings in published.settings.items():
        could = space_of(config, arm, searches)
        newer = {"training.randaugment"} - settings.keys()  # than two tunings
        assert settings.keys() == could.keys() - newer
        for key, value in settings.items():
            searched = could[key]
            if isinstance(searched, CategoricalDistribution):
                assert json.dumps(value) in searched.choices, key
            else:
                assert searched.low <= value <= searched.high, key
        changed = flat(published.arm_config(config, arm).model_dump(mode="json"))
        assert {key: changed[key] for key in settings} == settings
    published.check(["practice-unguided"], range(published.fresh, 9))
    longer = load_preset(preset, ["training.steps=100"])
    published.refuse(longer, ["static"], ["training.batch_size"])
    published.refuse(config, ["static"], ["training.steps"])  # as it was when the arms were tuned
    assert not published.differing(longer)  # it is tuned in any case
    with refusal("steps: --tuned published sets it for static"):
        published.refuse(longer, ["static"], ["training.steps"])
    published._replace(first=2).check(["static"], range(2))
    with refusal("the trials of published have seen it"):
        published.check(["static"], range(published.fresh))


def test_tune_looks_at_no_test_image_and_compare_takes_its_settings(tmp_path, monkeypatch):
    out = tmp_path / "tune"
    search = "--search training.steps=20:21 --search guidance.every=[2]"
    words = ["real tune", *SMALL, search, "--trials 2 --workers 1 --out", out]
    load = DigitsConfig.load
    with monkeypatch.context() as patch:
        patch.setattr(DigitsConfig, "load", lambda self: replace(load(self), test=None))
        patch.setattr(GeneratorConfig, "code_digest", lambda self: "one")
        answer = told(*words)
    assert [row["arm"] for row in answer["arms"]] == ["practice", "static"]
    left = "SHA256SUMS best.csv best.json trials.csv trials.jsonl tuning.json"
    assert sorted(os.listdir(out)) == left.split()
    assert "--resume goes on" in done(*words, status=2).err
    assert "begun with another seeds" in done(*words, "--resume --seeds 2", status=2).err
    for digest, what in (
        ("dp_real.generators.GeneratorConfig.code_digest", "code of the generator"),
        ("dp_real.runs.identity._set_digest", "validation set"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(digest, lambda given: "another")
            assert f"begun with another {what} of practice on split 0" in done(*words, "--resume", status=2).err
    table, asked = (out / "best.csv").read_text(), json.loads((out / "tuning.json").read_text())
    asked["config"]["pool"].pop("soft_labels")  # as if it had been begun before there was that key
    (out / "tuning.json").write_text(json.dumps(asked))
    told_next = done(*words, "--set seed=0 --resume").err
    assert f"--arms practice,static --tuned {out} --set" in told_next
    assert "practice: the best training.steps lies at the" in told_next
    assert "seed=" not in told_next  # which compare refuses
    assert (out / "best.csv").read_text() == table

    compare = ["real compare", *SMALL, "--tuned", out, "--seeds 1 --workers 1 --out", tmp_path / "compare"]
    assert "take 1 or a later one" in done(*compare, "--first 0", status=2).err
    assert "arm real was not tuned" in done(*compare, "--arms practice,real", status=2).err
    assert "tuned with another" not in done(*compare).err
    for row in answer["arms"]:
        config = load_config(tmp_path / "compare" / "runs" / f"{row['arm']}-seed1" / "config.toml")
        assert (config.seed, config.data.split) == (1, 1)
        assert config.training.steps == row["training.steps"]
        assert config.sampling.guidance_scale == row["sampling.guidance_scale"]

    best = (out / "best.json").read_text()
    (out / "best.json").write_text(best.replace('"training.steps": ', '"training.steps": 1'))
    assert "best.json is damaged" in done(*compare, "--resume", status=3).err
    trials = out / "trials.jsonl"
    lines = trials.read_text()
    trials.write_text(lines.replace('"seconds": ', '"seconds": 1', 1))
    assert "trial 0 of practice is not what was written" in done(*words, "--resume", status=3).err
    trials.write_text(lines + '{"arm": "practice", "number": 2, "par')  # killed within a line
    assert f"--arms practice,static --tuned {out} --set" in done(*words, "--resume").err
