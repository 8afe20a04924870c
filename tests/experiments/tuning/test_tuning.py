"""Equal tuning: what is searched for which arm, how trials are chosen and judged, and `dp real tune` as a whole."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pytest
from dp_experiments.presets.presets import load_preset
from dp_experiments.studies.digits.source import DigitsConfig
from dp_experiments.tuning import tune as tuning
from dp_experiments.tuning.space import own_parameters, read_searches, settings_of, space_of
from dp_experiments.tuning.tune import Plan, tune
from dp_experiments.tuning.tuned import Tuned, with_settings
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dp_base.errors import DivergedError, InputError
from dp_base.progress import silent
from dp_real.config import Config, load_config
from dp_real.config.load import flat
from dp_real.examples import RealData
from dp_real.generators import GeneratorConfig
from tests.experiments.conftest import SET
from tests.experiments.conftest import run_dp as dp


def test_each_arm_searches_what_it_has():
    digits = load_preset("digits")
    guided, loop, static = (set(space_of(digits, arm, {})) for arm in ("practice", "practice-unguided", "static"))
    assert guided - static == {"guidance.wrong_share", "guidance.window", "guidance.every"}
    assert loop == static
    assert {"training.crop", "training.steps", "sampling.guidance_scale", "training.mixup"} <= static
    chosen = load_preset("digits", ["guidance.candidates=5"])
    assert set(space_of(chosen, "practice", {})) - static == {"guidance.wrong_share"}
    fixed = set(space_of(load_preset("digits", ["guidance.omega=0.02"]), "practice", {}))
    assert fixed - static == {"guidance.omega", "guidance.window", "guidance.every"}
    searched = read_searches(["practice.patience=1:4", "guidance.omega=0.01:0.1:log"])
    assert set(space_of(digits, "practice", searched)) - fixed == {"practice.patience"}
    assert set(space_of(digits, "practice-unguided", searched)) - loop == {"practice.patience"}
    assert set(space_of(digits, "static", searched)) == static


def test_randaugment_is_searched_where_its_library_is(monkeypatch: pytest.MonkeyPatch):
    digits, key = load_preset("digits"), "training.randaugment"
    monkeypatch.setattr("dp_experiments.tuning.space.find_spec", {"kornia": object()}.get)
    assert space_of(digits, "static", {})[key] == CategoricalDistribution(["0", "1", "2"])
    monkeypatch.setattr("dp_experiments.tuning.space.find_spec", dict().get)
    assert key not in space_of(digits, "static", {})
    assert key in space_of(digits, "static", {key: [1]})  # a user's own search is never left out


def test_the_number_of_prompts_is_searched_where_there_are_several():
    key = "generator.prompts_per_class"
    assert key not in space_of(load_preset("imagenet100"), "static", {})
    three = load_preset("imagenet100", ['generator.prompts=["{}", "a {}", "many a {}"]'])
    for arm in ("practice", "static"):
        assert space_of(three, arm, {})[key] == CategoricalDistribution(["0", "1", "2"])


def test_texts_have_searches_of_their_own():
    practice, static = (set(space_of(load_preset("words"), arm, {})) for arm in ("practice", "static"))
    assert practice - static == {"guidance.omega", "guidance.likelihood_weight"}
    assert static >= {"training.label_smoothing", "generator.temperature", "pool.soft_labels"}
    assert not [key for key in static if "crop" in key or "mix" in key or "guidance_scale" in key]
    with pytest.raises(InputError, match=r"--search training\.mixup=.*is for images"):
        space_of(load_preset("words"), "static", {"training.mixup": [0.2]})


def test_ranges_are_of_the_keys_own_kind():
    searches = read_searches(["training.steps=x0.5:x2:log", "training.mixup=0:1", "training.crop=[0, 0.5]"])
    space = space_of(load_preset("digits"), "static", searches)
    assert space["training.steps"] == IntDistribution(2000, 8000, log=True)
    assert space["training.mixup"] == FloatDistribution(0, 1)
    assert space["training.crop"] == CategoricalDistribution(["0", "0.5"])


@pytest.mark.parametrize("preset", ["digits", "imagenet100-smoke"])
def test_the_first_trial_is_the_presets_own(preset: str):
    config = load_preset(preset)
    for arm in ("practice", "static"):
        space = space_of(config, arm, {})
        settings = settings_of(space, own_parameters(config, space))
        assert with_settings(config, settings) == config


def test_the_first_trial_is_as_near_as_the_space_has():
    searches = read_searches(["training.learning_rate=0.01:0.1", "guidance.every=[2, 5]", "guidance.omega=0.01:0.1"])
    space = space_of(load_preset("digits"), "practice", searches)
    own = settings_of(space, own_parameters(load_preset("digits"), space))
    assert (own["training.learning_rate"], own["guidance.every"], own["guidance.omega"]) == (0.01, 2, 0.01)


@pytest.mark.parametrize(
    ("search", "complaint"),
    [
        ("training.stepps=1:4", "did you mean training.steps?"),
        ("training.steps=4:1", "low"),
        ("practice.patience=1:4", "no arm of static has it"),
        ("seed=0:3", "every trial has the same seeds and splits"),
        ("training.flip=0:1", "is true or false, which has no range: --search training.flip=[false, true]"),
    ],
)
def test_a_search_that_cannot_be_gets_one_line(search: str, complaint: str, tmp_path: Path, capsys):
    arms = "static" if "patience" in search else "practice"
    assert dp("real", "tune", "digits", "--arms", arms, "--search", search, "--out", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert "--search" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


# -- the choice of trials, with runs that are only a formula ----------------------------------------------------------

PLAN = Plan(("practice", "static"), {}, seeds=2, splits=1, first=0, batch=3)
Run = Callable[..., dict[str, Any]]


def pretended(config: Config, out: Path, **options: Any) -> dict[str, Any]:
    """A run whose best settings are known: label smoothing .2, and .1 more for seed 1."""
    assert options["test"] is False
    assert config.data.split == 0
    return {"val_accuracy": 0.5 - abs(config.training.label_smoothing - 0.2) + 0.1 * config.seed, "seconds": 1.0}


def search(
    monkeypatch: pytest.MonkeyPatch,
    out: Path,
    run: Run,
    trials: int = 5,
    config: Config | None = None,
    plan: Plan | None = None,
) -> list[dict[str, Any]]:
    monkeypatch.setattr(tuning, "run", run)
    monkeypatch.setattr(tuning, "prepare_generators", lambda *arguments: None)
    out.mkdir(exist_ok=True)
    return tune(config or load_preset("digits"), plan or PLAN, trials, out, 1, silent)


def read(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "trials.csv")


def test_the_best_of_each_arm_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    best = search(monkeypatch, tmp_path / "out", pretended)
    trials = read(tmp_path / "out")
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


def test_what_is_best_for_one_arm_is_tried_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Once trials are not random, and so no longer the same for all arms. Practice takes it with its own guidance."""

    def rising(config: Config, out: Path, **options: Any) -> dict[str, Any]:
        """The best of static data is its latest trial, that of practice its first."""
        arm, _, number = out.parent.name.partition("-trial")
        return {"val_accuracy": int(number) / 100 if arm == "static" else 0.4, "seconds": 1.0}

    search(monkeypatch, tmp_path / "out", rising, trials=16)
    trials = read(tmp_path / "out")
    common = [key for key in map(str, trials) if "." in key and not key.startswith("guidance")]
    practice, static = (trials[trials["arm"] == arm].to_dict("records") for arm in ("practice", "static"))
    best = {key: static[14][key] for key in common}
    assert not any(best.items() <= trial.items() for trial in practice[:15])
    assert best.items() <= practice[15].items()
    assert practice[15]["guidance.wrong_share"] == practice[0]["guidance.wrong_share"]
    assert any(static[15][key] != practice[0][key] for key in common)  # which it has tried


def test_a_tuning_that_was_killed_has_the_trials_of_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also if it was begun with fewer trials. The last trials are no longer random: they depend on those before."""
    plan = Plan(("static",), {}, 1, 1, 0, 3)
    calls: list[Config] = []

    def counted(config: Config, out: Path, **options: Any) -> dict[str, Any]:
        calls.append(config)
        return pretended(config, out, **options)

    def broken(config: Config, out: Path, **options: Any) -> dict[str, Any]:
        if len(calls) == 13:  # in the middle of a batch, after one of the best trials so far
            raise KeyboardInterrupt
        return counted(config, out, **options)

    search(monkeypatch, tmp_path / "whole", pretended, trials=16, plan=plan)
    search(monkeypatch, tmp_path / "broken", broken, trials=4, plan=plan)
    with pytest.raises(KeyboardInterrupt):
        search(monkeypatch, tmp_path / "broken", broken, trials=16, plan=plan)
    search(monkeypatch, tmp_path / "broken", counted, trials=16, plan=plan)
    pd.testing.assert_frame_equal(read(tmp_path / "broken"), read(tmp_path / "whole"))
    assert len(calls) == 16  # trials that were over were not run again


def test_what_fails_counts_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fragile(config: Config, out: Path, **options: Any) -> dict[str, Any]:
        if config.training.label_smoothing > 0.1:
            raise DivergedError("step 3: the training losses are not finite")
        return pretended(config, out, **options)

    best = search(monkeypatch, tmp_path / "out", fragile)
    trials = read(tmp_path / "out")
    failed = trials[trials["training.label_smoothing"] > 0.1]
    assert failed["validation"].isna().all()
    assert set(failed["problem"]) == {"step 3: the training losses are not finite"}
    assert sum(row["failed"] for row in best) == len(failed) > 0

    def hopeless(config: Config, out: Path, **options: Any) -> NoReturn:
        raise DivergedError("nan")

    with pytest.raises(DivergedError, match="all 5 trials of arm practice failed; the last: nan"):
        search(monkeypatch, tmp_path / "none", hopeless)
    assert len(read(tmp_path / "none")) == 10


def test_settings_that_cannot_be_together_count_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each value is possible, but some windows have no step to guide."""
    windows: Mapping[str, Any] = {"guidance.window": [[0.0, 1.0], [0.96, 0.97]]}
    search(monkeypatch, tmp_path / "out", pretended, plan=Plan(("practice",), windows, 2, 1, 0, 3))
    trials = read(tmp_path / "out")
    narrow = trials["guidance.window"] == "[0.96, 0.97]"
    assert 0 < narrow.sum() < len(trials)
    assert trials[narrow]["problem"].str.contains("guides none of the 20 sampling.steps").all()
    assert trials[~narrow]["problem"].isna().all()


def test_trials_that_draw_alike_find_each_others_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of both arms, in any batch: a folder for each guidance_scale and seed."""
    found = defaultdict[tuple[float, int], set[Path]](set)

    def noted(config: Config, out: Path, **options: Any) -> dict[str, Any]:
        assert options["shared"].rows == config.practice.initial
        found[config.sampling.guidance_scale, config.seed].add(options["shared"].folder)
        return pretended(config, out, **options)

    search(monkeypatch, tmp_path / "out", noted)
    assert len({scale for scale, _ in found}) > 1
    assert {len(folders) for folders in found.values()} == {1}
    assert len({folder for folders in found.values() for folder in folders}) == len(found)


# -- the command ------------------------------------------------------------------------------------------------------


def untested(config: DigitsConfig) -> RealData:
    """The data without their test images."""
    data = LOAD(config)
    object.__setattr__(data, "test", None)
    return data


def test_what_an_arms_name_sets_is_not_searched_and_no_search_changes_how_many_samples_it_makes():
    digits = load_preset("digits")
    space = space_of(digits, "practice@training.learning_rate=0.01@guidance.omega=0.02", {})
    assert not {"training.learning_rate", "guidance.omega", "guidance.wrong_share"} & space.keys()
    assert "guidance.every" in space
    with pytest.raises(InputError, match="it changes how many samples practice makes; name the arm practice-N"):
        space_of(digits, "practice", {"practice.increment": [300]})
    assert "practice.increment" in space_of(digits, "practice-1000", {"practice.increment": [300]})
    with pytest.raises(InputError, match="additions: it follows from 1000 samples"):
        space_of(digits, "practice-1000", {"practice.additions": [3]})
    candidates = set(space_of(digits, "practice@guidance.candidates=4", {}))
    assert candidates == set(space_of(load_preset("digits", ["guidance.candidates=4"]), "practice", {}))


def test_arms_that_were_not_tuned_get_the_settings_of_what_is_most_like_them(tmp_path: Path):
    tuned = {name: {} for name in ("practice", "static-100", "static-1000", "static-9000@training.crop=0")}
    tuned["practice"] = {"training.steps": 2154}
    best = Tuned(tmp_path, load_preset("digits"), 1, tuned)  # 1,000 samples
    expected = {
        "practice": "practice",
        "practice-2000": "practice",
        "practice@guidance.every=5": "practice",
        "practice-unguided": "practice",
        "prune-once-500": "practice",
        "random-direction": "practice",
        "static": "static-1000",
        "static-200": "static-100",
        "static-400": "static-1000",
        "static-5000": "static-1000",
    }
    assert {name: best.source(name) for name in expected} == expected
    assert (best.remark("practice"), best.remark("static-200")) == ("", "static-200: settings of static-100")
    longer = "practice@training.steps=9000@training.crop=0.5"
    assert best.remark(longer) == f"{longer}: settings of practice, tuned with another training.steps"
    with pytest.raises(InputError, match="arm real was not tuned"):
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
def test_published_settings_are_values_that_a_tuning_of_the_preset_could_choose(preset: str, searches: dict[str, Any]):
    config, published = load_preset(preset), Tuned.published(preset)
    assert not published.differing(config)
    for arm, settings in published.settings.items():
        space = space_of(config, arm, searches)
        assert settings.keys() == space.keys() - ({"training.randaugment"} - settings.keys())  # newer than two tunings
        for key, value in settings.items():
            searched = space[key]
            if isinstance(searched, CategoricalDistribution):
                assert json.dumps(value) in searched.choices, key
            else:
                assert isinstance(searched, FloatDistribution | IntDistribution)
                assert searched.low <= value <= searched.high, key
        changed = flat(published.arm_config(config, arm).model_dump(mode="json"))
        assert {key: changed[key] for key in settings} == settings
    published.check(["practice-unguided"], published.fresh)
    longer = load_preset(preset, ["training.steps=100"])
    published.refuse(longer, ["static"], ["training.batch_size"])
    published.refuse(config, ["static"], ["training.steps"])  # as it was when the arms were tuned
    assert not published.differing(longer)  # it is tuned in any case
    with pytest.raises(InputError, match="steps: --tuned published sets it for static"):
        published.refuse(longer, ["static"], ["training.steps"])
    with pytest.raises(InputError, match="the trials of published have seen it"):
        published.check(["static"], published.fresh - 1)


LOAD = DigitsConfig.load


@pytest.mark.usefixtures("cache")
def test_tune_looks_at_no_test_image_and_compare_takes_its_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    out, search = tmp_path / "tune", ["--search", "training.steps=20:40", "--search", "guidance.every=[2]"]
    words = ["real", "tune", "digits", *SET, *search, "--trials", "2", "--workers", "1", "--out", out]
    with monkeypatch.context() as patch:
        patch.setattr(DigitsConfig, "load", untested)
        patch.setattr(GeneratorConfig, "code_digest", lambda self: "one")
        assert dp(*words, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["arm"] for row in answer["arms"]] == ["practice", "static"]
    assert {path.name for path in out.iterdir()} == {
        "tuning.json",
        "trials.jsonl",
        "trials.csv",
        "best.csv",
        "best.json",
        "SHA256SUMS",
    }

    assert dp(*words) == 2
    assert "--resume goes on" in capsys.readouterr().err
    assert dp(*words, "--resume", "--seeds", "2") == 2
    assert "begun with another seeds" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(GeneratorConfig, "code_digest", lambda self: "another")
        assert dp(*words, "--resume") == 2
    assert "begun with another code of the generator of practice on split 0" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr("dp_real.runs.identity._set_digest", lambda examples: "another")
        assert dp(*words, "--resume") == 2
    assert "begun with another validation set of practice on split 0" in capsys.readouterr().err
    table, asked = (out / "best.csv").read_text(), json.loads((out / "tuning.json").read_text())
    asked["config"]["pool"].pop("soft_labels")  # as if it had been begun before there was that key
    (out / "tuning.json").write_text(json.dumps(asked))
    assert dp(*words, "--resume") == 0
    assert (out / "best.csv").read_text() == table

    compare = ["real", "compare", "digits", *SET, "--tuned", out, "--seeds", "1", "--workers", "1"]
    compare += ["--out", tmp_path / "compare"]
    assert dp(*compare, "--first", "0") == 2
    assert "take 1 or a later one" in capsys.readouterr().err
    assert dp(*compare, "--arms", "practice,real") == 2
    assert "arm real was not tuned" in capsys.readouterr().err
    assert dp(*compare) == 0
    for row in answer["arms"]:
        config = load_config(tmp_path / "compare" / "runs" / f"{row['arm']}-seed1" / "config.toml")
        assert (config.seed, config.data.split) == (1, 1)
        assert config.training.steps == row["training.steps"]
        assert config.sampling.guidance_scale == row["sampling.guidance_scale"]
    assert "tuned with another" not in capsys.readouterr().err

    best = (out / "best.json").read_text()
    (out / "best.json").write_text(best.replace('"training.steps": ', '"training.steps": 1'))
    assert dp(*compare, "--resume") == 3
    assert "best.json is damaged" in capsys.readouterr().err
    trials = out / "trials.jsonl"
    lines = trials.read_text(encoding="utf-8")
    trials.write_text(lines.replace('"seconds": ', '"seconds": 1', 1), encoding="utf-8")
    assert dp(*words, "--resume") == 3
    assert "trial 0 of practice is not what was written" in capsys.readouterr().err
    trials.write_text(lines + '{"arm": "practice", "number": 2, "par', encoding="utf-8")  # killed within a line
    assert dp(*words, "--resume") == 0


@pytest.mark.parametrize("key", ["data.validation", "threads"])
def test_only_settings_are_searched(key: str):
    """A search of the validation set would pick the easiest one."""
    with pytest.raises(InputError, match=f"--search {key}: every trial has the same task"):
        space_of(load_preset("digits"), "static", {key: ["a", "b"]})
