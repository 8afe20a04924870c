"""The presets and their variants against the paper, and the smoke presets as a whole path."""

import pytest
from dp_experiments.cli.real.configure import keys
from dp_experiments.presets.presets import load_preset, preset_names, sources
from dp_experiments.presets.printed_tables import table_rows
from dp_experiments.presets.variants import variants

from dp_real.config import parse_config
from dp_real.runs.prepare import check_plan
from tests.commands import done, told
from tests.refusals import refusal

# As printed: section 5, appendix D.


# N, P, k, total, T_max of rows of Tables 4 and 5, copied from the paper by hand.
ROWS = """
    imagenet100-table4-1   32_000     16_000   3   80_000     6
    imagenet100-table4-8   64_000     32_000   11  416_000    4
    imagenet100-table4-10  130_000    130_000  6   910_000    14
    imagenet100-table4-12  130_000    64_000   47  3_138_000  5
    imagenet1k-table5-2    320_000    160_000  1   480_000    1
    imagenet1k-table5-6    1_300_000  650_000  10  7_800_000  1
    imagenet100            32_000     16_000   8   160_000    6
    imagenet1k             654_000    654_000  1   1_308_000  1
"""  # the last two are row 5 of Table 4 and row 4 of Table 5


@pytest.mark.parametrize("row", ROWS.strip().splitlines())
def test_rows_of_the_scaling_tables(row):
    name, *numbers = row.split()
    config = load_preset(name)
    plan = config.practice
    found = plan.initial, plan.increment, plan.additions, config.samples, plan.patience
    assert list(found) == [int(number) for number in numbers]
    assert (config.guidance.omega, config.name) == (0.05, name)
    base = load_preset(name.split("-")[0])
    assert (config.training, config.sampling, config.data) == (base.training, base.sampling, base.data)


ABLATION = """
    0.05  0.07  1
    0     0.07  1
    0.03  0.07  1
    0.07  0.07  1
    0.05  0     1
    0.05  0.07  2
"""  # omega, growth of patience, and weight of new samples of the rows of Table 3


def test_ablation_and_table_1():
    sizes = set()
    for number, printed in enumerate(ABLATION.strip().splitlines(), 1):
        row = load_preset(f"imagenet100-table3-{number}")
        found = row.guidance.omega, row.practice.patience_growth, row.practice.new_sample_weight
        assert list(found) == [float(cell) for cell in printed.split()]
        sizes.add(row.samples)
    assert len(sizes) == 1  # "the same final size"
    table1 = {name: load_preset(name) for name in ("imagenet100-table1", "imagenet1k-table1-1", "imagenet1k-table1-2")}
    assert [row.training.steps for row in table1.values()] == [100_000, 200_000, 200_000]
    assert {row.sampling.guidance_scale for row in table1.values()} == {3.0}  # lambda = 2
    assert [row.samples for row in table1.values()] == [1_858_000, 6_500_000, 9_100_000]  # printed: 1.9, 6.5, 9.1 M
    assert all("not in the table" in variants()[name].note for name in table1)


def test_every_preset_and_row_is_a_configuration_with_the_printed_total():
    tables = {"imagenet100-table4": table_rows(4), "imagenet1k-table5": table_rows(5)}
    assert len(variants()) == 3 + 6 + 18 + 13 + 2
    for name in (*preset_names(), *variants()):
        config = load_preset(name)
        assert config.name == name
        stem, _, number = name.rpartition("-")
        if stem in tables:
            row = tables[stem][int(number) - 1]
            assert (config.samples == int(row["total"])) == ("misprint" not in row["note"]), name
            assert variants()[name].reported == float(row["val"])
    assert "a branch: dp real branch of a run of imagenet100-table4-5" in variants()["imagenet100-table4-1"].note
    assert "run of imagenet100-table4-5 with practice.additions=9 gives" in variants()["imagenet100-table4-5"].note
    assert "branch" not in variants()["imagenet100-table4-10"].note
    assert "misprint" in variants()["imagenet100-table4-11"].note  # N + kP is kept, the total is off
    for base in ("imagenet100", "imagenet1k"):
        guided = [load_preset(base + more).guided_steps for more in ("", "-cheap")]
        assert guided == [[0, 5, 10, 15, 20, 25], [4, 8, 12, 16]]  # times omega: .3 and .2


def test_presets_are_listed():
    rows = {row["preset"]: row for row in told("real keys")["presets"]}
    assert list(rows) == [*preset_names(), *variants()]
    row = rows["imagenet100-table4-5"]
    assert (row["samples"], row["omega"], row["reported"]) == (160_000, 0.05, 64.40)
    assert (rows["imagenet100-table4-14"]["omega"], rows["digits"]["reported"]) == (None, None)
    _, out, err = done("real keys")
    assert len(out.splitlines()) == 1 + len(rows)
    assert "imagenet100-table4-11: misprint" in err


SOURCES = """
    digits training.steps: ours
    digits training.crop: default
    imagenet100 data.sets: paper
    imagenet100 sampling.steps: earlier code
    imagenet100 pool.size: ours
    imagenet100 guidance.scale: earlier code
    imagenet100 guidance.through: paper
    imagenet100-cheap sampling.steps: ours
    imagenet100-cheap guidance.omega: paper
    imagenet100-table4-2 practice.initial: paper
    imagenet100-table4-2 practice.patience_growth: inferred
    imagenet100-table3-2 practice.initial: inferred
    imagenet100-table3-2 guidance.omega: paper
    imagenet100-table1 practice.increment: inferred
    imagenet100-table1 guidance.omega: inferred
"""


@pytest.mark.parametrize("row", SOURCES.strip().splitlines())
def test_keys_say_where_their_values_are_from(row):
    where, source = row.split(": ")
    preset, key = where.split()
    found = {each["key"]: each["source"] for each in keys(load_preset(preset), sources(preset, []))}
    assert found[key] == source


def test_a_quick_run_has_every_part_few_examples_and_is_no_measurement(tmp_path):
    for preset in preset_names():
        config = load_preset(preset, ["quick=true"])
        assert config.samples <= 8 + max(16, config.task.n_classes)
        assert parse_config(config.model_dump()) == config
        check_plan(config)
    answer = told("real run digits --quick --out", tmp_path / "run")
    assert (answer["name"], answer["additions"], answer["samples_generated"]) == ("digits-quick", 1, 24)
    assert "no measurement" in answer["quick"]


@pytest.mark.parametrize("key", ["crop", "flip", "cutmix", "randaugment"])
def test_augmentations_of_images_are_refused_for_vectors_before_anything_is_drawn(key):
    vectors, training = load_preset("gaussian").model_dump(), {"steps": 20, key: 1}
    with refusal(rf"training\.{key} is for images \[C, H, W\]; samples are \[\d+\]: leave it out"):
        check_plan(parse_config(vectors | {"learner": {"kind": "mlp"}, "training": training}))


def test_the_smoke_preset_goes_the_ways_of_the_real_one():
    real, smoke = load_preset("imagenet100"), load_preset("imagenet100-smoke")
    used = smoke.training
    assert (used.mixup, used.cutmix, used.flip, used.crop) == (0.5, 1.0, True, real.training.crop)
    assert used.ema_decay > 0
    assert smoke.pool_shape == (3, 40, 40)  # of which the learner sees 32
    assert (smoke.sampling.guidance_scale, smoke.guidance.omega) == (4.0, 0.05)
    assert (smoke.guidance.through, smoke.pool.storage) == (real.guidance.through, real.pool.storage)
