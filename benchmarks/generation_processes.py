"""Guided generation of a round of digits by two processes against one, one thread each."""

import os
import subprocess
import sys
import time
from pathlib import Path

from _timing import row

ROWS, REPEATS = 6000, 3


def work() -> None:
    import tempfile

    import torch
    from dp_experiments.presets.presets import load_preset

    from dp_base.files import remove
    from dp_real.pool import Pool
    from dp_real.practice.rounds import Rounds
    from dp_real.runs.prepare import fresh_learner, load_generator
    from dp_real.runtime import distributed

    config = load_preset("digits", ["sampling.block_size=250"])
    pool = Pool(Path("unused"), config.task.sample_shape, config=config.pool)
    rounds = Rounds(config, pool, Path(tempfile.mkdtemp()), load_generator(config))
    learner = fresh_learner(config)
    labels = torch.arange(ROWS) % 10
    walls = []
    for _ in range(REPEATS):
        distributed.wait_for_everyone()
        begin = time.perf_counter()
        rounds.draw(1, labels, learner.logits)
        walls.append(time.perf_counter() - begin)
        remove(rounds.folder)  # the blocks, which would be read in the next turn
    if distributed.this_process().is_main_process:
        print(min(walls))


def main() -> None:
    walls = {}
    for processes in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        # On the CPU also where there is a GPU, which two processes cannot share.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        answer = subprocess.run([*command, __file__], env=environment, stdout=subprocess.PIPE, text=True, check=True)
        walls[processes] = float(answer.stdout.split()[-1])
    one, two = (ROWS / walls[processes] for processes in (1, 2))
    row("generation, 2 processes, 1.7x", f"{two:.0f} guided digits/s", f"one: {one:.0f}/s", two / one)


if __name__ == "__main__":
    work() if "LOCAL_RANK" in os.environ else main()
