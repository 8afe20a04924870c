"""What `import dp_theory` offers, how little it takes, and that it says what it is."""

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError

import dp_base
import dp_theory
from dp_theory.ridge.simulators.dense import fit_ridge
from tests.source import modules

ROOT = Path(dp_theory.__file__).parent
NAMES = vars(dp_theory)["__all__"]  # which the stub, that type checkers read, does not have


def test_every_public_name_is_there():
    assert all(hasattr(dp_theory, name) for name in NAMES)
    assert set(NAMES) <= set(dir(dp_theory))  # which complete a name as it is typed
    with pytest.raises(AttributeError, match="no attribute 'theorem2'"):
        _ = dp_theory.theorem2


def test_version_and_types():
    assert dp_theory.__version__ == dp_base.__version__
    assert (ROOT / "py.typed").exists()


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("", "numpy scipy torch sympy joblib distributed"),
        (
            "dp_theory.predict(dp_theory.Problem(dp_theory.KeepHard(1.0), 0.5, 1.0, 0.1))",  # by special functions
            "scipy.linalg scipy.optimize joblib dp_theory.loop dp_theory.ridge.simulators",
        ),
    ],
)
def test_no_more_is_loaded_than_is_needed(code, heavy):
    code = f"import sys, dp_theory\n{code}\nprint(*sys.modules)\ndp_theory.loop"  # which is loaded when it is asked for
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not set(heavy.split()) & set(loaded.split())


MODULES = [name for name in modules() if name.startswith("dp_theory.")]


def test_examples_in_docstrings_are_right():
    results = [doctest.testmod(import_module(name)) for name in MODULES]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 10


def test_a_wrong_shape_is_refused():
    """In tests, at least in the first calls of a function."""
    with pytest.raises(TypeCheckError):
        vars(fit_ridge)["checked"](np.ones((3, 2)), np.ones(2), 0.1)
