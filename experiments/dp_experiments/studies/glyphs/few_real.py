"""Practice with a few real images and an encoder, on glyphs.

`python -m dp_experiments.studies.glyphs.few_real SPLITS KS ARMS` makes those rows of runs/glyphs-few.csv that are
missing, such as `5,6,7 2,10 probe,static-encoder`, and adds each as soon as it is there.
"""

import csv
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dp_experiments.compare.compare import run_arm
from dp_experiments.presets.presets import load_preset
from dp_experiments.studies.glyphs.encoder import encoder
from dp_experiments.studies.glyphs.source import GlyphsConfig
from dp_experiments.studies.stored import stored_runs
from dp_real.config import Config, parse_config
from dp_real.config.arms import arm_config
from dp_real.runs.identity import versions

ROWS = Path(__file__).parent / "runs" / "glyphs-few.csv"
ENCODER = "-encoder"  # ends the name, before settings, of an arm whose learner starts from the encoder


def preset(arm: str, k: int, split: int) -> Config:
    """The task with k real images of each class, before it is the arm's and has its encoder."""
    looks = [] if arm.startswith("practice") else ["practice.evaluate_every=500"]  # on which no other arm depends
    settings = [
        "generator.training=full",
        "training.steps=1500",
        f"data.split={split}",
        f"data.real_per_class={k}",
        *looks,
    ]
    return load_preset("glyphs", settings, seed=split)


def result_of(arm: str, config: Config, out: Path, drawn: Path | None = None) -> dict[str, Any]:
    """The result of an arm, whose encoder is made on first use. Plain rows that arms share are kept in `drawn`."""
    name, *settings = arm.split("@")
    if name in ("probe", "finetune") or name.endswith(ENCODER):
        assert isinstance(config.data, GlyphsConfig)
        raw, model = config.model_dump(), str(encoder(config.data))
        raw["practice"]["encoder"] = model
        config = parse_config(raw | {"learner": {"kind": "transformers", "model": model}})
    name = "@".join([name.removesuffix(ENCODER), *settings])
    return run_arm(name, arm_config(config, name), out, drawn)


def cell(arm: str, k: int, split: int, drawn: Path) -> dict[str, Any]:
    """The row of one run."""
    with TemporaryDirectory() as folder:
        result = result_of(arm, preset(arm, k, split), Path(folder) / "run", drawn=drawn)
    sets = {row["set"]: row["accuracy"] for row in result["sets"]}
    accuracies = {"validation": result["val_accuracy"], "test": result["test_accuracy"], **sets}
    return {
        **{"arm": arm, "k": k, "split": split, "seed": split},
        **{name: f"{100 * accuracy:.3f}" for name, accuracy in accuracies.items()},
        "generated": result["samples_generated"],
        "kept": result["pool_size"],
        "tflop": f"{(result['generation_flops'] + result['training_flops']) / 1e12:.2f}",
        "versions": " ".join(f"{name}={version}" for name, version in versions().items()),
    }


def main(drawn: Path, splits: str, ks: str, arms: str) -> None:
    for split, k, arm in product(splits.split(","), ks.split(","), arms.split(",")):
        there = stored_runs(ROWS.stem)[["arm", "k", "split"]].astype(str)
        if (arm, k, split) not in set(there.itertuples(index=False, name=None)):
            row = cell(arm, int(k), int(split), drawn)
            with open(ROWS, "a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(row.values())


if __name__ == "__main__":
    torch.set_num_threads(1)
    with TemporaryDirectory() as drawn:
        main(Path(drawn), *sys.argv[1:])
