"""Timing in processor seconds, which other work on the machine hardly affects."""

import time
from collections.abc import Callable


def seconds(*works: Callable[[], object], repeats: int = 5) -> list[float]:
    """Least processor time of each of the works, in seconds. They run in turn, so that all meet the same conditions."""
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for i, work in enumerate(works):
            start = time.process_time()
            work()
            best[i] = min(best[i], time.process_time() - start)
    return best
