"""`dp real pilot` end to end, on digits and where nothing can judge labels."""

import json
from pathlib import Path
from typing import Any

import pytest
from dp_experiments.pilot.pilot import remarks
from transformers import CLIPImageProcessor, ViTConfig, ViTForImageClassification

from dp_real.runs.reader import Run
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
        ("gaussian", str(zoo), "a judge of labels, which looks at images, and these are none"),
        ("text-own-smoke", str(tmp_path), "a judge of labels, which looks at images, and these are none"),
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
    assert {path.name for path in (out / "runs").iterdir()} == {"practice-seed0", "real-900-seed0"}
    assert [row["samples"] for row in facts["rounds"]] == [40, 20, 20]
    assert facts["judge"]["what"] == "runs/real-900-seed0"  # not where its folder lies today, as that may be moved
    assert facts["judge"]["images"] == 250
    assert facts["judge"]["accuracy"] > 0.6
    plain, *guided = facts["rounds"]
    assert plain["omega"] == 0
    assert min(row["omega"] for row in guided) > 0
    assert 0.3 < plain["confirmed"] <= 1
    assert set(facts["boundary"]) == {"real", "plain", "guided"}
    assert all(0 <= found["displaced"] < 1 for found in facts["boundary"].values())
    assert facts["boundary"]["real"]["displaced"] < 0.2
    assert (facts["additions"], facts["planned"]) == (2, 2)
    run = Run(out / "runs" / "practice-seed0")
    assert run.result["test_accuracy"] is None

    assert dp(*command) == 2
    assert "--resume goes on" in capsys.readouterr().err
    assert dp("real", "report", str(out / "runs" / "practice-seed0"), "--out", str(tmp_path / "page.html")) == 0
    capsys.readouterr()
    judge = str(out / "runs" / "real-900-seed0")
    assert dp(*command[:-1], "--resume", "--judge", judge) == 0
    said, remarked = capsys.readouterr()
    assert [line.split("\t")[0] for line in said.splitlines()] == ["round", "0", "1", "2"]
    assert all(remark in remarked for remark in facts["remarks"])


def facts_of(plain: float, guided: float, of_missed: float | None, additions: float = 2.0) -> dict[str, Any]:
    rounds = [{"confirmed": plain}, {"confirmed": guided, "confirmed_of_missed": of_missed}]
    return {"judge": {"accuracy": 0.9}, "rounds": rounds, "additions": additions, "planned": 2}


def test_remarks_say_what_is_wrong():
    assert remarks(facts_of(0.99, 0.96, 0.92)) == [
        "the judge confirms 99% of the labels of plain samples",
        "it confirms 96% of those of guided samples",
        "it confirms 92% of those that the learner misses",
    ]
    assert "the generator itself is at fault" in remarks(facts_of(0.71, 0.6, 0.6))[0]
    assert "at fault" not in remarks(facts_of(0.73, 0.6, 0.6))[0]
    assert "lower guidance.wrong_share" in remarks(facts_of(0.9, 0.8, 0.49))[2]
    assert "lower" not in remarks(facts_of(0.9, 0.8, 0.51))[2]
    assert len(remarks(facts_of(0.9, 0.9, None))) == 2
    assert "give it more --steps" in remarks(facts_of(0.9, 0.9, 0.9, 1.5))[-1]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["--n", "42"], "--n 42: should be a multiple of 4, a quarter of it at least one of each class: 44"),
        (["--n", "36"], "at least one of each class: 40"),
        (["--set", "guidance.omega=0"], "there is nothing to try"),
        (["--set", "practice.start=real"], "a pilot looks at generated samples"),
    ],
)
def test_what_cannot_be_tried_is_refused(
    settings: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert dp("real", "pilot", "digits", *settings) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
