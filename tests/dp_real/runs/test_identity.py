"""What a run depends on is compared by every command that reads it: edits × readers."""

import importlib
import os
import shutil
import sys
from itertools import pairwise

import pytest

from dp_base.registry import code_digest
from dp_real import Run, load_config, run
from dp_real.generators.trained import DenoiserConfig
from dp_real.runs.branch import branch
from dp_real.runs.identity import input_digests
from dp_real.runs.reader import problems
from dp_real.runtime.model_folders import weights_digest
from tests.commands import done
from tests.dp_real.conftest import changed
from tests.dp_real.data.sets.made import pictures
from tests.dp_real.generators.tiny_pipelines import save_vit
from tests.dp_real.runs.folders import reword
from tests.refusals import refusal

RENDERER = """\
import numpy as np
from own_helper import SHADE


def draw(labels, seeds):
    noise = np.stack([np.random.default_rng(seed).standard_normal((3, 8, 8)) for seed in seeds])
    return np.clip(SHADE * np.asarray(labels)[:, None, None, None] - 0.5 + 0.3 * noise, -1, 1)
"""
CONFIG = """\
data = { source = "folder", validation = "val", test = "test", size = 8, channels = 3 }
generator = { kind = "function", call = "own_renderer:draw" }
guidance = { candidates = 2, omega = 1.0 }
learner = { kind = "transformers", model = "vit" }
training = { steps = 12, batch_size = 8, learning_rate = 0.001 }
practice = { initial = 8, increment = 4, additions = 1, patience = 1, evaluate_every = 2 }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run of folders, a function and a model of one's own."""
    root = tmp_path_factory.mktemp("own")
    for name in ("val", "test"):
        pictures(root / name, ["cat", "dog"])
    save_vit(root / "vit")
    (root / "own_renderer.py").write_text(RENDERER)
    (root / "own_helper.py").write_text("SHADE = 1.0\n")
    (root / "own.toml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        run(load_config(root / "own.toml"), root / "run")
        yield root
        for module in ("own_renderer", "own_helper"):
            sys.modules.pop(module, None)


@pytest.fixture
def place(made, tmp_path):
    """That folder, which is as it was once the test has ended."""
    shutil.copytree(made, tmp_path / "before")
    yield made
    shutil.rmtree(made)
    shutil.copytree(tmp_path / "before", made)


def swap(folder):
    (folder / "cat").rename(folder / "bird")
    (folder / "dog").rename(folder / "cat")
    (folder / "bird").rename(folder / "dog")


def swap_classes(root):
    reword(root / "run/config.toml", '"cat",\n    "dog"', '"dog",\n    "cat"')


EDITS = {
    "classes": (swap_classes, "the classes changed since"),
    "test set": (lambda root: swap(root / "test"), "the test set changed since"),
    "function": (lambda root: reword(root / "own_renderer.py", "0.3", "-0.3"), "the code of the generator changed"),
    "what it imports": (lambda root: reword(root / "own_helper.py", "1", "-1"), "the code of the generator changed"),
    "model": (lambda root: save_vit(root / "vit", side=24), "the weights of learner.model changed since"),
}
OUTSIDER = """\
from dp_real.guidance.entropy import OBJECTIVES
from dp_real.learners import LearnerConfig
from dp_real.practice.rounds import KEEP
from outsiders.net import WIDTH


@KEEP.named("outside", place=None)
@OBJECTIVES.named("outside", place=None)
class Outsider(LearnerConfig):
    pass
"""
EXPORT = "real export run --out out"
MAKING = [
    "real resume run",
    "real branch run",
    EXPORT,
    f"{EXPORT} --format features --rows 10",
    f"{EXPORT} --format hub",
    "real evaluate run",
]
SHOWING = ["real report run", "real review run", "real sample run --omega 0 --out samples"]


def test_what_is_as_it_was_is_read(made):
    noted = Run(made / "run").unchanged().result["inputs"]
    assert noted.keys() == {"config", "classes", "validation", "test", "code", "weights of learner.model"}
    assert problems(made / "run") == []


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_another_is_named(place, caplog, edit):
    change, said = EDITS[edit]
    change(place)
    importlib.invalidate_caches()
    remedy = "restore it, or continue nevertheless by --accept-changes"
    with refusal(f"{said}.* {place}/run began.*: {remedy}"):
        Run(place / "run").unchanged()
    Run(place / "run").unchanged(accept_changes=True)
    assert said in caplog.text
    assert any(said in line for line in problems(place / "run"))


def test_every_command_that_makes_something_of_a_run_refuses_another(place, monkeypatch, caplog):
    swap_classes(place)
    monkeypatch.chdir(place)
    said = "the classes changed since"
    for command in MAKING:
        assert said in done(command, status=2).err, command
        assert not (place / "out").exists(), command
    for command in (*SHOWING, f"{EXPORT} --accept-changes"):
        caplog.clear()
        done(command)
        assert said in caplog.text, command


def test_a_branch_after_an_accepted_change_says_so(place):
    """Its result would else stand beside the others on one curve."""
    swap(place / "test")
    branch(place / "run", accept_changes=True)
    results = Run(place / "run").branches
    assert results
    assert all("the test set changed since" in result["accepted_changes"][0] for result in results)


def test_what_is_not_here_is_not_compared(place, caplog):
    """A run may be read where its data and models are not, or are broken."""
    next(place.glob("val/*/*")).write_bytes(b"")
    assert "--accept-changes" not in done("real evaluate", place / "run", status=2).err
    shutil.rmtree(place / "val")
    shutil.rmtree(place / "vit")
    done("real export", place / "run", "--out", place / "out")
    assert "the data are missing, so they are not compared" in caplog.text


def test_a_kind_from_outside_counts_with_its_module(config, tmp_path, monkeypatch):
    """A learner, a rule or data as well as a generator, and what lies beside the module in its package."""
    package = tmp_path / "outsiders"
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for file, code in {"__init__": "", "net": "WIDTH = 3\n", "unrelated": "", "kind": OUTSIDER}.items():
        (package / f"{file}.py").write_text(code)
    learner = importlib.import_module("outsiders.kind").Outsider()
    seen = [learner.code_digest()]
    for file in ("unrelated", "net", "kind", "__init__"):
        with open(package / f"{file}.py", "a") as module:
            module.write("OTHER = 1\n")
        seen.append(learner.code_digest())
    assert [one == other for one, other in pairwise(seen)] == [True, False, False, False]
    rules = "practice.keep=outside", "practice.oversample=2", "guidance.omega=0", "guidance.objective=outside"
    noted = input_digests(changed(config, *rules), None)
    assert noted["keep code"] == noted["objective code"] == seen[-1]
    (package / "kind.py").write_text("no Python at all")
    assert learner.code_digest() not in ("", *seen)
    assert DenoiserConfig(kind="denoiser").code_digest() == ""  # the version of dp tells
    assert [code_digest(name) for name in ("no_such_module", "sys", "", "__main__.x")] == [""] * 4


def test_models_are_told_apart(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet/model.safetensors").write_bytes(b"one")
    (folder / "README.md").write_text("one")
    (tmp_path / "vae").mkdir()
    (folder / "vae").symlink_to(tmp_path / "vae")
    (tmp_path / "vae/config.json").write_text("{}")
    known = weights_digest(str(folder))
    assert weights_digest(str(shutil.copytree(folder, tmp_path / "moved"))) == known
    (folder / "README.md").write_text("two")
    assert weights_digest(str(folder)) == known
    large = folder / "unet/model.safetensors"
    os.truncate(large, 2**27)
    with monkeypatch.context() as patch:
        patch.setattr("dp_base.checksums.YOUNG", 0)
        whole = weights_digest(str(folder))
        patch.setattr("dp_base.checksums.digest", None)
        assert weights_digest(str(folder)) == whole  # and no file was read again
    with open(large, "r+b") as opened:
        opened.seek(2**26)
        opened.write(b"a small tensor")
    changed = weights_digest(str(folder))
    (tmp_path / "vae/config.json").write_text("{ }")
    assert len({known, whole, changed, weights_digest(str(folder))}) == 4
    commit = tmp_path / "snapshots/0123abc"
    monkeypatch.setattr("dp_real.runtime.model_folders.snapshot_download", lambda *_, **__: str(commit))
    assert weights_digest("owner/name") == "0123abc"
    monkeypatch.undo()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert weights_digest("no-such-owner/no-such-model") == weights_digest(f"{tmp_path}/no.gguf") == ""
