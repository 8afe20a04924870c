"""The project's own source: its packages, and where each of their modules lies."""

import ast
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


def rows_of(page, first):
    """The cells of the table of a page (of docs/theory, or a whole path) that begins with the cell `first`, by rows."""
    table = f"| {first}" + (ROOT / "docs" / "theory" / page).read_text().partition(f"| {first}")[2].partition("\n\n")[0]
    return [
        [cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.splitlines() if "---" not in line
    ]


def modules():
    """Every module of the project by its dotted name; a package is its __init__."""
    found = {}
    for folder in FOLDERS.values():
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imported(path):
    """The modules that a module imports when it is loaded or when its functions run, and the names from them."""
    found = set()
    for node in _running(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def _running(tree):
    """The nodes of a module that run: not those that only the type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield node
            yield from _running(node)
