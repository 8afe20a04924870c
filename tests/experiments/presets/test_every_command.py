"""Every command of `dp real` on what the smallest run of each preset leaves, with one cache for all of them."""

import json

import pytest
from dp_experiments.presets.presets import preset_names

from dp_real import Run
from tests.commands import done, dp
from torture.damage import readers

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SHORT = """
    --set training.steps=40
    --set practice.initial=20
    --set practice.additions=2
    --set practice.increment=10
    --set practice.patience=1
    --set practice.evaluate_every=2
"""
NETWORK = "--set generator.training=none --set sampling.steps=2"
OWN = {
    "digits": NETWORK,
    "fashion": NETWORK,
    "fashion-tail": f"{NETWORK} --set practice.real=20",
    "gaussian": "--set data.dimension=10 --set sampling.block_size=20",
    "glyphs": f"{NETWORK} --set practice.initial=100",
    "glyphs-tail": f"{NETWORK} --set practice.initial=200 --set practice.real=200",
    "imagenet100-smoke": "--set sampling.steps=2 --set practice.initial=200",
    "imagenet1k-smoke": "--set sampling.steps=2 --set practice.initial=1000",
    "reviews": """
        --set generator.max_new_tokens=4 --set sampling.block_size=10 --set data.validation=10 --set data.test=10
    """,
    "words": "--set generator.training=none",
}
"""What makes each preset small, beyond SHORT."""
REFUSED = {"gaussian": {"sample", "review", "rounds"}}
"""The commands that a preset cannot have: no picture or features of points."""
FULL_SIZE = {"imagenet100", "imagenet1k"}  # these need weights of a hub and a GPU; their -smoke forms stand for them


CLASSES = {"imagenet100-smoke": (100, 19, 15), "imagenet1k-smoke": (1000, 200, 200)}
"""How many classes have a preset's own sets, ImageNet-R and ImageNet-A."""


def check_noise(run, every, r, a):
    """The whole path of ImageNet, on images that are noise, of which nothing can be learned."""
    classes = {"imagenet-v2": every, "imagenet-sketch": every, "imagenet-r": r, "imagenet-a": a}
    assert {row["set"]: row["classes"] for row in run.result["sets"]} == classes
    assert max(run.result["test_accuracy"], run.result["val_accuracy"]) <= 0.05
    assert run.rounds["omega"].tolist()[::2] == pytest.approx([0, 0.05])
    assert run.rounds["denoiser_backwards"].iloc[2] > 0
    assert run.result["pool_size"] == run.config.samples
    assert run.pool[0][0].shape == run.config.pool_shape
    if every == 100:  # the learner crops larger images
        processor = json.loads((run.path / "learner" / "preprocessor_config.json").read_text())
        assert (processor["size"], processor["crop_size"]) == ({"shortest_edge": 36}, {"height": 32, "width": 32})


def small_presets():
    """The presets that a machine without a GPU can run, small."""
    return [name for name in preset_names() if name not in FULL_SIZE and "-table" not in name]


def refusal(*words):
    """The one line in which a command refuses; empty if it did what it was asked."""
    status, _, err = dp(*words)
    lines = [line for line in err.splitlines() if line.startswith("dp: ")]
    assert "Traceback" not in err, (words, err)
    assert (status, len(lines)) in ((0, 0), (2, 1)), (words, status, err)
    return "".join(lines)


@pytest.mark.parametrize("preset", small_presets())
def test_every_command_after_a_small_run(preset, tmp_path):
    small = (preset, SHORT, OWN.get(preset, ""))
    status, plan, _ = dp("real plan", *small, "--json")
    missing = [need["problem"] for need in json.loads(plan)["needs"] if need["problem"]]
    assert (status == 0) is not bool(missing)
    if missing:
        pytest.skip("; ".join(missing))
    run = tmp_path / "run"
    said = done("real run", *small, "--out", run).err
    if preset in CLASSES:
        check_noise(Run(run), *CLASSES[preset])
        assert "its accuracies mean nothing" in said
    commands = {name: readers(tmp_path / name)[name](run) for name in readers(tmp_path)}
    commands["sample"] = ("real sample", run, "--out", tmp_path / "sample", "--json")  # its classes differ
    commands["hub"] = ("real export", run, "--format hub --out", tmp_path / "hub")
    commands["rounds"] = ("real report", run, "--rounds --json --out", tmp_path / "rounds.html")
    refused = {name: line for name, words in commands.items() if (line := refusal(*words))}
    refused.pop("forecast", None)  # learners as small as these may have no right answer, and then there is no curve
    assert refused.keys() == REFUSED.get(preset, set()), refused
