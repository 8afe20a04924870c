"""The worth of an arm in static samples, and exponents: known curves are read back, with intervals that cover them."""

import numpy as np
import pandas as pd
import pytest

from experiments.ratios import exponents, worth

SIZES = (1000, 2000, 4000, 8000)


def runs(noise: float, seeds: int = 8, faster: float = 3.0) -> pd.DataFrame:
    """Runs with the error .2 (n / 1000)^-.3 of static data; practice is worth `faster` times its samples."""
    rng = np.random.default_rng(5)
    rows = []
    for seed in range(seeds):
        shared = rng.normal(0, 0.01)  # the split's, which pairing takes out
        for arm, n, times in [(f"static-{n}", n, 1) for n in SIZES] + [(f"practice-{n}", n, faster) for n in SIZES[:3]]:
            error = 0.2 * (times * n / 1000) ** -0.3 + shared + noise * rng.normal()
            rows.append({"arm": arm, "seed": seed, "test_accuracy": 1 - error, "pool_size": n})
    spent = {"generation_flops": 10, "samples_generated": 2, "generation_seconds": 1 / 500}
    table = pd.DataFrame(rows).assign(training_flops=1000, training_seconds=4)
    return table.assign(**{name: each * table["pool_size"] for name, each in spent.items()})


def test_an_arm_is_worth_what_static_data_of_its_accuracy_cost():
    table = worth(runs(0), "kept").to_dict("index")
    own = table["practice-1000"]
    assert own["static_to_match"] == pytest.approx(3000, rel=0.02)  # between sizes, it is linear in log n
    assert own["bound"] == "="
    assert own["ratio_low"] == pytest.approx(own["ratio"]) == own["ratio_high"]
    assert table["static-2000"]["ratio"] == pytest.approx(1)
    largest = table["practice-4000"]
    assert (largest["bound"], largest["ratio"], largest["ratio_high"]) == (">", 2, np.inf)
    compute = worth(runs(0), "compute").to_dict("index")["practice-1000"]
    assert compute["static_to_match"] == pytest.approx(31_000, rel=0.03)
    assert compute["ratio"] == pytest.approx(31 / 11, rel=0.03)


def test_intervals_cover_the_truth():
    table = worth(runs(0.004), "kept").to_dict("index")["practice-1000"]
    assert table["ratio_low"] < 3 < table["ratio_high"]
    assert 0.2 < table["ratio_high"] - table["ratio_low"] < 2


def test_without_static_arms_there_is_nothing_to_match():
    table = worth(runs(0).query("arm.str.startswith('practice')"))
    assert table.columns.empty


def test_exponents():
    static = exponents(runs(0.001)).set_index("arm").to_dict("index")["static"]
    assert static["sizes"] == 4
    assert static["low"] < 0.3 < static["high"]
    assert exponents(runs(0).query("pool_size > 2000")).empty
