"""The shapes in annotations are checked while tests run, at least in the first calls of a function."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from dp_theory.ridge.simulators.dense import fit_ridge


def test_a_wrong_shape_is_refused():
    with pytest.raises(TypeCheckError):
        vars(fit_ridge)["checked"](np.ones((3, 2)), np.ones(2), 0.1)
