"""A package of somebody else, as pip leaves it in a folder of packages."""

from pathlib import Path


def install(site: Path, name: str, files: dict[str, str], entry_points: str) -> None:
    """Write the files of a package into the folder `site`, and the text of its entry points beside them."""
    written = files | {
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0.dist-info/entry_points.txt": entry_points,
    }
    for file, text in written.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text(text, encoding="utf-8")
