"""Draws a round in blocks of rows. One process draws a whole block, so the rows do not depend on which process it is.

Each process keeps the blocks that it drew, in the form of the pool, so none needs the whole round in memory. Blocks
that a stopped run left on disk are read, not drawn again, unless they are damaged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dp_base.errors import Interrupted
from dp_base.files import remove
from dp_base.progress import Progress, silent
from dp_real.pool.batch import Batch, intact
from dp_real.runtime import processes


@dataclass(frozen=True)
class Blocks:
    """size: rows of a block. folder: where blocks are kept until their round is in the pool; None: nowhere.

    stop: whether to stop drawing. All processes call it before each block.
    """

    size: int
    folder: Path | None = None
    stop: Callable[[], bool] = lambda: False
    progress: Progress = silent

    def draw(self, index: int, rows: slice, draw: Callable[[slice], Batch]) -> list[Batch]:
        """This process's blocks of these rows of round `index`, each made by draw(block).

        Raises Interrupted if `stop` says so.
        """
        blocks = list(processes.slices(rows, self.size))
        mine, turns = processes.own_share(blocks), -(-len(blocks) // processes.this_process().num_processes)
        drawn = []
        with self.progress("drawing examples", max(1, len(mine))) as advance:
            for turn in range(turns):
                if self.stop():
                    raise Interrupted
                if turn < len(mine):
                    processes.enter(f"drawing rows {mine[turn].start} to {mine[turn].stop - 1} of round {index}")
                    drawn.append(self._kept(index, mine[turn], draw))
                    advance(1)
        return drawn

    def _kept(self, index: int, block: slice, draw: Callable[[slice], Batch]) -> Batch:
        """One block, read from its file if a stopped run left it. With a folder it is memory-mapped from disk."""
        if self.folder is None:
            return draw(block)
        file = self.folder / f"round-{index}-row-{block.start}.arrow"
        if intact(file):
            with contextlib.suppress(KeyError):  # another version's
                return Batch.read(file)
        self.folder.mkdir(exist_ok=True)
        draw(block).write(file)
        return Batch.read(file)

    def forget(self) -> None:
        """Delete the blocks on disk, once their round is in the pool."""
        if self.folder is not None and processes.this_process().is_main_process:
            remove(self.folder)
