"""Fixed points of maps that are not defined everywhere."""

import numpy as np
import pytest

from dp_theory.numerics.fixed_point import fixed_point


@pytest.mark.parametrize("start", [4.0, 40.0])
def test_a_start_where_the_map_is_not_defined_is_left(start):
    def move(point):
        if not np.abs(point).max() < 3:
            return np.zeros_like(point), np.inf
        moved = (np.cos(point) - point) / 2
        return moved, float(np.abs(moved).max())

    found, miss = fixed_point(move, np.array([start]))
    assert found[0] == pytest.approx(0.7390851332151607, rel=1e-9)
    assert miss < 1e-12
