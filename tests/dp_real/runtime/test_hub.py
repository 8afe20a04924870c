"""No code that comes with a model is run, and nobody is asked; what a folder lacks is named before it is read."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
from httpx2 import RemoteProtocolError
from transformers import ByT5Tokenizer

from dp_base.errors import MissingError
from dp_base.reading import read_json
from dp_real.generators.models.stable_diffusion import make_pipeline
from dp_real.generators.pipelines.loading import load_pipeline
from dp_real.learners.models.classifier import pretrained_classifier
from dp_real.runtime.hub import reading, require_distinct_prompts
from dp_real.runtime.model_folders import is_hub_id
from tests.dp_real.generators.tiny_pipelines import tiny_vit
from tests.dp_real.runs.folders import set_keys
from tests.refusals import refusal
from tests.source import modules

TRAP = "from pathlib import Path\nPath({mark!r}).touch()\nclass Trap: pass\n"


@pytest.fixture
def mark(tmp_path, patch):
    """The file that the code would leave if it were run; a question on stdin fails the test."""
    patch("builtins.input", lambda *_: pytest.fail("stdin was asked"))
    patch("sys.stdin", None)
    return tmp_path / "run"


def write_trap(folder, mark, **config):
    folder.mkdir(exist_ok=True)
    kinds = ("AutoConfig", "AutoModel", "AutoModelForImageClassification", "AutoImageProcessor")
    auto = {"auto_map": {kind: "trap.Trap" for kind in kinds}}
    (folder / "trap.py").write_text(TRAP.format(mark=str(mark)))
    (folder / "config.json").write_text(json.dumps({"model_type": "trap"} | auto | config))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "Trap"} | auto))


@pytest.mark.parametrize("known", [False, True])
def test_the_own_code_of_a_classifier_or_its_image_processor_is_not_run(tmp_path, mark, known):
    config = {}
    if known:
        tiny_vit().save_pretrained(tmp_path / "model")
        config = read_json(tmp_path / "model/config.json")
    write_trap(tmp_path / "model", mark, **config)
    with refusal("it needs its own code"):
        pretrained_classifier(f"{tmp_path}/model", (3, 16, 16), {})
    assert not mark.exists()


@pytest.mark.parametrize("declared", [["transformers", "AutoModel"], ["trap", "Trap"]])
def test_the_own_code_of_a_pipelines_part_is_not_run(saved, mark, declared):
    """diffusers hands no trust_remote_code on to the parts that transformers loads; it must not load an AutoModel."""
    write_trap(saved / "text_encoder", mark)
    set_keys(saved / "model_index.json", text_encoder=declared)
    with refusal(r"it needs its own code|no StableDiffusionPipeline could be read"):
        load_pipeline(str(saved))
    assert not mark.exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "whole"
    make_pipeline(16, ["a"]).save_pretrained(folder)
    return folder


@pytest.fixture
def saved(whole, tmp_path):
    """A copy of a pipeline's folder, from which a test may take parts."""
    return Path(shutil.copytree(whole, tmp_path / "sd"))


WEIGHTS = "diffusion_pytorch_model.safetensors"


def test_a_name_that_is_no_models_says_what_to_name(saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    for name in ("my.safetensors", "my.txt"):
        Path(name).touch()
    names = ("my.safetensors", "my.txt", f"sd/vae/{WEIGHTS}", "https://huggingface.co/an/id", "hf.co/an/id/blob/main")
    for name in names:
        with refusal(
            r"no such folder; name a folder that save_pretrained wrote, or a hub id as owner/name", MissingError
        ):
            load_pipeline(name)
    assert is_hub_id("an/id-1.5")
    Path("an/run").mkdir(parents=True)
    Path("an/run/config.toml").touch()
    assert not is_hub_id("an/id-1.5")  # a folder of runs
    assert not any(map(is_hub_id, ("", "id", "/an/id", "./id", "~/id", "a/b/c", "an/other id", "an/id.safetensors")))


def test_every_load_refuses_remote_code():
    """A scheduler's from_config takes a dict and no such option; what reads data sets are builders of `datasets`."""
    seen = 0
    for path in modules().values():
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            called = ast.unparse(call.func)
            if re.match(r"Auto.*\.from_config$|.*\.(from_pretrained|load_checkpoint|pipeline)$", called, re.S):
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                assert given.get("trust_remote_code") == "False", f"{path}:{call.lineno}"
                seen += 1
            if called.startswith("load_dataset"):
                assert ast.unparse(call.args[0]) == "'parquet'", f"{path}:{call.lineno}"
                seen += 1
    assert seen >= 4


def test_a_network_that_fails_during_a_download_is_no_fault_of_the_input():
    problem = "an/id: no tokenizer could be read: fetch it.*: it broke off"
    with refusal(problem, MissingError), reading("an/id", "a tokenizer"):
        raise RemoteProtocolError("it broke off")


def test_prompts_of_two_classes_that_are_alike_once_cut_are_refused(caplog):
    """By the tokenizer that reads most; what is cut and still tells the classes apart is told."""
    asked = [["a photo of a hen"], ["a photo of a cock in a yard behind the house"]]
    short, *readers = [(ByT5Tokenizer(extra_ids=0), read) for read in (12, 10, 30)]
    with refusal(r"'a photo of a hen' and 'a photo of .* in the first 12 tokens"):
        require_distinct_prompts(asked, [short, readers[0]])
    require_distinct_prompts(asked, readers)
    assert caplog.messages == [f"prompts of more than the 30 tokens that are read are cut: 1, such as {asked[1][0]!r}"]
    require_distinct_prompts(asked, [])
    require_distinct_prompts([asked[0], asked[0]], readers)  # one caption of two classes is a table's own choice
