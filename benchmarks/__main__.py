"""`python benchmarks`: run all benchmarks, or those named, and print one table."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
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
        table = pd.read_csv(rows, sep="\t", names=HEAD, dtype=str)
    print()
    print(table.to_string(index=False, justify="left"))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def run(name: str, rows: Path) -> int:
    print(f"-- {name}", flush=True)
    return subprocess.run([sys.executable, HERE / f"{name}.py"], env=os.environ | {ROWS: str(rows)}).returncode


if __name__ == "__main__":
    main()
