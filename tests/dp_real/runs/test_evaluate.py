"""A run whose configuration names further sets: they are in its result, masked to the classes that they have."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dp_base.errors import InputError, MissingError
from dp_real.config import Config, parse_config
from dp_real.runs.afterwards import evaluate
from dp_real.runs.conclude import conclude
from dp_real.runs.prepare import fresh_learner
from dp_real.runs.reader import Run
from dp_real.runs.run import run


def pictures(root: Path, names: list[str], count: int) -> str:
    """Noise, brighter from class to class."""
    for name in names:
        (root / name).mkdir(parents=True)
        for row in range(count):
            noise = np.random.default_rng([row, *name.encode()]).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(noise // (1 + "abc".index(name))).save(root / name / f"{row}.png")
    return str(root)


def settings(root: Path, **sets: str) -> Config:
    return parse_config(
        {
            "name": "own",
            "threads": 1,
            "data": {
                "source": "folder",
                "classes": ["a", "b", "c"],
                "size": 8,
                "sets": sets,
                "validation": str(root / "validation"),
                "train": str(root / "train"),
            },
            "generator": {"kind": "denoiser", "width": 8, "blocks": 1, "train_steps": 5},
            "sampling": {"steps": 2, "block_size": 8},
            "guidance": {"omega": 0},
            "learner": {"kind": "mlp"},
            "training": {"steps": 10, "batch_size": 8},
            "practice": {"initial": 8, "evaluate_every": 5},
        }
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    pictures(root / "validation", ["a", "b", "c"], 3)
    pictures(root / "train", ["a", "b", "c"], 4)
    pictures(root / "two", ["a", "c"], 5)
    return root


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "own"
    run(settings(root, two=str(root / "two"), all=str(root / "train")), folder)
    return folder


def test_further_sets_are_in_the_result(finished: Path, root: Path):
    result = json.loads((finished / "result.json").read_text())
    two, every = result["sets"]
    assert (two["set"], two["images"], two["classes"]) == ("two", 10, 2)
    assert (every["set"], every["images"], every["classes"]) == ("all", 12, 3)
    config = settings(root, two=str(root / "two"))
    data = config.data.load()
    learner = fresh_learner(config)
    learner.load(finished / "learner")
    with torch.no_grad():
        logits = learner.logits(data.sets["two"].x[:] / 127.5 - 1)
    share = (logits[:5, 0] > logits[:5, 2]).sum().item() + (logits[5:, 2] > logits[5:, 0]).sum().item()
    assert two["accuracy"] == share / 10
    assert two["se"] == pytest.approx((share / 10 * (1 - share / 10) / 10) ** 0.5)


def test_they_are_evaluated_with_the_runs_own(finished: Path, root: Path):
    rows = evaluate(Run(finished), {"three": str(root / "validation")})
    assert [row["set"] for row in rows] == ["validation", "test", "two", "all", "three"]
    assert rows[2:4] == json.loads((finished / "result.json").read_text())["sets"]
    assert rows[4] | {"set": "validation"} == rows[0]
    with pytest.raises(InputError, match=r"two=.*: the run has a set called two; give this one another name"):
        evaluate(Run(finished), {"two": str(root / "two")})


def test_what_is_odd_about_a_set_is_told(finished: Path, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    shutil.copytree(root / "two", tmp_path / "odd")
    shutil.copy(tmp_path / "odd" / "a" / "0.png", tmp_path / "odd" / "c" / "9.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "odd" / "c" / "0.png")
    evaluate(Run(finished), {"odd": tmp_path / "odd"})
    assert "one image with two labels; of such are 2 of 11 images" in caplog.text
    assert "/odd/c/0.png: its pixels have nearly one value; so have those of 1 of 11 images" in caplog.text


def test_one_that_is_missing_or_broken_stops_a_run_before_it_begins(root: Path, tmp_path: Path):
    config = settings(root, gone=str(tmp_path / "gone")).model_dump(mode="json")
    config["data"]["require_sets"] = True
    with pytest.raises(MissingError, match="gone: no such folder"):
        run(parse_config(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config = settings(root).model_dump(mode="json")
    config["data"]["test"] = pictures(tmp_path / "test", ["a", "b", "c"], 1)
    (tmp_path / "test" / "b" / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"b/0\.png: not a whole image"):
        run(parse_config(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    broken = Path(pictures(tmp_path / "broken", ["a"], 2))
    (broken / "a" / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"a/1\.png: not a whole image"):
        run(settings(root, broken=str(broken)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_image_that_breaks_meanwhile_does_not_cost_the_learner(root: Path, tmp_path: Path, monkeypatch):
    """The learner is saved, and once the image is mended, the run is resumed and ends."""
    further = Path(pictures(tmp_path / "further", ["a", "b"], 2))
    whole = (further / "b" / "0.png").read_bytes()
    config = settings(root, further=str(further))

    def breaks(*arguments: Any) -> Any:
        (further / "b" / "0.png").write_bytes(b"")
        return conclude(*arguments)

    monkeypatch.setattr("dp_real.runs.run.conclude", breaks)
    with pytest.raises(InputError, match=r"b/0\.png"):
        run(config, tmp_path / "run")
    saved = Run(tmp_path / "run").path / "learner"
    assert any(saved.iterdir())
    (further / "b" / "0.png").write_bytes(whole)
    monkeypatch.undo()
    result = run(config, tmp_path / "run", resume=True)
    assert [each["set"] for each in result["sets"]] == ["further"]


def test_a_further_set_that_is_absent_is_named_and_left_out(root: Path, tmp_path: Path, caplog):
    """Found or not, a set that the run needs stops it, and then the absent one is named, too."""
    config = settings(root, gone=str(tmp_path / "gone"), two=str(root / "two")).data
    assert list(config.load().sets) == ["two"]
    (told,) = caplog.messages
    assert told.startswith(f"{tmp_path}/gone: no such folder")
    assert told.endswith("the run goes on without it, or asks for it by data.require_sets")
    gone = next(each for each in config.describe() if each.name == "gone")
    assert (gone.problem is not None, gone.needed) == (True, False)
    lacking = config.model_copy(update={"validation": str(tmp_path / "nothing")})
    with pytest.raises(MissingError, match=r"nothing: no such folder.*gone: no such folder"):
        lacking.load()
