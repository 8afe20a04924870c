"""The cost model by hand-made sums."""

import numpy as np
import pytest

from dp_theory.numerics.costs import STRATEGIES, Costs


def test_a_row_costs_its_generation_and_its_training():
    costs = Costs(direct=5.0, training=0.5)
    assert [costs.row(strategy, 0.25) for strategy in STRATEGIES] == [1.5, 4.5, 5.5]  # prune: four samples for a row
    np.testing.assert_allclose(costs.row("prune", np.array([0.5, 1.0])), [2.5, 1.5])
    assert Costs().row("direct") == pytest.approx(1.92)


def test_the_first_pool_of_a_loop_is_plain():
    axes = Costs(direct=3.0, training=1.0).axes("direct", 10.0, 10.0, first=4.0)
    assert axes["compute"] == 4 + 3 * 6 + 10
