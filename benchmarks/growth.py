"""How time and memory grow: each work at 1, 10 and 100 times its size, in a process each.

`order` is the slope of ln(seconds) on ln(size) over the last factor of ten; `aim` is what it must not exceed.
"""

import math
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _timing import row

SIZES = (1, 10, 100)


def sweep_cells(size: int) -> Callable[[], object]:
    import dp_theory

    lams = [10 ** (-3 + 3 * i / size) for i in range(size)]
    return lambda: dp_theory.sweep(
        [0.5], rho=[0.9], lam_per_row=lams, rules=["keep-hard"], d=32, trials=2, n=[32, 64], workers=1
    )


def pool_append(size: int) -> Callable[[], object]:
    import numpy as np
    import pyarrow as pa
    import torch

    from dp_real.pool.pool import COLUMNS, Pool

    pool = Pool(Path(tempfile.mkdtemp()) / "pool", (1, 8, 8))
    count = 100
    columns = {name: np.zeros(count, kind) for name, kind in COLUMNS.items()}
    columns |= {"row": np.arange(count), "example": pool.storage.encode(torch.zeros(count, 1, 8, 8))}

    def append() -> None:
        for index in range(3 * size):
            pool.append(index, pa.table(columns | {"round": np.full(count, index)}, schema=pool.schema))

    return append


WORKS: dict[Callable[[int], Callable[[], object]], tuple[str, float]] = {
    sweep_cells: ("cells", 1.0),
    pool_append: ("x 3 rounds", 1.2),
}  # with the unit of the size, and the order that is aimed at


def measure(work: Callable[[int], Callable[[], object]], size: int) -> tuple[float, float]:
    """Seconds, and megabytes more than before. Preparation is not counted."""
    work(1)()  # imports, first calls
    prepared, before = work(size), peak()
    start = time.process_time()
    prepared()
    return time.process_time() - start, peak() - before


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    print(f"{'work':16s}{'size':>8s}{'seconds':>12s}{'MB more':>10s}")
    for work, (unit, aim) in WORKS.items():
        elapsed = []
        for size in SIZES:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                elapsed.append(fresh.submit(measure, work, size).result())
            print(f"{work.__name__:16s}{size:8d}{elapsed[-1][0]:12.4f}{elapsed[-1][1]:10.0f}   {unit}", flush=True)
        order = math.log10(max(elapsed[-1][0], 1e-4) / max(elapsed[-2][0], 1e-4))
        times, more = (" / ".join(f"{each[part]:.2g}" for each in elapsed) for part in (0, 1))
        row(f"growth of {work.__name__.replace('_', ' ')}", f"{times} s; {more} MB", f"order {aim:g}", order / aim)


if __name__ == "__main__":
    main()
