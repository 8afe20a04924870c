"""The presets and their variants against the paper, and the smoke presets as a whole path."""

import json
from pathlib import Path

import pytest
from dp_experiments.presets.presets import load_preset, preset_names
from dp_experiments.presets.reported.printed_tables import table_rows
from dp_experiments.presets.variants import variants

from dp_base.errors import InputError
from dp_real import Run
from dp_real.config import Config
from tests.commands import done, told

# As printed: section 5, appendix D.


# N, P, k, total, T_max of rows of Tables 4 and 5, copied from the paper by hand.
ROWS = {
    "imagenet100-table4-1": (32_000, 16_000, 3, 80_000, 6),
    "imagenet100-table4-8": (64_000, 32_000, 11, 416_000, 4),
    "imagenet100-table4-10": (130_000, 130_000, 6, 910_000, 14),
    "imagenet100-table4-12": (130_000, 64_000, 47, 3_138_000, 5),
    "imagenet1k-table5-2": (320_000, 160_000, 1, 480_000, 1),
    "imagenet1k-table5-6": (1_300_000, 650_000, 10, 7_800_000, 1),
    "imagenet100": (32_000, 16_000, 8, 160_000, 6),  # Table 4, row 5
    "imagenet1k": (654_000, 654_000, 1, 1_308_000, 1),  # Table 5, row 4
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_scaling_tables(name: str):
    config = load_preset(name)
    plan = config.practice
    assert (plan.initial, plan.increment, plan.additions, config.samples, plan.patience) == ROWS[name]
    assert (config.guidance.omega, config.name) == (0.05, name)
    base = load_preset(name.split("-")[0])
    assert (config.training, config.sampling, config.data) == (base.training, base.sampling, base.data)


def test_ablation_and_table_1():
    rows = [load_preset(f"imagenet100-table3-{number}") for number in range(1, 7)]
    assert [row.guidance.omega for row in rows] == [0.05, 0, 0.03, 0.07, 0.05, 0.05]
    assert [row.practice.patience_growth for row in rows] == [0.07, 0.07, 0.07, 0.07, 0, 0.07]
    assert [row.practice.new_sample_weight for row in rows] == [1, 1, 1, 1, 1, 2]
    assert len({row.samples for row in rows}) == 1  # "the same final size"
    table1 = {name: load_preset(name) for name in ("imagenet100-table1", "imagenet1k-table1-1", "imagenet1k-table1-2")}
    assert [row.training.steps for row in table1.values()] == [100_000, 200_000, 200_000]
    assert {row.sampling.guidance_scale for row in table1.values()} == {3.0}  # lambda = 2
    assert [row.samples for row in table1.values()] == [1_858_000, 6_500_000, 9_100_000]  # printed: 1.9, 6.5, 9.1 M
    assert all("not in the table" in variants()[name].note for name in table1)


def test_every_preset_and_row_is_a_configuration_with_the_printed_total():
    tables = {"imagenet100-table4": table_rows(4), "imagenet1k-table5": table_rows(5)}
    assert len(variants()) == 3 + 6 + 18 + 13
    for name in (*preset_names(), *variants()):
        config = load_preset(name)
        assert config.name == name
        stem, _, number = name.rpartition("-")
        if stem in tables:
            row = tables[stem][int(number) - 1]
            assert (config.samples == int(row["total"])) == ("misprint" not in row["note"]), name
            assert variants()[name].reported == float(row["val"])
    assert "a branch: dp real branch of a run of imagenet100-table4-5" in variants()["imagenet100-table4-1"].note
    assert "branch" not in variants()["imagenet100-table4-5"].note
    assert "misprint" in variants()["imagenet100-table4-11"].note  # N + kP is kept, the total is off


@pytest.mark.parametrize("name", ["imagenet100-table4-19", "imagenet"])
def test_names_of_rows_are_checked(name: str):
    with pytest.raises(InputError, match=r"imagenet100-table4-1…18, .*or a FILE.toml"):
        load_preset(name)


def test_presets_are_listed():
    rows = {row["preset"]: row for row in told("real keys")["presets"]}
    assert list(rows) == [*preset_names(), *variants()]
    row = rows["imagenet100-table4-5"]
    assert (row["samples"], row["omega"], row["reported"]) == (160_000, 0.05, 64.40)
    assert (rows["imagenet100-table4-14"]["omega"], rows["digits"]["reported"]) == (None, None)
    _, out, err = done("real keys")
    assert len(out.splitlines()) == 1 + len(rows)
    assert "imagenet100-table4-11: misprint" in err


def smoke(name: str, out: Path) -> Config:
    """Run the preset. Returns the configuration in its folder."""
    _, answer, said = done("real run", name, "--out", str(out), "--json")
    result = json.loads(answer)
    assert "its accuracies mean nothing" in said
    every, r, a = {"imagenet100-smoke": (100, 19, 15), "imagenet1k-smoke": (1000, 200, 200)}[name]
    classes = {"imagenet-v2": every, "imagenet-sketch": every, "imagenet-r": r, "imagenet-a": a}
    assert {row["set"]: row["classes"] for row in result["sets"]} == classes
    rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    assert (result["additions"], len(rounds), rounds[0]["omega"]) == (2, 3, 0)
    assert rounds[2]["omega"] == pytest.approx(0.05)
    assert rounds[2]["denoiser_backwards"] > 0
    config = load_preset(str(out / "config.toml"))
    assert result["pool_size"] == config.samples
    assert max(result["test_accuracy"], result["val_accuracy"]) <= 0.05  # nothing can be learned from noise
    return config


@pytest.mark.slow
def test_smoke(tmp_path: Path):
    config = smoke("imagenet100-smoke", tmp_path / "run")
    real, used = load_preset("imagenet100"), config.training
    assert (used.mixup, used.cutmix, used.flip, used.crop) == (0.5, 1.0, True, real.training.crop)
    assert used.ema_decay > 0
    assert (config.sampling.guidance_scale, config.guidance.omega) == (4.0, 0.05)
    assert (config.guidance.through, config.pool.storage) == (real.guidance.through, real.pool.storage)
    drawn, _ = Run(tmp_path / "run").pool[0]
    assert drawn.shape == config.pool_shape == (3, 40, 40)  # larger than what the learner sees, as are the real images
    processor = json.loads((tmp_path / "run" / "learner" / "preprocessor_config.json").read_text())
    assert (processor["size"], processor["crop_size"]) == ({"shortest_edge": 36}, {"height": 32, "width": 32})
    assert len(told("real evaluate", str(tmp_path / "run"))["sets"]) == 6
    done("real report", str(tmp_path / "run"))
    assert list((tmp_path / "run" / "figures").glob("*.png"))


@pytest.mark.slow
def test_smoke_of_the_thousand_classes(tmp_path: Path):
    smoke("imagenet1k-smoke", tmp_path / "run")
