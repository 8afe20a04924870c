"""What cannot be is told in one line with status 2 or 3, and leaves no file."""

import re
from pathlib import Path

import pytest

from tests.commands import done, refused

LONG = "ä" * 300
POINTS = "gaussian --arms static-400 --seeds 1 --workers 1 --set training.steps=20"
TAKE_A_PATH = ("doctor", "real report", "real resume")
WRONG = {
    "reel": "No such command 'reel'. Did you mean 'real'?",
    "theory predicc": "No such command 'predicc'. Did you mean 'predict'?",
    "theory best --roh 1": "No such option: --roh",
    "theory predict --alpha 1 --rho 0": "Missing option '--phi'",
    "theory predict --alpha 1 --rho 0 --phi 1 --phi 2": "--phi is given 2 times: give it once",
    "theory verify --trials 3": "'--trials': Input should be greater than or equal to 4",
    "theory predict --alpha x --rho 0 --phi 1": "alpha = x: must be a value",
    "theory predict --alpha 1 --rho 0:1:1000000000 --phi 1": "of 2 to 100000 values",
    "theory predict --alpha 1 --rho 0 --phi 0.1:1:1": "of 2 to 100000 values",
    "theory predict --rho 0.5 --phi 1e-308": "",
    "theory simulate --rho 0.5 --phi 0.5 --d 1000000000000000000": "",
    "theory verify --trials 1000000000000000000": "",
    "theory sweep --lam 0.1,,1 --out new": "lam = 0.1,,1: must be a value",
    "theory sweep --lam -1 --out new": "dp: lam = -1 must be at least 0",
    "theory sweep --lam 0:1:3 --out new": "lam = 0:1:3: must start and stop above 0",
    "theory sweep --n 16.5,32 --out new": "n = 16.5,32: must be whole numbers",
    "theory sweep --rule keep-hard,best --out new": "there is no 'best'",
    "theory sweep --trials 1000000000 --out new": "trials = 1e+09 must be at most 1e+06",
    "theory predict --alpha 1:9:2000 --rho 0:1:2000 --phi 1": "alpha x rho are 4,000,000 combinations",
    "theory practice --rounds 1000000000": "",
    "theory practice --alpha 0.5 --window 1": "for keep-hard without --alpha",
    "theory practice --loss logistic": "--loss logistic needs --lam above 0, such as 0.01",
    "theory practice --candidates": "leave out --candidates",
    "theory noise --share 0.1 --confirmed 0.9": "give one of --share and --confirmed",
    "theory noise --share 0.1 --judge 0.9": "--judge 0.9 is for --confirmed",
    "theory classes --classes inf": "",
    "theory classes --classes 2.5": "must be whole numbers",
    "real run digit": "unknown preset 'digit': it must be digits",
    "real run digits --set steps=60": "did you mean sampling.steps or training.steps?",
    "real run digits --set guidance.omga=1": "did you mean guidance.omega?",
    f"real run digits --set learner.hidden=[{10**18}]": "hidden",
    f"real run digits --set learner.hidden={[8] * 101}".replace(", ", ","): "hidden",
    f"real run digits --set seed={2**63}": "seed",
    "real run digits --set practice.additions=100000000": "additions",
    """real run digits --set 'name="two\\nlines"'""": "name",
    f"real run digits --set name='{LONG}'": "name",
    "real run digits --set seed=" + 300 * "x": f"seed = '{199 * 'x'}…: ",
    "real run gaussian --set learner.lam=1e308": "lam",
    "real run nowhere.toml": "nowhere.toml does not exist; dp real init NAME writes a configuration",
    "real plan imagenet100 --device V100": "these can be planned for: H200, H100, A100, L40S",
    "real plan imagenet100 --device A100 --measure": "--measure times this one: leave one out",
    "real compare digits --splits 5": "--splits 5: a seed has one split: take at most --seeds, 4",
    "real run digits --set tracker=foo": "tracker = 'foo': must be none, ",
    "real export nowhere --rows 5 --out new": "--rows 5 is for --format features",
    "real resume nowhere": "nowhere",
    "real init no/such/folder/pets": "cannot be written",
    "real init 'two\nlines'": "should be a name for a folder",
    "real init ''": "should be a name for a folder",
    "real compare digits --arms static,static": "twice",
    f"real compare digits --arms static-{'9' * 5000}": "arms: there is no",
    "real compare digits --arms static@foo": "'foo' must read KEY=VALUE, as in static@guidance.omega=0.04",
    "real compare digits --arms static-40@training.crop=0@seed=3": "seed is the same for all arms",
    "real compare digits --arms static --baseline practice": "--baseline practice",
    "real compare digits --arms real-5000 --seeds 1": "there are 900 real training examples",
    f"real compare {POINTS} --x compute": "--x compute: static-400 has a learner whose FLOPs are not counted",
    """real compare digits --set 'compare.arms=["static","static"]'""": "names one twice",
    "real compare digits --set seed=7": "--first, --seeds and --splits say which",
    "real compare digits --dask tcp://host:1 --workers 2": "--workers 2 is for this machine; with --dask, each worker",
    "real tune digits --search training.stepps=1:4": "unknown key training.stepps; did you mean training.steps?",
    "real tune digits --search training.steps=4:1": "--search training.steps=4:1: the smaller end comes first",
    "real tune digits --arms static --search practice.patience=1:4": "no arm of static has it",
    "real tune digits --search seed=0:3": "every trial has the same seeds and splits",
    "real tune digits --search 'data.validation=[1, 2]'": "--search data.validation: every trial has the same task",
    "real tune digits --search 'threads=[1, 2]'": "--search threads: every trial has the same task",
    "real tune digits --search training.flip=0:1": "which has no range: --search training.flip=[false, true]",
    "real sample gaussian --out new": "gaussian: data.source = 'gaussian' has neither images nor texts",
    "real sample digits --omega 0.1 --out new": "--classifier",
    "real sample RUN --along --classifier RUN --out new": "no --classifier",
    "real sample RUN --omega -1 --out new": "--omega -1: must be numbers of at least 0",
    "real sample RUN --classes 1,eleven --out new": "'eleven' is none of the 10 classes",
    "real evaluate RUN --on sketch": "--on sketch: must read NAME=WHERE",
    "real evaluate RUN --on test=somewhere": "a set called test already",
    "real report RUN RUN": "several folders: name the file of the report as --out FILE.html",
    "real report RUN --out report.md": "--out report.md: it is a page",
    "real report RUN --out no/such/folder/report.html": "report.html cannot be written: No such file",
    "real review RUN --out review.txt": "name it FILE.html",
    "real export RUN": "Missing option '--out'",
    "real export RUN --out other --format jsonl": "its examples are images, which JSON cannot hold",
    "figures fig4-reportd": "there is no figure 'fig4-reportd'; did you mean 'fig4-reported'?",
    "figures fig7 --run RUN": "--run is for tables alone: name them, as in dp figures table4",
    "figures compare table1": "table1: nothing to compare; name a run, a comparison, a sweep",
    "figures compare table4 table4": "two of table4, table4 are called the same",
    "figures compare table4 --quick": "takes what it compares, and --out alone",
    "claims --docs nowhere": "nowhere",
    "claims 3 --rerun digits:1": "give one of NUMBER, --docs and --rerun",
    "claims --out new": "--out is for --rerun",
    "play --out play.txt": "name it FILE.html",
    "doctor nothing": "no run is in it",
    **{f"{words} {LONG}": f"{'ä' * 60}…: File name too long; give a path that can be" for words in TAKE_A_PATH},
}
MISSING = {
    "real sample RUN --classifier a/b/c --out new": "a/b/c: no such folder",
    "real evaluate RUN --on a=nowhere": "nowhere: no such folder",
    "theory forecast nowhere.csv": "nowhere.csv does not exist",
}


@pytest.mark.parametrize("command", WRONG | MISSING)
def test_what_cannot_be(command, guided_run, here):
    parts = [guided_run if part == "RUN" else part for part in re.split("(RUN)", command)]
    said = refused(*parts, status=3 if command in MISSING else 2)
    assert (WRONG | MISSING)[command] in said
    assert not list(here.iterdir())


@pytest.mark.parametrize("command", ["real run digits", "real compare digits"])
def test_a_link_to_itself(command, here):
    Path("self").symlink_to("self")
    assert "self cannot be written: self is a link that leads nowhere" in refused(command, "--out self")


def test_a_name_in_place_of_its_file(here):
    Path("mine.toml").touch()
    assert "unknown preset 'mine': did you mean mine.toml?" in refused("real run mine")


@pytest.mark.parametrize("command", ["report", "review", "evaluate", "export --out samples"])
def test_the_folder_of_a_practice(command, here):
    Path("mine/pool").mkdir(parents=True)
    assert "opens the samples of a Practice" in refused(f"real {command}", "mine")


def test_a_tuning_asks_for_weights_before_it_draws(here):
    asked = "real tune digits --set learner.kind=transformers --set learner.model=no/such"
    assert "no/such" in done(asked, status=3).err.splitlines()[-1]
    assert not list(here.iterdir())
