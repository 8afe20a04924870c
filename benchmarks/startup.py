"""How long a command's process takes, in units of one that imports numpy.

They run in turn, and the median of ratios is taken, since other work disturbs both.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _timing import row

DP = Path(sys.executable).with_name("dp")
NUMPY = [sys.executable, "-c", "import numpy"]
REPEATS = 9
HELP_AIM = 3.5  # times `import numpy`, for what answers without computing
PREDICT_AIM = 4.0
LEAST = [sys.executable, "-c", "import scipy.special, typer._adapters"]  # what the parser and the formulas rest on
COMMANDS = {
    "--version": HELP_AIM,
    "--help": HELP_AIM,
    "theory --help": HELP_AIM,
    "real --help": HELP_AIM,
    "theory predict --alpha 1 --rho 0.5 --phi 1": PREDICT_AIM,
}
OTHERS = (
    "theory verify lemma1",
    "theory sweep --help",
    "theory practice --help",
    "real keys",
    "real run --help",
    "figures --help",
    "doctor --help",
)


class Spent(NamedTuple):
    wall: float
    processor: float


def run(command: list[str]) -> Spent:
    before = os.times()
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = os.times()
    user = after.children_user - before.children_user
    system = after.children_system - before.children_system
    return Spent(wall, user + system)


def ratio(command: list[str]) -> tuple[float, float]:
    """The median of the command's processor seconds over those of importing numpy, and of its wall seconds."""
    pairs = [(run(command), run(NUMPY)) for _ in range(REPEATS)]
    ratios = [ours.processor / theirs.processor for ours, theirs in pairs]
    return float(np.median(ratios)), float(np.median([ours.wall for ours, _ in pairs]))


def main() -> None:
    run(NUMPY)  # reads the files once
    for words, aim in COMMANDS.items():
        times, wall = ratio([str(DP), *words.split()])
        print(f"dp {words}: {times:.2f} times import numpy (aim: {aim:g}), {wall:.2f} s")
        row(f"dp {words}: {aim:g} × import numpy", f"{times:.2f} ×", f"{aim:g} ×", aim / times)
    for words in OTHERS:
        times, wall = ratio([str(DP), *words.split()])
        print(f"dp {words}: {times:.2f} times import numpy, {wall:.2f} s")
    times, wall = ratio(LEAST)
    print(f"  importing scipy.special and typer's parser alone: {times:.2f} times import numpy, {wall:.2f} s")


if __name__ == "__main__":
    main()
