"""The exponents of practice and of its rivals: predicted ones are known, and simulated ones agree."""

import pytest

from dp_theory.budgets.exponents import scaling
from dp_theory.loop import PracticeProblem, Window


def test_exponents_per_axis():
    """Static −1/2; pooled practice −1.13 per kept row, −.51 per candidate; newest rows geometric, −1 per candidate."""
    done = []
    loop = PracticeProblem(0.25, 0.0, [Window(1)] * 10)
    table = scaling(loop, advance=done.append).exponents.set_index(["series", "axis"])
    assert done == [1] * table.index.get_level_values("series").nunique()
    exponent = table["exponent"]
    steepening = table["steepening"]
    for axis in ("kept", "generated", "compute"):
        assert exponent["static", axis] == pytest.approx(-0.5, abs=0.01)
    assert exponent["practice", "kept"] == exponent["practice", "generated"] == pytest.approx(-1.138, abs=2e-3)
    assert exponent["prune each round", "generated"] == pytest.approx(-0.509, abs=2e-3)
    assert exponent["prune, newest rows", "generated"] == pytest.approx(-1, abs=0.01)
    assert steepening["practice, newest rows", "kept"] == pytest.approx(1, abs=0.01)
    assert abs(steepening["practice", "kept"]) < 0.01
