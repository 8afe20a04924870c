"""`dp real` on texts, as a person meets it: the smoke preset as a whole path, and the file of a task of one's own."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dp_experiments.looking.report.pictures import draw_rounds
from dp_experiments.presets.presets import load_preset

from dp_real import Run
from dp_real.config import load_config, parse_config
from dp_real.evaluate.card import model_card
from tests.experiments.conftest import run_dp as dp


def test_init_writes_a_file_for_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert dp("real", "init", "reviews", "--kind", "text") == 0
    assert "dp real run reviews.toml" in capsys.readouterr().err
    text = Path("reviews.toml").read_text()
    assert "{name}" not in text
    assert '#   "bag-of-words": A linear model of' in text
    config = load_config(Path("reviews.toml"))
    assert (config.samples, config.data.source, config.generator.kind) == (2000, "text", "causal-lm")
    assert "at most 500 + 6 * 250 = 2000" in text
    assert (config.learner.kind, config.training.learning_rate) == ("bag-of-words", 0.003)
    assert load_preset("text-own-smoke").generator.kind == config.generator.kind
    monkeypatch.setattr("huggingface_hub.auth_check", lambda model: 1 / 0)  # no network
    assert dp("real", "plan", "reviews.toml", "--json") == 3
    plan = json.loads(capsys.readouterr().out)
    assert {need["what"] for need in plan["needs"] if need["problem"]} >= {"generator.model"}


def test_report_and_evaluate(text_run: Path, capsys: pytest.CaptureFixture[str]):
    assert dp("real", "report", text_run, "--json") == 0
    (facts,) = json.loads(capsys.readouterr().out)["reports"]
    hardest = [row["entropy"] for row in facts["hardest"]]
    assert hardest == sorted(hardest, reverse=True)
    assert {row["predicted"] for row in facts["hardest"]} <= {"business", "science", "sports", "weather"}
    page = (text_run / "report.html").read_text()
    assert "The hardest texts that were added" in page
    assert "nearly one of the validation set" in page
    assert dp("real", "evaluate", text_run, "--json") == 0
    assert [row["images"] for row in json.loads(capsys.readouterr().out)["sets"]] == [52, 52]


def test_sample_writes_plain_and_chosen_texts(text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plain = ("--set", "guidance.likelihood_weight=0.0", "--set", "pool.soft_labels=false")
    words = ("--omega", "0,1000", "--n", "2", "--classes", "0,2", *plain)
    assert dp("real", "sample", text_run, "--out", tmp_path / "look", *words) == 0
    assert "samples.csv" in capsys.readouterr().err
    samples = pd.read_csv(tmp_path / "look" / "samples.csv")
    assert samples["class"].tolist() == ["business", "business", "sports", "sports"] * 2
    plain, chosen = (samples[samples["omega"] == omega] for omega in (0, 1000))
    assert chosen["entropy"].mean() >= plain["entropy"].mean()
    assert "likelihood" not in samples  # nobody asked the generator for it
    assert dp("real", "sample", "text-own-smoke", "--out", tmp_path / "plain", "--omega", "0", "--classes", "1") == 0
    asked = pd.read_csv(tmp_path / "plain" / "samples.csv")
    assert len(asked) == 1
    assert asked["likelihood"].between(0, 1, inclusive="neither").all()


def test_nothing_of_it_speaks_of_images(text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert dp("real", "report", text_run, "--out", tmp_path / "report.html") == 0
    page = re.sub(r'src(set)?="data:[^"]*"', "", (tmp_path / "report.html").read_text())
    assert "image" not in re.sub(r"<style>.*</style>|<script>.*</script>", "", page, flags=re.DOTALL)
    assert "denoiser" not in page
    assert len(draw_rounds(Run(text_run).metrics, Run(text_run).rounds).axes) == 5
    learner = {"kind": "bag-of-words"}
    config = load_preset("text-own-smoke")
    card = model_card(parse_config(config.model_dump() | {"learner": learner}), Run(text_run).result)
    assert "denoiser" not in card
    assert "image" not in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert "float32" not in code
    found: dict[str, Any] = {}
    exec(code.replace('"RUN"', repr(str(text_run))).replace(".argmax(1)", ".shape") + "\nshape = x.shape", found)
    assert found["shape"] == (2, 80)


def test_texts_along_a_run(text_run: Path, tmp_path: Path):
    words = ("--along", "--classes", "0,2", "--set", "guidance.likelihood_weight=0.0")
    assert dp("real", "sample", text_run, "--out", tmp_path, *words) == 0
    rounds = Run(text_run).rounds
    steps = pd.read_csv(tmp_path / "samples.csv")[["pool_size", "omega"]].drop_duplicates()
    assert steps["pool_size"].tolist() == [rounds["count"][0], *rounds["count"].cumsum()[:-1]]
    assert steps["omega"].tolist() == pytest.approx([0, *rounds["omega"][1:]])
