"""Plain rows that several runs share, in whole blocks, since a row's rounding depends on its block."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from torch import Tensor

from dp_base.checksums import json_digest
from dp_base.locks import locked_beside
from dp_real.pool.pool import FORMAT, cache_block, cached_block

if TYPE_CHECKING:
    from dp_real.config import Config


@dataclass(frozen=True)
class Shared:
    """A folder of blocks, of the first `rows` rows of runs that draw the same."""

    folder: Path
    rows: int

    def scoped(self, identity: str) -> "Shared":
        """The part for runs with the same code, weights and examples."""
        return replace(self, folder=self.folder / identity)

    def block(self, labels: Tensor, seeds: Sequence[np.ndarray], rows: slice, draw: Callable[[], pa.Table]) -> pa.Table:
        """A block's rows by another run, for which it waits, or draw() for all."""
        if rows.stop > self.rows:
            return draw()
        name = json_digest([labels.tolist(), *(each.tolist() for each in seeds)])
        file = self.folder / name[:2] / name  # small folders, since a lock lists its folder
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked_beside(file, wait=True):
            return cached_block(file, rows) or cache_block(file, draw())


def shared_with_all(config: "Config", folder: Path) -> Shared | None:
    """The blocks of the initial round that a run shares, in `folder`, with earlier and later runs."""
    rows = _drawn_at_first(config)
    return Shared(folder / _family(config), rows) if rows else None


def shared_among(configs: "Sequence[Config]", folder: Path) -> list[Shared | None]:
    """The blocks of the initial round that each of these runs shares with others, in `folder`."""
    shared: list[Shared | None] = [None] * len(configs)
    for family, members in _families(configs).items():
        # only as many as a second run needs
        if len(members) > 1 and (rows := _drawn_at_first(configs[members[1]])):
            for index in members:
                shared[index] = Shared(folder / family, rows)
    return shared


def drawers_first(configs: "Sequence[Config]") -> list[int]:
    """An order of runs: of those that draw the same, the longest draw comes first."""
    drawers = {members[0] for members in _families(configs).values()}
    return sorted(range(len(configs)), key=lambda index: index not in drawers)


def _families(configs: "Sequence[Config]") -> dict[str, list[int]]:
    families = defaultdict[str, list[int]](list)
    most_first = sorted(range(len(configs)), key=lambda index: _drawn_at_first(configs[index]), reverse=True)
    for index in most_first:
        families[_family(configs[index])].append(index)
    return families


def _family(config: "Config") -> str:
    parts = config.model_dump(mode="json", include={"data", "generator", "sampling", "pool", "seed", "threads"})
    return json_digest([FORMAT, parts, config.training.precision])[:32]


def _drawn_at_first(config: "Config") -> int:
    practice = config.practice
    return (practice.initial - practice.real) * practice.initial_oversample
