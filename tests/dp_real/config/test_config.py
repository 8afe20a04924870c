from typing import Annotated, Literal

import pytest
from pydantic import Field

from dp_real.config import load_config, parse_config
from dp_real.config.arms import ARMS, Arm, arm_config, split_names
from dp_real.runtime.section import Section
from tests.refusals import refusal

PARTS = "[data]\nsource = 'digits'\n[generator]\nkind = 'denoiser'\n[learner]\nkind = 'mlp'\n"
MINIMAL = PARTS + "[training]\nsteps = 100\n[practice]\ninitial = 10\nincrement = 5\nadditions = 2\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    return path


def test_a_file_its_overrides_and_its_resolved_copy(file, tmp_path):
    config = load_config(file, ["guidance.omega=0.3", "guidance.through=x0", "learner.hidden=[8, 8]"], seed=7)
    assert (config.name, config.seed, config.guidance.omega, config.learner.hidden) == ("mine", 7, 0.3, (8, 8))
    assert config.guidance.through == "x0"
    assert config.samples == 20
    (tmp_path / "copy.toml").write_text(config.to_toml())
    assert load_config(tmp_path / "copy.toml") == config


@pytest.mark.parametrize(
    ("settings", "message"),
    {
        "practise.initial=3": r"unknown key practise; did you mean practice\?",
        "learner.kind=0.5": r"learner.kind = 0.5: should be one of 'mlp'",
        "data.source=[]": r"data.source = \[\]: should be one of 'digits'",
        "practice.patiense=3": r"unknown key practice.patiense; did you mean practice.patience\?",
        "practice.patience=long": r"practice.patience = 'long': input should be a valid integer",
        "practice.patience=true": "practice: patience = true: should be a number",
        "guidance.window=[true, 1]": r"guidance: window = \[true, 1\]: should be a number",
        "data={source='folder', validation='x', channels=true}": "data: channels = true: should be a number",
        "practice.real=5000": "practice: real = 5000: at most all of the initial",
        "guidance.omega=nan": "guidance.omega = nan: should be 'auto' or a number from 0 to 1e",
        "guidance.window=[0.5, 0.2]": "guidance: window .* must be .begin, end.",
        "guidance.scale=raw --set guidance.omega=1 --set guidance.control=random-direction": "'random-direction' needs",
        f"name={'x' * 147} --set quick=true": "name = 'x+-quick': should have at most 150 bytes",
        "name=a/b": "name = 'a/b': should be a name for a folder",
        "data={source='folder', validation='', classes=['a', 'b']}": "validation = '': should name a place",
        "name.x=3": "name: input should be a valid string",
        "sampling.xyzzy=1": "unknown key sampling.xyzzy; there are steps, guidance_scale, block_size",
        "generator={kind='latent', prompts=['a coat']}": "{} where the class.* would have the same prompt$",
        "generator={kind='latent', prompts=['{}: {defintion}']}": "{defintion} is no placeholder",
        "data.source=gaussian --set practice.real=5": "practice.real = 5 needs real training examples: data.train",
        "data.source=stand-in-text --set practice.encoder=vit": "practice.encoder = 'vit' encodes images",
        "training.batch_size=0 --set practice.new_sample_weight=2": "with training.batch_size = 0, all rows are",
        "omega": "must read key=value",
        "=3": "must read key=value",
        "a..b=3": "must read key=value",
    }.items(),
)
def test_mistakes_are_named_in_one_line(file, settings, message):
    with refusal(message):
        load_config(file, settings.split(" --set "))


@pytest.mark.parametrize(
    "kind", [bool, bool | int, Literal[True, "auto"], Literal[True] | int, Annotated[float, Field(gt=0)] | bool | None]
)
def test_true_is_taken_where_a_section_of_another_package_takes_it(kind):
    section = type("Own", (Section,), {"__annotations__": {"switch": kind}, "__module__": __name__})
    assert section(switch=True).switch is True


def test_a_section_that_is_missing_is_named_with_the_file(file):
    file.write_text(PARTS + "[training]\nsteps = 100\n")
    with refusal(f"{file}: .*key practice is missing"):
        load_config(file)


def test_unreadable_files(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "windows.toml").write_text(r'name = "C:\Users"')
    for name, said in (
        ("absent.toml", "does not exist; dp real init"),
        (".", "Is a directory"),
        ("binary.toml", "UTF-8"),
        ("windows.toml", "not TOML: .*; a path with .* stands in '…'"),
    ):
        with refusal(said):
            load_config(tmp_path / name)


def test_arms(config):
    """The arms have the same steps and samples. They differ in when samples are drawn, and whether they are guided."""
    ARMS.register("once-5", Arm("of a package", lambda config, samples: {"practice": {"patience": 5}}), place=None)
    for name, samples, additions in (
        ("practice", 140, 2),
        ("practice-100", 100, 1),
        ("practice-unguided", 140, 2),
        ("static-500", 500, 0),
        ("prune-once", 140, 1),
        ("real-200", 200, 0),
        ("once-5", 140, 2),
    ):
        arm = arm_config(config, name)
        assert (arm.samples, arm.practice.additions, arm.training.steps) == (samples, additions, 120)
    assert arm_config(config, "practice") == config
    assert arm_config(config, "practice-unguided").guidance.omega == 0
    assert arm_config(config, "prune-in-loop").practice.oversample == 5
    assert arm_config(config, "prune-once").practice.increment == 80
    for wrong, message in (("statik", "did you mean"), ("practice-70", "not 60 plus"), ("practice-20", "not 60 plus")):
        with refusal(message):
            arm_config(config, wrong)
    static = arm_config(config, "static")
    assert parse_config(static.model_dump()) == static


def test_an_arm_may_have_settings_of_its_own(config):
    assert split_names("a@x=[[1,2],[3]],b@y={z=[1,2]},c") == ["a@x=[[1,2],[3]]", "b@y={z=[1,2]}", "c"]
    assert split_names("""a@x="]",b@y=[1,2]""") == ['a@x="]"', "b@y=[1,2]"]
    names = split_names("practice-100@guidance.omega=0.04@guidance.window=[0.2,1], static@training.crop=0.5")
    practice, static = (arm_config(config, name) for name in names)
    assert (practice.guidance.omega, practice.guidance.window, practice.samples) == (0.04, (0.2, 1.0), 100)
    assert (static.training.crop, static.guidance) == (0.5, config.guidance)
    assert arm_config(config, "practice@practice.increment=20@practice.additions=3").samples == 120
    assert arm_config(config, "static@practice.additions=3").samples == 180
    pruned = arm_config(config, "prune-in-loop@practice.oversample=2")  # not valid in `config`, which is guided
    assert (pruned.practice.oversample, pruned.guidance.omega) == (2, 0)
    with refusal(r"practice@guidance\.omga=1: unknown key guidance\.omga"):
        arm_config(config, "practice@guidance.omga=1")
    for name, fixed in (("prune-in-loop@guidance.omega=0.04", "omega is 0.0"), ("real@practice.real=5", "real is 140")):
        with refusal(f"arm {name}: in this arm .*{fixed}: leave out that setting"):
            arm_config(config, name)


def test_a_value_that_is_given_twice_is_one_or_refused(file):
    assert load_config(file, ["seed=4"], seed=4).seed == 4
    with refusal(r"^--seed 3 and --set seed=4: leave one of them out"):
        load_config(file, ["seed=4"], seed=3)
