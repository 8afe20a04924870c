"""Processor seconds: what a benchmark prints must not depend on what else the machine is doing."""

import time
from collections.abc import Callable


def seconds(*works: Callable[[], object], repeats: int = 5) -> list[float]:
    """Least processor time of each of the works, taken in turns, so that all meet the same machine."""
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for i, work in enumerate(works):
            start = time.process_time()
            work()
            best[i] = min(best[i], time.process_time() - start)
    return best
