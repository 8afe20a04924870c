"""The project's own source: its packages, and where each of their modules lies."""

from pathlib import Path

import dp_base

ROOT = Path(dp_base.__file__).parents[1]
FLOORS = (("dp_base",), ("dp_theory", "dp_real", "figures"), ("experiments",))  # a package imports from lower ones only


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name; a package is its __init__."""
    found = {}
    for package in (name for floor in FLOORS for name in floor):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found
