"""A run as a data set and a model: what the folders and the cards have, and what a stand-in for the hub receives."""

from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from huggingface_hub import HfApi, RepoCard

from dp_real import Run
from tests.experiments.conftest import run_dp as dp
from tests.experiments.looking.hub_stand_in import Hub, hub


@pytest.fixture
def own_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the hub, and a token for it."""
    with hub() as there:
        known = HfApi.__init__
        monkeypatch.setattr(HfApi, "__init__", lambda self, **options: known(self, endpoint=there.url, **options))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield there


def test_a_folder_loads_as_a_data_set_and_a_model(text_run: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert dp("real", "export", text_run, "--out", out, "--format", "hub") == 0
    loaded = datasets.load_dataset(str(out / "dataset"), split="train", cache_dir=tmp_path / "cache")
    pool = Run(text_run).pool
    assert len(loaded) == len(pool)
    assert loaded["label"] == pool.y.tolist()
    assert {path.name for path in (out / "model").iterdir()} >= {"README.md", "config.json", "model.safetensors"}
    file = out / "dataset" / "README.md"
    card = RepoCard.load(file)
    assert card.data.to_dict()["task_categories"] == ["text-classification"]
    assert "license" not in card.data.to_dict()
    assert "# license:" in file.read_text(encoding="utf-8")
    assert "Write a short news item about {}" in card.text
    assert "generator agrees (%)" in card.text
    assert "The prompts showed real examples" in card.text
    assert "drawn by Deliberate Practice" in card.text
    assert "of them are real examples" not in card.text
    for row in Run(text_run).rounds.itertuples():
        assert f"| {row.round} | {row.count:,} | {row.omega:.4g} |" in card.text or row.round


def test_the_hub_receives_both_and_the_token_is_not_shown(
    text_run: Path, own_hub: Hub, capfd: pytest.CaptureFixture[str]
):
    assert dp("real", "export", text_run, "--to-hub", "me/mine") == 0
    assert own_hub.private == {"datasets/me/mine": True, "models/me/mine": True}
    assert set(own_hub.files["datasets/me/mine"]) == {"README.md", "data/train.parquet"}
    learner = {path.name: path.read_bytes() for path in (text_run / "learner").iterdir() if path.name != "SHA256SUMS"}
    assert own_hub.files["models/me/mine"] == learner
    assert own_hub.tokens == {"Bearer hf_secret"}
    out, err = capfd.readouterr()
    assert f"{own_hub.url}/datasets/me/mine" in err
    assert "hf_secret" not in out + err
    assert dp("real", "export", text_run, "--to-hub", "me/mine") == 2
    assert "there is such a data set on the hub; name another, or add a commit to it" in capfd.readouterr().err


def test_what_the_hub_refuses(text_run: Path, own_hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys):
    for status, what in ((403, "does not let this token write there"), (401, "does not accept the token")):
        own_hub.refuses = status
        assert dp("real", "export", text_run, "--to-hub", "me/mine") == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert what in line
        assert "hf_secret" not in line
    own_hub.url = "http://127.0.0.1:9"  # where nobody listens
    assert dp("real", "export", text_run, "--to-hub", "me/mine") == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "the hub cannot be reached" in line


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        ((), 2, "name either a folder"),
        (("--to-hub", "me/mine", "--out", "x"), 2, "name either a folder"),
        (("--to-hub", "me/mine", "--format", "jsonl"), 2, "--format jsonl is for a folder"),
        (("--to-hub", "mine"), 2, "must be OWNER/NAME"),
        (("--to-hub", "me/mine"), 3, "there is no token for the hub"),
    ],
)
def test_mistakes_get_one_line(
    text_run: Path, words: tuple[str, ...], status: int, complaint: str, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr("dp_experiments.looking.publish.get_token", lambda: None)
    assert dp("real", "export", text_run, *words) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
