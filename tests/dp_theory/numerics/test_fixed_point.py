"""Fixed points of maps that contract, of maps that do not, and of maps that are not defined everywhere."""

from unittest.mock import Mock

import numpy as np
import pytest

from dp_theory.numerics.fixed_point import fixed_point


def moving(image):
    """The move of a map, whose miss is the largest entry."""

    def move(point):
        moved = image(point) - point
        return moved, float(np.abs(moved).max())

    return move


def test_a_linear_map_takes_hardly_more_points_than_it_has_unknowns():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((4, 4))
    matrix *= 0.95 / np.abs(np.linalg.eigvals(matrix)).max()
    shift = rng.standard_normal(4) / 10
    move = Mock(side_effect=moving(lambda x: matrix @ x + shift))
    found, miss = fixed_point(move, np.zeros(4))
    np.testing.assert_allclose(found, np.linalg.solve(np.eye(4) - matrix, shift), rtol=1e-9)
    assert miss < 1e-12
    assert move.call_count <= 10  # plain iteration takes 500


def test_a_map_that_repels_is_solved_all_the_same():
    found, miss = fixed_point(moving(lambda x: 3 * np.cos(3 * x) + x[::-1]), np.array([0.3, -0.2]))
    assert miss < 1e-9
    np.testing.assert_allclose(3 * np.cos(3 * found) + found[::-1], found, atol=1e-9)


@pytest.mark.parametrize("start", [4.0, 40.0])
def test_a_start_where_the_map_is_not_defined_is_left(start):
    def move(point):
        if not np.abs(point).max() < 3:
            return np.zeros_like(point), np.inf
        return moving(lambda x: (np.cos(x) + x) / 2)(point)

    found, miss = fixed_point(move, np.array([start]))
    assert found[0] == pytest.approx(0.7390851332151607, rel=1e-9)
    assert miss < 1e-12


def test_what_has_no_fixed_point_is_missed():
    _, miss = fixed_point(moving(lambda x: x + 1 + x**2), np.zeros(1))
    assert miss > 0.9
