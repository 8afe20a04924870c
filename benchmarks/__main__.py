"""`python benchmarks`: run all benchmarks, or those named, and print one table."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _timing import ROWS

HERE = Path(__file__).parent
HEAD = ["target", "measured", "best rival or limit", "ratio"]


def main() -> None:
    names = sys.argv[1:] or sorted(path.stem for path in HERE.glob("[a-z]*.py") if path.stem != "gpu")
    if unknown := [name for name in names if not (HERE / f"{name}.py").is_file()]:
        sys.exit(f"there is no benchmark {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows"
        rows.touch()
        failed = [name for name in names if run(name, rows)]
        table = [HEAD, *map(json.loads, rows.read_text(encoding="utf-8").splitlines())]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    print()
    for line in table:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def run(name: str, rows: Path) -> int:
    print(f"-- {name}", flush=True)
    return subprocess.run([sys.executable, HERE / f"{name}.py"], env=os.environ | {ROWS: str(rows)}).returncode


if __name__ == "__main__":
    main()
