"""The whole process of `dp theory predict`, against importing numpy and scipy.special, which it needs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PREDICT = [Path(sys.executable).with_name("dp"), "theory", "predict", "--alpha", "1", "--rho", "0.5", "--phi", "1"]
IMPORTS = [sys.executable, "-c", "import numpy, scipy.special"]


def run(command: list) -> tuple[float, float]:
    """Wall and processor seconds of a process."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    ours, theirs = np.min([(run(PREDICT), run(IMPORTS)) for _ in range(5)], axis=0)
    print(f"dp theory predict, whole process: {ours[0]:.2f} s, of which {ours[1]:.2f} s of processor (aim: 1 s)")
    print(
        f"  rival, importing numpy and scipy.special: {theirs[1]:.2f} s of processor; ratio {theirs[1] / ours[1]:.0%}"
    )


if __name__ == "__main__":
    main()
