"""Known parameters are recovered, intervals are where the likelihood says, and what a curve cannot tell is said."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dp_theory import Curve, fit, forecast
from dp_theory.fitting.theory import practice_curve
from tests.dp_theory.fitting.curves import (
    THREE,
    TRUTH,
    fit_of_few,
    measured_curve,
    noiseless_curve,
    static_and_practice,
    static_and_pruned,
)
from tests.refusals import refused

# -- estimates


def test_known_parameters_are_recovered_within_their_intervals():
    fitted = fit(measured_curve(3, trials=16))
    table = fitted.parameters().set_index("parameter")
    for name in ("dimension", "rho", "flip", "ridge"):
        assert table.low[name] <= TRUTH[name] <= table.high[name], table.loc[name]
    assert table.high["dimension"] / table.low["dimension"] < 1.4
    assert table.low["floor"] <= TRUTH["floor"] <= table.high["floor"]
    assert abs(fitted.chi_square - fitted.freedom) < 4 * np.sqrt(2 * fitted.freedom)


def test_points_without_noise_give_their_parameters_back():
    fitted = fit(static_and_pruned(np.geomspace(50, 6400, 14)))
    assert fitted.chi_square < 1e-4
    for name in ("dimension", "rho", "flip", "ridge", "floor"):
        assert fitted.values[name] == pytest.approx(TRUTH[name], rel=2e-2), name


def test_experiments_without_noise_give_theirs_back_where_another_valley_is_nearer():
    """One of chi-square 76 at dimension 4."""
    truth = {"dimension": 256.0, "floor": 0.0, "rho": 0.9, "flip": 0.0, "ridge": 0.01}
    points = static_and_pruned(np.geomspace(64, 4096, 6), truth)
    fitted = fit(replace(points, se=np.full(12, np.nan), trials=np.full(12, 16.0), exact=True))
    assert fitted.chi_square < 1e-3
    assert fitted.values["dimension"] == pytest.approx(256, rel=1e-3)


def test_practice_gives_its_window():
    curve = static_and_practice({"window": 1.5, "floor": 0.0})
    practice_curve.cache_clear()
    fitted = fit(curve, {"floor": 0.0})
    table = fitted.parameters().set_index("parameter")
    assert practice_curve.cache_info().misses < 45, "a loop takes 20 ms to solve: a fit asks for few"
    assert table.value["window"] == pytest.approx(1.5, rel=0.1)
    assert table.low["window"] < 1.5 < table.high["window"]


def test_what_a_curve_cannot_tell_is_said():
    static = measured_curve(5, sizes=6, pruned=False)
    table = fit(static).parameters().set_index("parameter")
    assert np.isnan(table.value["rho"])
    assert table.note["rho"] == "not identified: no point with selected rows"
    assert table.note["window"] == "not identified: no point with a round of practice"
    assert fit(static, {"rho": 0.5}).predict({"strategy": ["prune"], "kept": [500], "keep": [0.3]}).error[0] < 0.3


def test_of_what_the_theory_does_not_follow_no_value_is_said_to_fit():
    notes = fit(Curve("static", [100, 200, 400], [0.3, 0.2, 0.26], 0.001)).parameters().note
    assert notes[:2].tolist() == ["not identified: no value fits with what is assumed"] * 2


def test_shares_that_are_near_are_different_points():
    keep = [0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    fitted = fit(Curve("prune", [10_000] * 6, [0.2, 0.19, 0.18, 0.17, 0.16, 0.15], 0.002, keep=keep))
    assert list(fitted.why_fixed) == ["window"]
    assert fitted.chi_square < 1
    assert fitted.limits("rho") == pytest.approx((0.611, 0.792), abs=0.005)


def test_parameters_that_only_matter_together_are_bounded_on_one_side():
    """With many rows the dimension and the flips only matter together."""
    large = noiseless_curve("static", np.geomspace(20_000, 80_000, 4), {"floor": 0.0})
    table = fit(large, {"floor": 0.0, "ridge": 0.02}).parameters().set_index("parameter")
    assert table.note["flip"] == "bounded from above only"
    assert table.high["dimension"] > 2 * table.low["dimension"]


def test_few_points_estimate_few_parameters():
    assert fit(THREE).why_fixed["ridge"].startswith("assumed: too few points")


def test_a_fit_of_nothing_is_the_theory():
    """All that static data depends on is fixed: no interval, and a forecast all the same."""
    known = {"dimension": 204, "floor": 0, "flip": 0.14, "ridge": 0.004}
    fitted = fit(noiseless_curve("static", [100, 400, 900]), known)
    assert fitted.freedom == 3
    table = fitted.predict({"strategy": ["static"], "kept": [1600]})
    np.testing.assert_allclose(table[["low", "high"]], table["error"].iloc[0], rtol=1e-12)
    reached = forecast(fitted, float(table["error"].iloc[0])).set_index("strategy")
    assert reached.loc["static", "more"] == pytest.approx(700, rel=1e-3)


# -- intervals


def test_standard_errors_that_are_too_small_are_found_out():
    known = {"floor": 0.0, "flip": 0.0, "ridge": 0.02}
    true = noiseless_curve("static", np.geomspace(50, 1600, 4), known)
    error = true.error * np.exp(0.06 * np.array([1, -1, -1, 1]))
    fitted = fit(replace(true, error=error, se=0.02 * error), known)
    assert fitted.excess > 2
    assert fitted.freedom == 3


def test_the_ends_of_intervals_are_where_the_likelihood_says():
    """Of a curve whose region is bent, so that it reaches flips of 0 through a narrow valley."""
    fitted = fit_of_few()
    allowed = fitted.excess * stats.t.ppf(0.975, fitted.freedom) ** 2
    assert fit_of_few(flip=0.0).chi_square - fitted.chi_square < allowed
    assert fitted.limits("flip")[0] == 0
    for name, end in (("floor", 1), ("dimension", 0), ("dimension", 1)):
        held = fit_of_few(**{name: fitted.limits(name)[end]})
        assert 0.9 * allowed < held.chi_square - fitted.chi_square < 1.01 * allowed, (name, end)


def test_a_curve_of_next_to_no_errors_has_finite_bands():
    fitted = fit(Curve("static", [60, 100, 200], [1e-7, 6e-8, 3e-8], se=1e-9))
    table = fitted.predict({"strategy": ["static"] * 2, "kept": [60, 400]})
    assert (table["high"] <= 1).all()


# -- messages


HIDDEN = np.ma.masked_array([100.0, 400.0], mask=[0, 1])
test_wrong_input_is_refused = refused(
    {
        "unknown parameter 'lam' is fixed": lambda: fit(THREE, {"lam": 0.1}),
        r"kept = nan must lie in \[1, 1e\+15\]": lambda: Curve("static", [100, np.nan], 0.3),
        r"kept = 1e\+20 must lie in \[1, 1e\+15\]": lambda: Curve("static", [100, 1e20], 0.3),
        "kept = masked_array": lambda: Curve.of({"strategy": ["static"] * 2, "kept": HIDDEN, "error": 0.3}),
        r"flip = 0.7 must lie in \[0, 0.5\]": lambda: fit(THREE, {"flip": 0.7}),
        r"1 point\(s\) is too short to fit": lambda: fit(THREE.at([0])),
        "too short to fit": lambda: fit(Curve(["static", "practice"], 100, 0.3, 0.01, initial=100)),
        "it needs 2 different ones": lambda: fit(Curve("prune", [100] * 2, 0.3, 0.01, keep=[0.3, 0.1 * 3])),
        "says nothing of rho": lambda: fit(THREE).predict({"strategy": ["prune"], "kept": [100], "keep": [0.5]}),
    }
)


PRACTISED = """
    60    0.150  nan
    116   0.107  nan
    224   0.080  nan
    432   0.057  nan
    834   0.044  nan
    1610  0.033  nan
    3108  0.026  nan
    6000  0.020  nan
    432   0.058  432
    864   0.039  432
    1296  0.033  432
    1728  0.028  432
    2160  0.025  432
    2592  0.023  432
"""
"""Sizes, errors, and how many rows practice began with and added, of which static data have none."""


def test_a_fit_with_practice_that_theory_hardly_follows_is_the_most_likely():
    sizes, error, first = np.loadtxt(PRACTISED.splitlines(), unpack=True)
    strategy = np.where(np.isnan(first), "static", "practice")
    curve = Curve(strategy, sizes, error, 0.02 * error, initial=first, increment=first)
    assert fit(curve).chi_square < 17.2  # 28 where the search ends early
