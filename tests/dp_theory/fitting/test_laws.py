"""The empirical laws, and who predicts hidden points better."""

import numpy as np
import pytest

from dp_base.errors import ConvergenceError
from dp_theory import Curve, InputError, held_out
from dp_theory.fitting import LAWS, fit_law, laws, scores
from tests.dp_theory.fitting.curves import law_curve, noiseless_curve


def test_laws_find_their_own_parameters_and_their_bands_hold_new_points():
    n = np.geomspace(100, 1e5, 24)
    rng = np.random.default_rng(0)
    made = {
        "power law": 2 * n**-0.4,
        "power law with floor": 2 * n**-0.4 + 0.02,
        "broken power law": 0.5 * n**-0.1 * (1 + n / 3000) ** -0.5,
    }
    for name, error in made.items():
        curve = Curve(["static"] * len(n), n, error * np.exp(0.01 * rng.standard_normal(len(n))))
        found = fit_law(name, curve)
        assert found.scatter == pytest.approx(0.01, rel=0.5)
        predicted, low, high = found.predict(n)
        np.testing.assert_allclose(predicted, error, rtol=0.03)
        assert ((low < curve.error) & (curve.error < high)).mean() > 0.8
    assert set(made) == set(LAWS)


def test_held_out_points_are_predicted_by_each_model():
    table = held_out(law_curve(11, trials=8, sizes=10, pruned=False), 3)
    assert set(table.model) == {"theory", *LAWS}
    assert (table.kept >= 500).all()
    assert (table.covered == ((table.low <= table.error) & (table.error <= table.high))).all()
    judged = scores(table)
    assert judged.model[0] == "theory"
    assert judged.relative_error[0] < 0.1
    assert (judged.points == 3).all()


def test_a_law_that_does_not_converge_has_no_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(laws, "_MOST_EVALUATIONS", 1)
    curve = noiseless_curve("static", np.geomspace(50, 1600, 8))
    with pytest.raises(ConvergenceError, match="a power law does not fit this curve: no search ends in 1 evaluations"):
        fit_law("power law", curve)
    assert set(held_out(curve, 2).model) == {"theory"}


def test_wrong_input_is_refused():
    static = noiseless_curve("static", [100, 400, 900])
    with pytest.raises(InputError, match="unknown law 'law'"):
        fit_law("law", static)
    with pytest.raises(InputError, match="power law with floor needs 4 sizes"):
        fit_law("power law with floor", static)
    with pytest.raises(InputError, match="too few sizes to hide"):
        held_out(static, 2)
    with pytest.raises(InputError, match="hide = 0 must be at least 1"):
        held_out(static, 0)
