"""Timing in processor seconds, which other work hardly affects, and rows of the table of `make bench`."""

import json
import os
import time
from collections.abc import Callable

ROWS = "DP_BENCH_ROWS"  # names the file that collects the rows; `python benchmarks` sets it


def seconds(*works: Callable[[], object], repeats: int = 5) -> list[float]:
    """Least processor time of each of the works, in seconds. They run in turn, so that all meet the same conditions."""
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for i, work in enumerate(works):
            start = time.process_time()
            work()
            best[i] = min(best[i], time.process_time() - start)
    return best


def row(target: str, measured: str, limit: str, ratio: float) -> None:
    """Add a row to the table: what was to be reached, what was, the best rival or the limit, and ours against it."""
    if os.environ.get(ROWS):
        with open(os.environ[ROWS], "a", encoding="utf-8") as file:
            file.write(json.dumps([target, measured, limit, f"{ratio:.3g}"]) + "\n")
