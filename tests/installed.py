"""A package of somebody else, as pip leaves it in a folder of packages."""

import shutil
import tomllib
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "clouds"


def install(site, name, files, entry_points):
    """Write the files of a package into the folder `site`, and the text of its entry points beside them."""
    written = files | {
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0.dist-info/entry_points.txt": entry_points,
    }
    for file, text in written.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text(text)


def install_example(site):
    """Install the package of examples/clouds into the folder `site`, from its own pyproject.toml."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    groups = project["project"]["entry-points"]
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {module}" for name, module in entries.items())]
    modules = project["tool"]["setuptools"]["py-modules"]
    install(site, "clouds", {}, "\n".join(lines) + "\n")
    for module in modules:
        shutil.copy(EXAMPLE / f"{module}.py", site)
