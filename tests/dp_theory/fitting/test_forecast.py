"""Forecasts: where the theory reaches the target, and no surer than the fit is."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import least_squares, root_scalar

from dp_theory import Curve, fit, forecast
from dp_theory.fitting.power_law import mixture, theory_weight
from dp_theory.fitting.theory import predict_points
from tests.dp_theory.fitting.curves import (
    THREE,
    TRUTH,
    fit_of_few,
    noiseless_curve,
    static_and_practice,
    static_and_pruned,
)
from tests.refusals import refused

KNOWN = {"floor": 0.0, "flip": 0.1, "ridge": 0.02}


def test_a_forecast_has_its_interval_and_which_strategies_to_use():
    fitted = fit(static_and_pruned(np.geomspace(50, 1600, 4), {"floor": 0.0}), KNOWN)
    table = forecast(fitted, 0.06).set_index("strategy")
    assert table.more["static"] == table.kept["static"] - 1600
    assert (table.low <= table.more).all()
    assert (table.more <= table.high).all()
    assert table.use["practice"] == "yes"
    assert (forecast(fitted, 0.2)[["more", "low", "high"]].loc[:2] == 0).all(axis=None), "these rows reach it"
    beyond = forecast(fitted, 0.001)  # what was not looked at is not denied
    assert (beyond.use == "unknown").all()
    assert np.isfinite(beyond.low).all()


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_a_forecast_is_where_the_theory_reaches_the_target(share):
    curve = noiseless_curve("static", np.geomspace(50, 6400, 5), {"floor": 0.02})
    fitted = fit(curve, {"floor": 0.02, "flip": 0.1, "ridge": 0.02})
    target = share * curve.error[-1]
    values = {name: np.array([value]) for name, value in fitted.values.items()}

    def excess(log_n):
        mean, _ = predict_points(Curve("static", [np.exp(log_n)], 0.1), values)
        return mean[0, 0] - target

    needed = root_scalar(excess, bracket=np.log([6400, 6e7]))
    more = forecast(fitted, target).set_index("strategy").more["static"]
    assert more == pytest.approx(np.exp(needed.root) - 6400, rel=4e-3)


def test_a_target_below_the_floor_is_never_reached():
    curve = noiseless_curve("static", np.geomspace(50, 6400, 5), {"floor": 0.1})
    table = forecast(fit(curve, {"flip": 0.1, "ridge": 0.02}), 0.05)
    assert table.note.str.startswith("not within").all()
    assert set(table.use) == {"no"}
    assert "window = 1 is assumed" in table.note[1]


def test_a_forecast_is_no_surer_than_its_fit():
    """What another floor that the fit allows for takes lies in the intervals; what may fail is not preferred."""
    fitted = fit_of_few()
    allowed = 175.2
    assert fitted.excess * stats.t.ppf(0.975, fitted.freedom) ** 2 == pytest.approx(allowed, abs=0.1)
    table = forecast(fitted, 0.08).set_index("strategy")
    assert table.more["practice"] == pytest.approx(1725, rel=0.01)
    other = fit_of_few(floor=0.079)
    assert other.chi_square - fitted.chi_square < allowed
    assert table.low["practice"] <= 58_852 <= table.high["practice"]  # what that floor takes
    assert fitted.limits("floor")[1] > 0.1
    assert np.isinf(table.high).all()
    assert (table.use == "as good").all()


def test_with_practice_a_floor_at_the_end_of_its_range_has_an_interval():
    """To first order any floor would do; points beside it say otherwise."""
    curve = static_and_practice({"window": 1.5, "floor": 0.0})
    noise = np.random.default_rng(1).standard_normal(len(curve))
    curve = replace(curve, error=curve.error * np.exp(0.02 * noise), se=0.02 * curve.error)
    known = {"flip": TRUTH["flip"], "ridge": TRUTH["ridge"], "window": 1.5}
    fitted = fit(curve, known)
    low, high = fitted.limits("floor")
    assert low == 0
    held = fit(curve, known | {"floor": high})
    assert held.chi_square - fitted.chi_square == pytest.approx(3.84 * fitted.excess, rel=0.2)


POWER_LAW = """
    100   0.41182
    181   0.34235
    328   0.26623
    594   0.22497
    1077  0.18603
    1950  0.14816
    3533  0.117
    6400  0.09872
"""


def test_a_power_law_without_a_floor_is_not_given_one():
    """The theory alone sees a floor of .068 here, and no number of rows that reaches .05. The truth is 37,300 more."""
    kept, error = np.loadtxt(POWER_LAW.splitlines(), unpack=True)
    table = forecast(fit(Curve("static", kept, error, se=0.025 * error)), 0.05).set_index("strategy")
    assert 0.5 < table.more["static"] / 37_300 < 2
    assert table.low["static"] < 37_300 < table.high["static"]
    assert "power law with floor" in table.note["static"]
    assert table.loc[["prune", "practice"], ["more", "low", "high", "kept"]].isna().all(axis=None)
    assert "beside a power law the theory has a weight of" in table.note["practice"]
    assert (table.use == "unknown").all()


def test_the_theory_keeps_its_own_curve():
    curve = noiseless_curve("static", np.geomspace(50, 6400, 10), {"floor": 0.0})
    assert theory_weight(fit(curve, KNOWN)) > 0.9
    assert theory_weight(fit(curve.at(slice(0, 5)), KNOWN)) is None


def test_before_the_peak_the_theory_knows_what_comes():
    """No power law foresees that errors fall again behind n = d."""
    d = TRUTH["dimension"]
    changed = {"ridge": 1e-4}
    curve = noiseless_curve("static", d * np.geomspace(0.2, 1.2, 8), changed)
    far = noiseless_curve("static", d * np.array([3.0, 10.0]), changed)
    row = forecast(fit(curve), far.error[1]).set_index("strategy").loc["static"]
    assert row.low < far.kept[1] - curve.kept[-1] < row.high


@pytest.mark.parametrize(("se", "known"), [(0.04, {"flip": 0.0, "ridge": 0.01}), (0.004, {}), (np.nan, {})])
def test_the_weight_is_by_the_information_criterion(se, known):
    """(T9.14) written anew: both members' deviances at their best, with c at least 1 where errors are known."""
    kept = 100 * 2.0 ** np.arange(6)
    error = np.array([0.40, 0.30, 0.24, 0.19, 0.155, 0.13])
    fitted = fit(Curve("static", kept, error, se=se * error), known)

    def residuals(law):
        return np.log(np.exp(law[0]) * kept ** -law[1] + law[2]) - np.log(error)

    found = least_squares(residuals, [1.0, 0.5, 0.01], bounds=([-np.inf, 0, 0], [np.inf, np.inf, 0.12]))
    criterion = []
    theory = np.log(fitted.predict({"strategy": ["static"] * 6, "kept": kept}).error / error)
    for off, free in ((theory, 4 - len(known)), (found.fun, 3)):
        c = np.mean(off**2) / np.nan_to_num(se, nan=1.0) ** 2
        c_hat = c if np.isnan(se) else max(c, 1)
        criterion.append(6 * (np.log(c_hat) + c / c_hat) + free * np.log(6))
    expected = 1 / (1 + np.exp((criterion[0] - criterion[1]) / 2))
    assert 1e-6 < expected < 1 - 1e-6
    assert theory_weight(fitted) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("floor", [0.0, 0.03])
def test_without_noise_the_interval_holds_the_truth(floor):
    """Samples of points without noise are one curve, which a power law continues too surely."""
    kept = np.geomspace(100, 6400, 8)
    far = kept[-1] * np.array([2.0, 4.0, 10.0])

    def law(n):
        return (0.4 - floor) * (n / 100) ** -0.35 + floor

    error = law(kept)
    _, low, high = mixture(Curve("static", kept, error, se=1e-9), far, 0.0, np.full((3, 3), 0.1))
    assert (low < law(far)).all()
    assert (law(far) < high).all()


def test_practice_that_never_added_is_as_static():
    """Its window cannot be told, and a search must start without it."""
    sizes = np.array([50, 100, 200, 400, 100, 200])
    errors = np.array([0.3, 0.24, 0.18, 0.14, 0.24, 0.18])
    strategy = ["static"] * 4 + ["practice"] * 2
    found = fit(Curve(strategy, sizes, errors, se=0.004, initial=sizes, increment=50))
    assert "no point with a round of practice" in found.why_fixed["window"]


def test_practice_alone_is_a_curve():
    """As the branches of a run are."""
    curve = Curve("practice", [100, 200, 400], [0.3, 0.22, 0.15], se=0.004, initial=100, increment=100)
    table = forecast(fit(curve, KNOWN), 0.1)
    assert len(table) == 3
    assert np.isfinite(table.low).all()


test_wrong_questions_are_refused = refused(
    {
        r"target = 0.6 must lie in \(0, 1/2\)": lambda: forecast(fit(THREE), 0.6),
        r"target = 0.03 must lie above floor = 0.03, which is fixed": lambda: forecast(
            fit(THREE, {"floor": 0.03}), 0.03
        ),
    }
)
