"""`dp real` on texts, as a person meets it: the smoke preset as a whole path, and the file of a task of one's own."""

import re
from pathlib import Path

import pandas as pd
import pytest
from dp_experiments.presets.presets import load_preset
from dp_experiments.show.report.pictures import draw_rounds

from dp_real import Run
from dp_real.config import parse_config
from dp_real.evaluate.card import model_card
from tests.commands import done, told


def test_a_plan_says_that_the_model_is_not_there(here, patch):
    done("real init reviews --kind text")
    assert '#   "bag-of-words": A linear model on' in Path("reviews.toml").read_text()
    patch("huggingface_hub.auth_check", lambda model: 1 / 0)  # no network
    plan = told("real plan reviews.toml", status=3)
    assert {need["what"] for need in plan["needs"] if need["problem"]} >= {"generator.model"}


def test_sample_writes_plain_and_chosen_texts(text_run, tmp_path):
    plain = "--set guidance.likelihood_weight=0.0 --set pool.soft_labels=false"
    words = f"--omega 0,1000 --n 2 --classes 0,2 {plain}"
    assert "samples.csv" in done("real sample", text_run, "--out", tmp_path / "look", words).err
    samples = pd.read_csv(tmp_path / "look" / "samples.csv")
    assert samples["class"].tolist() == ["business", "business", "sports", "sports"] * 2
    plain, chosen = (samples[samples["omega"] == omega] for omega in (0, 1000))
    assert chosen["entropy"].mean() >= plain["entropy"].mean()
    done("real sample text-own-smoke --out", tmp_path / "plain", "--omega 0 --classes 1")
    assert len(pd.read_csv(tmp_path / "plain" / "samples.csv")) == 1


def test_nothing_of_it_speaks_of_images(text_run, tmp_path):
    done("real report", text_run, "--out", tmp_path / "report.html")
    page = re.sub(r'src(set)?="data:[^"]*"', "", (tmp_path / "report.html").read_text())
    assert "image" not in re.sub(r"<style>.*</style>|<script>.*</script>", "", page, flags=re.DOTALL)
    assert "denoiser" not in page
    assert "nearly one of the validation set" in page
    assert len(draw_rounds(Run(text_run).metrics, Run(text_run).rounds).axes) == 5
    learner = {"kind": "bag-of-words"}
    config = load_preset("text-own-smoke")
    card = model_card(parse_config(config.model_dump() | {"learner": learner}), Run(text_run).result)
    assert "denoiser" not in card
    assert "image" not in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert "float32" not in code
    found = {}
    exec(code.replace('"LEARNER"', repr(str(text_run / "learner"))), found)
    assert found["x"].shape == (2, 80)


def test_texts_along_a_run(text_run, tmp_path):
    words = "--along --classes 0,2 --set guidance.likelihood_weight=0.0"
    done("real sample", text_run, "--out", tmp_path, words)
    rounds = Run(text_run).rounds
    steps = pd.read_csv(tmp_path / "samples.csv")[["pool_size", "omega"]].drop_duplicates()
    assert steps["pool_size"].tolist() == [rounds["count"][0], *rounds["count"].cumsum()[:-1]]
    assert steps["omega"].tolist() == pytest.approx([0, *rounds["omega"][1:]])
