"""The project's own source: its packages, and where each of their modules lies."""

from pathlib import Path

import dp_base

ROOT = Path(dp_base.__file__).parents[1]
FLOORS = (
    ("dp_base",),
    ("dp_theory", "dp_real", "dp_figures"),
    ("dp_experiments",),
)  # imports point down
FOLDERS = {  # where a package lies; a wheel adds no import name that does not begin with dp_
    "dp_base": ROOT / "dp_base",
    "dp_theory": ROOT / "dp_theory",
    "dp_real": ROOT / "dp_real",
    "dp_figures": ROOT / "figures" / "dp_figures",
    "dp_experiments": ROOT / "experiments" / "dp_experiments",
}


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name; a package is its __init__."""
    found = {}
    for folder in FOLDERS.values():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found
