"""The cost model by hand-made sums."""

import numpy as np
import pytest

from dp_theory.numerics.costs import AXES, DIRECT_COST, STRATEGIES, TRAINING_COST, Costs


def test_a_row_costs_its_generation_and_its_training():
    costs = Costs(plain=2.0, direct=5.0, training=0.5)
    assert [costs.row(strategy, 0.25) for strategy in STRATEGIES] == [2.5, 8.5, 5.5]  # prune: four samples for a row
    np.testing.assert_allclose(costs.row("prune", np.array([0.5, 1.0])), [4.5, 2.5])


def test_a_direct_sample_costs_1_82_plain_ones_unless_told():
    assert Costs().row("direct") == pytest.approx(1.92)
    assert Costs(plain=10.0).sample("direct") == pytest.approx(18.2)
    assert Costs(direct=0.0).sample("direct") == 0.0
    assert (DIRECT_COST, TRAINING_COST) == (1.82, 0.1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_compute_is_the_cost_of_all_rows(strategy):
    costs, kept, p = Costs(direct=3.0), np.array([40.0, 100.0]), 0.25
    generated = kept / p if strategy == "prune" else kept
    axes = costs.axes(strategy, generated, kept)
    assert tuple(axes) == AXES
    np.testing.assert_allclose(axes["compute"], kept * costs.row(strategy, p))
    assert axes["generated"] is generated
    assert axes["kept"] is kept


def test_the_first_pool_of_a_loop_is_plain():
    axes = Costs(direct=3.0, training=1.0).axes("direct", 10.0, 10.0, first=4.0)
    assert axes["compute"] == 4 + 3 * 6 + 10
