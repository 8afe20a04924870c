"""The whole process of each command that needs no torch, against importing numpy and scipy.special."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _timing import row

DP = Path(sys.executable).with_name("dp")
IMPORTS = [sys.executable, "-c", "import numpy, scipy.special"]
AIM = 1.0  # seconds of wall time
COMMANDS = (
    "--version",
    "--help",
    "theory predict --alpha 1 --rho 0.5 --phi 1",
    "theory derive lemma1",
    "theory sweep --help",
    "theory practice --help",
    "real --help",
    "real presets",
    "real run --help",
    "real cache list",
    "figures --help",
    "doctor --help",
)


def run(command: list) -> tuple[float, float]:
    """Wall and processor seconds of a process."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    theirs = np.min([run(IMPORTS) for _ in range(5)], axis=0)
    for words in COMMANDS:
        wall, spent = np.min([run([DP, *words.split()]) for _ in range(5)], axis=0)
        print(f"dp {words}, whole process: {wall:.2f} s, of which {spent:.2f} s of processor (aim: {AIM:g} s)")
        row(f"dp {words}: {AIM:g} s", f"{wall:.2f} s", f"numpy, scipy.special {theirs[0]:.2f} s", theirs[0] / wall)
    print(f"  rival, importing numpy and scipy.special: {theirs[0]:.2f} s, {theirs[1]:.2f} s of processor")


if __name__ == "__main__":
    main()
