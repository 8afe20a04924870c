"""Guided generation by two processes against one, one thread each: wall time of the same round of digits."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROWS, REPEATS = 6000, 3


def work() -> None:
    """In each process: draw a round guided by an untrained learner; the main process prints the best wall time."""
    import torch

    from dp_base.progress import silent
    from dp_real.learners import fresh_learner
    from dp_real.pool.pool import Pool
    from dp_real.rounds.source import Source
    from dp_real.runs.run import prepare
    from dp_real.runtime import processes
    from experiments.paper.digits_runs import digits

    config = digits("sampling.block_size=250")
    _, generator = prepare(config, silent)
    learner, labels = fresh_learner(config, generator), torch.arange(ROWS) % 10
    pool, walls = Pool(Path("unused"), generator.sample_shape), []
    for _ in range(REPEATS):
        processes.state().wait_for_everyone()
        begin = time.perf_counter()
        Source(config, generator, pool).guided(1, labels, learner)
        walls.append(time.perf_counter() - begin)
    if processes.state().is_main_process:
        print(min(walls))


def main() -> None:
    walls = {}
    for processes in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        answer = subprocess.run([*command, __file__], env=environment, stdout=subprocess.PIPE, text=True, check=True)
        walls[processes] = float(answer.stdout.split()[-1])
    for processes, wall in walls.items():
        print(f"{processes} process(es): {ROWS / wall:6.0f} guided digits/s, {walls[1] / wall:.2f}x of one (aim: 1.7x)")


if __name__ == "__main__":
    work() if "LOCAL_RANK" in os.environ else main()
