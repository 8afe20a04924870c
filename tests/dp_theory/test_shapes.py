"""The shapes in annotations are checked while tests run: a wrong one is refused in every room that names shapes."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from dp_theory.ridge.simulators.dense import fit_ridge


@pytest.mark.parametrize(
    "call",
    [
        lambda: fit_ridge(np.ones((3, 2)), np.ones(2), 0.1),
    ],
)
def test_a_wrong_shape_is_refused(call):
    with pytest.raises(TypeCheckError):
        call()
