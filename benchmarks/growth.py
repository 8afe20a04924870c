"""How time and memory grow: each work at 1, 10 and 100 times its size, in a process each.

`order` is the slope of ln(seconds) on ln(size) over the last factor of ten, without an empty process; `aim` is what it
must not exceed.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _timing import row

SIZES = (1, 10, 100)


def sweep_cells(size: int) -> Callable[[], object]:
    import dp_theory

    lams = [10 ** (-3 + 3 * i / size) for i in range(size)]
    return lambda: dp_theory.sweep(
        [0.5], rho=[0.9], lam=lams, rules=["keep-hard"], d=32, trials=2, n=[32, 64], workers=1
    )


def law_simulator(size: int) -> Callable[[], object]:
    import numpy as np

    from dp_theory.ridge.simulators import law
    from dp_theory.rules import KeepHard

    d = 10_000 * size
    return lambda: law.trial(KeepHard(0.5), 0.7, 5 * d, d, [0.01], np.random.Generator(np.random.SFC64(0)))


def dmft_rounds(size: int) -> Callable[[], object]:
    from dp_theory import PracticeProblem, Window, predict

    return lambda: predict(PracticeProblem(0.25, 1e-6, [Window(1, power=2)] * size))


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
    law_simulator: ("x 1e4 dimensions", 1.1),
    dmft_rounds: ("rounds", 3.0),
    pool_append: ("x 3 rounds", 1.2),
}  # with the unit of the size, and the order that is aimed at


def measure(name: str, size: int) -> None:
    """Preparation is not counted."""
    work = next(each for each in WORKS if each.__name__ == name)
    work(1)()  # imports, first calls
    prepared, before = work(size), peak()
    start = time.process_time()
    prepared()
    print(json.dumps([time.process_time() - start, peak() - before]))


def peak() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    chosen = [work for work in WORKS if not sys.argv[1:] or work.__name__ in sys.argv[1:]]
    print(f"{'work':16s}{'size':>8s}{'seconds':>12s}{'MB more':>10s}")
    for work in chosen:
        unit, aim = WORKS[work]
        spent = []
        largest = SIZES[:-1] if work is dmft_rounds else SIZES  # 100 rounds are no practice, and take minutes
        for size in largest:
            command = [sys.executable, __file__, "--measure", work.__name__, str(size)]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
            taken, memory = json.loads(done.stdout.splitlines()[-1])
            spent.append((taken, memory))
            print(f"{work.__name__:16s}{size:8d}{taken:12.4f}{memory:10.0f}   {unit}", flush=True)
        order = math.log10(max(spent[-1][0], 1e-4) / max(spent[-2][0], 1e-4))
        times, more = (" / ".join(f"{each[part]:.2g}" for each in spent) for part in (0, 1))
        print(f"  order {order:.2f} (aim: at most {aim:g})")
        row(f"growth of {work.__name__.replace('_', ' ')}", f"{times} s; {more} MB", f"order {aim:g}", order / aim)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main()
