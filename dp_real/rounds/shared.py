"""Plain rows that several runs draw alike: the first run that needs a block of them draws it for all.

A plain row is a function of the generator, its label and its seed, but for rounding, which depends on the block. So the
runs share whole blocks, and a block is known by its labels and seeds. Each run assesses them with its own learner.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dp_base.checksums import json_digest
from dp_base.locks import in_turn
from dp_real.config import Config
from dp_real.pool.batch import FORMAT, Batch
from dp_real.rounds.policies import Request


@dataclass(frozen=True)
class Shared:
    """A folder in which runs that draw alike keep the blocks among their first `rows` rows."""

    folder: Path
    rows: int

    def block(self, request: Request, rows: slice, seed: int, draw: Callable[[], Batch]) -> Batch:
        """These rows of a plain request: as another run drew them, or as draw() does, which others then find.

        Waits while another run draws them.
        """
        if rows.stop > self.rows:
            return draw()
        name = json_digest([request.labels[rows].tolist(), *(each.tolist() for each in request.seeds(seed, rows))])
        file = self.folder / name[:2] / f"{name}.arrow"  # folders stay small, which locks read
        file.parent.mkdir(parents=True, exist_ok=True)
        with in_turn(file):
            return Batch.kept(file, draw)


def kept_for_all(config: Config, folder: Path) -> Shared | None:
    """What a run shares with all that draw alike, before and after it, kept in `folder`; None: nothing."""
    rows = _drawn_at_first(config)
    return Shared(folder / _family(config), rows) if rows else None


def shared_among(configs: Sequence[Config], folder: Path) -> list[Shared | None]:
    """What each of these runs shares with others, kept in `folder`; None: nothing."""
    shared: list[Shared | None] = [None] * len(configs)
    for family, members in _families(configs).items():
        if len(members) > 1 and (rows := _drawn_at_first(configs[members[1]])):
            for index in members:
                shared[index] = Shared(folder / family, rows)
    return shared


def drawers_first(configs: Sequence[Config]) -> list[int]:
    """An order in which to run them: of runs that draw alike, the one that draws the most comes before all others."""
    drawers = {members[0] for members in _families(configs).values()}
    return sorted(range(len(configs)), key=lambda index: index not in drawers)


def _families(configs: Sequence[Config]) -> dict[str, list[int]]:
    """The runs whose initial rounds draw alike, by family; what draws the most first."""
    families = defaultdict[str, list[int]](list)
    for index in sorted(range(len(configs)), key=lambda index: _drawn_at_first(configs[index]), reverse=True):
        families[_family(configs[index])].append(index)
    return families


def _family(config: Config) -> str:
    """A digest of what plain rows of a run depend on."""
    parts = config.model_dump(mode="json", include={"data", "generator", "sampling", "pool", "seed", "threads"})
    return json_digest([FORMAT, parts, config.training.precision])[:32]


def _drawn_at_first(config: Config) -> int:
    """How many samples the initial round draws."""
    practice = config.practice
    return 0 if practice.examples == "real" else practice.initial - practice.real_examples
