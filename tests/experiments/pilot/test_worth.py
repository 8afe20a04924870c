"""What small runs say of the worth of practice's samples, and how it is put into words."""

from typing import Any

import numpy as np
import pytest

from experiments.pilot.verdict import verdict
from experiments.pilot.worth import worth

SIZES = (100, 200, 400)


def runs(
    exponent: float, ratio: float, noise: float = 0.0, seeds: int = 4
) -> tuple[dict[int, list[float]], list[float]]:
    """Errors of static runs, .3 at 400 samples, and of practice that is worth `ratio` times as many."""
    rng = np.random.default_rng(1)
    wobble = lambda: np.exp(noise * rng.standard_normal(seeds))  # noqa: E731
    static = {n: (0.3 * (n / 400) ** -exponent * wobble()).tolist() for n in SIZES}
    return static, (0.3 * ratio**-exponent * wobble()).tolist()


@pytest.mark.parametrize(("exponent", "ratio"), [(0.5, 2.0), (0.3, 0.5), (0.2, 1.0)])
def test_exact_power_laws_are_read_off(exponent: float, ratio: float):
    found = worth(*runs(exponent, ratio), 400, 10**10)
    assert found.exponent == pytest.approx((exponent,) * 3, rel=1e-6)
    assert found.ratio == pytest.approx((ratio,) * 3, rel=1e-6)
    static, practice = runs(exponent, ratio)
    assert worth(static, practice, 200, 10**10).ratio.value == pytest.approx(2 * ratio)  # it took half of the samples


def test_the_interval_covers_the_truth_and_shrinks_with_seeds():
    few, many = (worth(*runs(0.5, 2.0, 0.05, seeds), 400, 10_000).ratio for seeds in (3, 48))
    assert few.low < 2 < few.high
    assert many.low < 2 < many.high
    assert many.high / many.low < (few.high / few.low) ** 0.5


def test_one_seed_is_as_uncertain_as_its_images():
    few, many = (worth(*runs(0.5, 2.0, seeds=1), 400, images).ratio for images in (100, 100_000))
    assert few.low < 1 < few.high
    assert 1 < many.low < 2 < many.high


def test_arms_that_are_all_alike_say_nothing():
    """As many images wrong in each run: what is read off is rounding, which more images would settle either way."""
    found = worth({n: [0.15] * 3 for n in SIZES}, [0.15] * 3, 400, 40).ratio
    assert (found.low, found.high) == (0, np.inf)


def test_static_data_that_do_not_help_leave_the_ratio_open():
    static = {n: [0.2, 0.2, 0.2] for n in SIZES}
    assert worth(static | {400: [0.21, 0.21, 0.21]}, [0.1] * 3, 400, 1000).ratio.value == np.inf
    assert worth(static | {400: [0.21, 0.21, 0.21]}, [0.3] * 3, 400, 1000).ratio.value == 0
    assert np.isfinite(worth({n: [0.0] * 3 for n in SIZES}, [0.0] * 3, 400, 1000).exponent.value)  # no image wrong


DROPPED = {"made": 300.0, "guided": 0.25, "additions": 2.0, "planned": 2}  # 100 texts were like others


def facts(ratio: tuple[float, float, float], hard: float | None = 0.8, **more: Any) -> dict[str, Any]:
    guided = {"round": 1, "confirmed": 0.9, "confirmed_of_missed": hard}
    own = {
        "n": 400,
        "ratio": dict(zip(("value", "low", "high"), ratio, strict=True)),
        "cost": 1.8,
        "judge": {"accuracy": 0.97},
        "practice": {"made": 400.0, "guided": 0.5, "additions": 2.0, "planned": 2},
        "rounds": [{"round": 0, "confirmed": 0.95, "confirmed_of_missed": 0.9}, guided],
    }
    return own | more


@pytest.mark.parametrize(
    ("given", "pays", "words"),
    [
        (
            facts((3, 2, 5)),
            "likely",
            "worth 3 plain ones (2 to 5) and costs as much as 1.4; the judge confirms 95% of plain samples and 90%",
        ),
        (facts((0.5, 0.2, 0.8)), "unlikely", "worth 0.5 plain ones (0.2 to 0.8) and costs as much as 1.4;"),
        (facts((1.5, 0.2, np.inf)), "cannot tell", "(0.2 to very many)"),
        (facts((1.3, 1.1, 1.6)), "cannot tell", "worth 1.3 plain ones (1.1 to 1.6)"),
        (facts((1.2, 1.1, 1.3)), "unlikely", "worth 1.2 plain ones (1.1 to 1.3)"),  # half of them cost 1.8
        (facts((3, 2.7, 3.3), cost=4), "likely", "costs as much as 2.5"),
        (facts((1.3, 1.1, 1.6), cost=None), "likely", "worth 1.3 plain ones (1.1 to 1.6)"),
        (
            facts((0.5, 0.2, 0.8), hard=0.3),
            "unlikely",
            "30% of those that the learner misses: lower guidance.wrong_share",
        ),
        (facts((3, 2, 5), judge=None, rounds=[]), "likely", "name a classifier of real images as --judge"),
        (facts((3, 2, 5), practice=DROPPED | {"additions": 1.0}), "likely", "made 300 of 400 samples: give it more"),
        (facts((3, 2, 5), practice=DROPPED), "likely", "costs as much as 1.2; "),  # a quarter of them is guided
    ],
)
def test_the_verdict_has_its_reasons(given: dict[str, Any], pays: str, words: str):
    said = verdict(given)
    assert said["pays"] == pays
    assert words in said["verdict"]
    assert "\n" not in said["verdict"]
    assert ("more --steps" in said["verdict"]) == (given["practice"]["additions"] < 2)
