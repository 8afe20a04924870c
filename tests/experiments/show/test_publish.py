"""A run as a data set and a model: what the folders and the cards have, and what a stand-in for the hub receives."""

from types import SimpleNamespace

import datasets
import pytest
from huggingface_hub import RepoCard
from huggingface_hub.errors import HfHubHTTPError

from dp_real import Run
from tests.commands import done, refused


class Hub:
    """In place of the hub's client: it keeps what is uploaded, or raises `fails`."""

    fails = None

    def __init__(self):
        self.private, self.files, self.cards = {}, {}, {}

    def repo_exists(self, name, *, repo_type):
        if self.fails:
            raise self.fails
        return repo_type in self.private

    def create_repo(self, name, *, repo_type, private):
        self.private[repo_type] = private
        return f"https://hub/{repo_type}/{name}"

    def upload_folder(self, *, repo_id, repo_type, folder_path, commit_message):
        files = (path.relative_to(folder_path) for path in folder_path.rglob("*") if path.is_file())
        self.files[repo_type] = set(map(str, files))
        self.cards[repo_type] = RepoCard.load(folder_path / "README.md").data.to_dict()


@pytest.fixture
def own_hub(monkeypatch):
    own = Hub()
    monkeypatch.setattr("dp_experiments.show.publish.HfApi", lambda: own)
    monkeypatch.setattr("dp_experiments.show.publish.get_token", lambda: "hf_secret")
    return own


def test_a_folder_loads_as_a_data_set_and_a_model(text_run, tmp_path):
    out = tmp_path / "out"
    done("real export", text_run, "--out", out, "--format hub")
    loaded = datasets.load_dataset(str(out / "dataset"), split="train", cache_dir=tmp_path / "cache")
    pool = Run(text_run).pool
    assert len(loaded) == len(pool)
    assert loaded["label"] == pool.y.tolist()
    assert {path.name for path in (out / "model").iterdir()} >= {"README.md", "config.json", "model.safetensors"}
    file = out / "dataset" / "README.md"
    card = RepoCard.load(file)
    assert card.data.to_dict()["task_categories"] == ["text-classification"]
    assert "license" not in card.data.to_dict()
    assert "# license:" in file.read_text()
    assert "Write a short news item about {}" in card.text
    assert "generator agrees (%)" in card.text
    assert "The prompts showed real examples" in card.text
    assert "drawn by Deliberate Practice" in card.text
    assert "of them are real examples" not in card.text
    for row in Run(text_run).rounds.itertuples():
        assert f"| {row.round} | {row.count:,} | {row.omega:.4g} |" in card.text or row.round


def test_the_hub_receives_both(text_run, own_hub):
    said = done("real export", text_run, "--to-hub me/mine").err
    assert own_hub.private == {"dataset": True, "model": True}
    assert own_hub.files["dataset"] == {"README.md", "data/train.parquet"}
    assert own_hub.files["model"] == {path.name for path in (text_run / "learner").iterdir()} - {"SHA256SUMS"}
    assert own_hub.cards["model"]["datasets"] == ["me/mine"]
    assert own_hub.cards["model"]["model-index"][0]["results"]
    assert "https://hub/dataset/me/mine" in said
    assert "there is such a data set on the hub; name another, or add a commit to it" in refused(
        "real export", text_run, "--to-hub me/mine"
    )


def test_what_the_hub_refuses(text_run, own_hub):
    response = SimpleNamespace(status_code=403, headers={}, request=None)
    failures = (HfHubHTTPError("no", response=response), "does not let this token"), (ConnectionError(), "be reached")
    for own_hub.fails, what in failures:
        assert what in refused("real export", text_run, "--to-hub me/mine", status=3)
