"""What `import dp_theory` offers, and how little it takes."""

import subprocess
import sys

import pytest

import dp_theory


def test_every_public_name_is_there():
    assert all(hasattr(dp_theory, name) for name in dp_theory.__all__)
    with pytest.raises(AttributeError, match="no attribute 'theorem2'"):
        _ = dp_theory.theorem2


def test_import_is_light():
    heavy = "{'torch', 'pandas', 'matplotlib', 'sympy', 'joblib', 'distributed', 'scipy.optimize', 'scipy.stats'}"
    code = f"import sys, dp_theory; loaded = {heavy} & set(sys.modules); assert not loaded, loaded; dp_theory.span"
    subprocess.run([sys.executable, "-c", code], check=True)
