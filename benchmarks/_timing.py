"""Processor seconds, which other work hardly affects, and the table of `make bench`."""

import os
import time
from collections.abc import Callable

ROWS = "DP_BENCH_ROWS"  # names the file that collects the rows; `python benchmarks` sets it


def seconds(
    *works: Callable[[], object], repeats: int = 5, clock: Callable[[], float] = time.process_time
) -> list[float]:
    """Least processor time of each of the works, which run in turn under the same conditions.

    clock: time.perf_counter for work on several cores; the machine must then be quiet.
    """
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for i, work in enumerate(works):
            start = clock()
            work()
            best[i] = min(best[i], clock() - start)
    return best


def row(target: str, measured: str, limit: str, ratio: float) -> None:
    """Print what was to be reached, what was, the best rival or limit, and ours against it."""
    print(f"{target}: {measured}; {limit}; ratio {ratio:.3g}", flush=True)
    if os.environ.get(ROWS):
        with open(os.environ[ROWS], "a", encoding="utf-8") as file:
            print(target, measured, limit, f"{ratio:.3g}", sep="\t", file=file)
