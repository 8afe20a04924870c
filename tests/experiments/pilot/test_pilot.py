"""`dp real pilot` end to end, on digits and where nothing can judge labels."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor, ViTConfig, ViTForImageClassification

from dp_real.evaluation.assess import logits
from dp_real.runs.reader import Run
from dp_real.text.near import NearTexts
from tests.experiments.conftest import run_dp as dp

QUICK = ("generator.width=64", "generator.blocks=1", "generator.train_steps=400", "sampling.steps=8")
SET = [part for override in QUICK for part in ("--set", override)]
FEW = ["--n", "80", "--seeds", "1", "--steps", "300", "--workers", "1"]

pytestmark = pytest.mark.usefixtures("cache")


def test_a_judge_that_cannot_be_used_is_refused_before_any_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    zoo = tmp_path / "zoo"
    labels = {0: "cat", 1: "dog", 2: "cow"}
    ViTForImageClassification(
        ViTConfig(
            image_size=8,
            patch_size=8,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            id2label=labels,
            label2id={name: label for label, name in labels.items()},
        )
    ).save_pretrained(zoo)
    CLIPImageProcessor().save_pretrained(zoo)
    for preset, given, message in (
        ("digits", "no/such/model", "no/such/model: no such folder"),
        ("digits", str(zoo), "the judge knows no class that means class 0"),
        ("gaussian", str(zoo), "a judge looks at images, and these are none"),
        ("text-own-smoke", str(tmp_path), "a judge looks at images, and these are none"),
    ):
        out = tmp_path / "out"
        assert dp("real", "pilot", preset, *FEW, "--judge", given, "--out", str(out)) in (2, 3)
        assert message in capsys.readouterr().err
        assert not out.exists()


def test_a_pilot_of_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "pilot"
    command = ["real", "pilot", "digits", *SET, *FEW, "--out", str(out), "--json"]
    assert dp(*command) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == json.loads((out / "pilot.json").read_text())
    assert [row["samples"] for row in facts["static"]] == [20, 40, 80]
    assert [row["samples"] for row in facts["rounds"]] == [40, 20, 20]
    assert facts["judge"]["images"] == 250
    assert facts["judge"]["accuracy"] > 0.6
    small, whole = (Run(out / "runs" / f"static-{n}-seed0") for n in (20, 80))
    assert torch.equal(small.pool.x[:20], whole.pool.x[:20])
    right = logits(small.learner(), whole.pool.x[20:80]).argmax(1) == whole.pool.y[20:]
    assert facts["static"][0]["plain"] == pytest.approx(100 * right.double().mean().item())
    assert facts["static"][2]["plain"] is None
    assert 10 < facts["practice"]["plain"] <= 100
    plain, *guided = facts["rounds"]
    assert plain["omega"] == 0
    assert min(row["omega"] for row in guided) > 0
    assert 0.3 < plain["confirmed"] <= 1
    assert set(facts["boundary"]) == {"real", "plain", "guided"}
    assert all(0 <= found["displaced"] < 1 for found in facts["boundary"].values())
    assert facts["boundary"]["real"]["displaced"] < 0.2
    assert {key: facts["practice"][key] for key in ("made", "guided", "additions", "planned")} == {
        "made": 80,
        "guided": 0.5,
        "additions": 2,
        "planned": 2,
    }
    assert facts["cost"] > 1
    assert facts["pays"] in ("likely", "unlikely", "cannot tell")
    run = Run(out / "runs" / "practice-seed0")
    assert run.result["test_accuracy"] is None

    assert dp(*command) == 2
    assert "--resume goes on" in capsys.readouterr().err
    assert dp("real", "report", str(out / "runs" / "practice-seed0"), "--out", str(tmp_path / "page.html")) == 0
    capsys.readouterr()
    judge = str(out / "runs" / "real-900-seed0")
    assert dp(*command[:-1], "--resume", "--judge", judge) == 0
    said, verdict = capsys.readouterr()
    assert [line.split("\t")[0] for line in said.splitlines()[:5]] == ["arm", *["static"] * 3, "practice"]
    assert facts["verdict"] in verdict


def test_a_pilot_without_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["real", "pilot", "gaussian", "--set", "guidance.omega=0.1", *FEW, "--n", "40", "--json"]
    assert dp(*command, "--out", str(tmp_path / "pilot")) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["judge"] is None
    assert facts["rounds"] == []
    assert "labels were not checked" in facts["verdict"]


def test_a_pilot_of_texts_counts_those_that_were_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def a_fourth(self: NearTexts, texts: Sequence[str]) -> np.ndarray:
        return np.array([zlib.crc32(text.encode()) % 4 == 0 for text in texts], bool)

    monkeypatch.setattr(NearTexts, "add", a_fourth)  # the texts of random weights are not alike
    command = ["real", "pilot", "text-own-smoke", "--n", "64", "--seeds", "1", "--steps", "30", "--workers", "1"]
    assert dp(*command, "--out", str(tmp_path / "pilot"), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    rounds = Run(tmp_path / "pilot" / "runs" / "practice-seed0").pool.table()["round"].to_numpy()
    assert facts["practice"]["made"] == len(rounds) < 64
    assert facts["practice"]["guided"] == (rounds > 0).mean()
    assert facts["static"][0]["plain"] is not None
    assert facts["static"][2]["plain"] is None
    assert "more --steps" not in facts["verdict"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["--n", "42"], "--n 42: should be a multiple of 4, a quarter of it at least one of each class: 44"),
        (["--n", "36"], "at least one of each class: 40"),
        (["--set", "guidance.omega=0"], "there is nothing to try"),
        (["--set", "practice.start=real"], "a pilot compares generated samples"),
    ],
)
def test_what_cannot_be_tried_is_refused(
    settings: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert dp("real", "pilot", "digits", *settings) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
