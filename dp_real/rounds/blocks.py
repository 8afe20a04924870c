"""A round in blocks of rows, each drawn whole and by one process, so that it is the same whoever draws it.

A process keeps what it drew, as the pool is to have it: nobody needs the pixels of a whole round at once. Blocks that a
stopped run drew are read, not drawn again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dp_base.errors import Interrupted
from dp_base.files import remove
from dp_base.progress import Progress, silent
from dp_real.pool import Batch
from dp_real.runtime import processes


@dataclass(frozen=True)
class Blocks:
    """size: rows of a block. folder: where blocks are kept until their round is safe; None: nowhere.

    stop: whether to give up, asked of all processes before each block.
    """

    size: int
    folder: Path | None = None
    stop: Callable[[], bool] = lambda: False
    progress: Progress = silent

    def draw(self, index: int, rows: slice, draw: Callable[[slice], Batch]) -> list[Batch]:
        """This process's blocks of these rows of round `index`, each made by draw(block).

        Raises Interrupted if it was told to stop.
        """
        blocks = list(processes.slices(rows, self.size))
        mine, turns = processes.own_share(blocks), -(-len(blocks) // processes.this_process().num_processes)
        drawn = []
        with self.progress("drawing examples", max(1, len(mine))) as advance:
            for turn in range(turns):
                if self.stop():
                    raise Interrupted
                if turn < len(mine):
                    drawn.append(self._kept(index, mine[turn], draw))
                    advance(1)
        return drawn

    def _kept(self, index: int, block: slice, draw: Callable[[slice], Batch]) -> Batch:
        """One block, from its file if a stopped run has left it whole; on disk, as far as memory goes."""
        if self.folder is None:
            return draw(block)
        file = self.folder / f"round-{index}-row-{block.start}.arrow"
        with contextlib.suppress(FileNotFoundError, KeyError, pa.ArrowInvalid):  # of another version, or cut short
            return Batch.read(file)
        self.folder.mkdir(exist_ok=True)
        draw(block).write(file)
        return Batch.read(file)

    def forget(self) -> None:
        """A round is safe: its blocks may go."""
        if self.folder is not None and processes.this_process().is_main_process:
            remove(self.folder)
