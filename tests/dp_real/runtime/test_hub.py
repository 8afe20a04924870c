"""No code that comes with a model is run: not of a classifier, not of a part of a pipeline, and nobody is asked."""

import ast
import json
import sys
from pathlib import Path

import pytest

import dp_base
from dp_base.errors import InputError
from dp_real.generators.models.stable_diffusion import make_pipeline
from dp_real.generators.pipelines.load import load_pipeline
from dp_real.learners.models.classifier import known_classifier

ROOT = Path(dp_base.__file__).parents[1]
TRAP = "from pathlib import Path\nPath({mark!r}).touch()\nclass Trap: pass\n"


def refuses(*_: object) -> str:
    raise AssertionError("stdin was asked")


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the code would leave if it were run; a question on stdin fails the test."""
    monkeypatch.setattr("builtins.input", refuses)
    monkeypatch.setattr(sys, "stdin", None)
    return tmp_path / "run"


def write_trap(folder: Path, mark: Path, **config: object) -> None:
    folder.mkdir(exist_ok=True)
    kinds = ("AutoConfig", "AutoModel", "AutoModelForImageClassification", "AutoImageProcessor")
    auto = {"auto_map": {kind: "trap.Trap" for kind in kinds}}
    (folder / "trap.py").write_text(TRAP.format(mark=str(mark)))
    (folder / "config.json").write_text(json.dumps({"model_type": "trap"} | auto | config))
    (folder / "preprocessor_config.json").write_text(json.dumps(auto))


def test_a_classifiers_own_code_is_not_run(tmp_path: Path, mark: Path):
    write_trap(tmp_path / "model", mark)
    with pytest.raises(InputError, match="code that comes with it"):
        known_classifier(str(tmp_path / "model"), (3, 8, 8), {})
    assert not mark.exists()


def test_an_image_processors_own_code_is_not_run(tmp_path: Path, mark: Path):
    from transformers.models.vit.configuration_vit import ViTConfig
    from transformers.models.vit.modeling_vit import ViTForImageClassification

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = ViTForImageClassification(ViTConfig(**sizes, image_size=8, patch_size=8))  # pyright: ignore[reportArgumentType]
    model.save_pretrained(tmp_path / "model")
    known = json.loads((tmp_path / "model" / "config.json").read_text())
    write_trap(tmp_path / "model", mark, **known)
    (tmp_path / "model" / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Trap", "auto_map": {"AutoImageProcessor": "trap.Trap"}})
    )
    with pytest.raises(InputError, match="code that comes with it"):
        known_classifier(str(tmp_path / "model"), (3, 8, 8), {})
    assert not mark.exists()


@pytest.mark.parametrize("declared", [["transformers", "AutoModel"], ["trap", "Trap"]])
def test_the_own_code_of_a_pipelines_part_is_not_run(tmp_path: Path, mark: Path, declared: list[str]):
    """diffusers hands no trust_remote_code on to the parts that transformers loads; it must not load an AutoModel."""
    folder = tmp_path / "pipeline"
    make_pipeline(16, ["a"]).save_pretrained(folder)
    write_trap(folder / "text_encoder", mark)
    index = json.loads((folder / "model_index.json").read_text()) | {"text_encoder": declared}
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"code that comes with it|no pipeline that diffusers can load"):
        load_pipeline(str(folder))
    assert not mark.exists()


def calls() -> list[tuple[Path, str, ast.Call]]:
    """Every call in the packages, with the name that is called: `from_pretrained` of `kind.from_pretrained(…)`."""
    found = []
    for package in ("dp_base", "dp_real", "dp_theory", "experiments", "figures"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    found.append((path, ast.unparse(node.func), node))
    return found


def test_every_load_refuses_remote_code():
    """A scheduler's from_config takes a dict and no such option; `datasets` runs no code any more."""
    loads = [
        (path, node)
        for path, called, node in calls()
        if called.endswith((".from_pretrained", ".load_checkpoint", ".pipeline"))
        or (called.startswith("Auto") and called.endswith(".from_config"))
    ]
    assert len(loads) >= 3
    for path, node in loads:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert given.get("trust_remote_code") == "False", f"{path}:{node.lineno}: {ast.unparse(node)}"


def test_data_sets_are_read_by_builders_that_come_with_the_library():
    loads = [(path, node) for path, called, node in calls() if called.startswith("load_dataset")]
    assert loads
    for path, node in loads:
        assert ast.unparse(node.args[0]) == "'parquet'", f"{path}:{node.lineno}"
