"""Draws a round in blocks of rows. One process draws a whole block, so the rows do not depend on which process it is.

Each process keeps the blocks that it drew, in the form of the pool, so none needs the whole round in memory. Blocks
that a stopped run left on disk are read instead of being drawn again, unless they are damaged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dp_base.errors import Interrupted
from dp_base.files import remove
from dp_base.progress import Progress, silent
from dp_real.pool.batch import Batch
from dp_real.runtime import processes


class OwnBlocks(NamedTuple):
    """This process's blocks of some rows."""

    batches: list[Batch]
    saved: float  # seconds that the process saved, because others or a stopped run drew some blocks


@dataclass(frozen=True)
class Blocks:
    """How a round is cut into blocks, and where they are kept."""

    size: int  # rows of a block
    folder: Path | None = None  # keeps the blocks until their round is in the pool; None: they are kept in memory
    stop: Callable[[], bool] = lambda: False  # whether to stop drawing; all processes call it before each block
    progress: Progress = silent

    def draw(self, index: int, rows: slice, draw: Callable[[slice], Batch]) -> OwnBlocks:
        """This process's blocks of these rows of round `index`, each made by draw(block).

        Raises Interrupted if `stop` says so, or once draw(block) raises it in any process.
        """
        blocks = list(processes.slices(rows, self.size))
        own = processes.own_share(blocks)
        turns = -(-len(blocks) // processes.this_process().num_processes)
        drawn: list[Batch] = []
        saved = 0.0
        stopped: Interrupted | None = None
        with self.progress("drawing examples", max(1, len(own))) as advance:
            for turn in range(turns):
                if self.stop():
                    raise Interrupted
                if turn < len(own):
                    block = own[turn]
                    with processes.phase(f"drawing rows {block.start} to {block.stop - 1} of round {index}"):
                        begin = time.monotonic()
                        try:
                            drawn.append(self._kept(index, block, draw))
                            saved += float(drawn[-1].seconds.sum()) - (time.monotonic() - begin)
                        except Interrupted as error:
                            stopped = error
                    advance(1)
                if processes.any_process(stopped is not None):
                    raise stopped or Interrupted
        return OwnBlocks(drawn, max(0.0, saved))  # to draw and write them here takes a little more than `seconds`

    def _kept(self, index: int, block: slice, draw: Callable[[slice], Batch]) -> Batch:
        """One block, read from its file if a stopped run left it. With a folder it is memory-mapped from disk."""
        if self.folder is None:
            return draw(block)
        file = self.folder / f"{_prefix(index)}{block.start}.arrow"
        return Batch.kept(file, lambda: draw(block))

    def forget(self) -> None:
        """Delete the blocks on disk, once their round is in the pool."""
        if self.folder is not None and processes.this_process().is_main_process:
            remove(self.folder)


def discard_blocks(folder: Path, but: int | None) -> None:
    """Delete the blocks of all rounds but that of this index, if one is given."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if but is None or not path.name.startswith(_prefix(but)):
            remove(path)


def _prefix(index: int) -> str:
    """How the names of a round's blocks begin."""
    return f"round-{index}-row-"
