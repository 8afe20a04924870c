"""How long a command's process takes, in units of one that imports numpy.

They run in turn, and the median of ratios is taken, since other work disturbs both.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from _timing import row

DP = Path(sys.executable).with_name("dp")
NUMPY = [sys.executable, "-c", "import numpy"]
REPEATS = 9
COMMANDS = {
    "--version": 3.5,
    "--help": 3.5,
    "theory --help": 3.5,
    "real --help": 3.5,
    "theory predict --alpha 1 --rho 0.5 --phi 1": 4.0,
}  # with what is aimed at, times `import numpy`


def run(command: list[str]) -> tuple[float, float]:
    """Processor seconds, and wall seconds."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    elapsed = np.subtract(os.times(), before)
    return elapsed[2] + elapsed[3], elapsed[4]


def main() -> None:
    run(NUMPY)  # reads the files once
    for words, aim in COMMANDS.items():
        elapsed = np.array([(run([str(DP), *words.split()]), run(NUMPY)) for _ in range(REPEATS)])
        times = float(np.median(elapsed[:, 0, 0] / elapsed[:, 1, 0]))
        wall = float(np.median(elapsed[:, 0, 1]))
        row(f"dp {words}: {aim:g} × import numpy", f"{times:.2f} ×, {wall:.2f} s", f"{aim:g} ×", aim / times)


if __name__ == "__main__":
    main()
