"""How the processes share the rows of a training step.

A step's rows come in parcels of at most PARCEL. The rows of a parcel are drawn, cropped and mixed together, as a
function of the seed, the step and the parcel's place. So a step's rows do not depend on the number of processes. A
process that trains on a part of a parcel prepares all of it, and drops the rows of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

PARCEL = 64  # rows; the paper's rows per GPU on ImageNet-100


class Part(NamedTuple):
    """A parcel of which this process trains on some rows, or on all."""

    parcel: int  # its place in the step
    rows: slice  # the parcel's rows among those that the process prepares
    own: slice  # the process's rows among those of the parcel


@dataclass(frozen=True)
class Share:
    """The rows of a step that this process trains on.

    size: of the step, over all processes. copies: how many processes train on each row.
    """

    size: int
    parts: tuple[Part, ...]
    copies: int = 1

    @classmethod
    def of(cls, size: int, process: int = 0, processes: int = 1) -> Share:
        """The share of one of several processes. Shares are consecutive and differ by one row at most.

        The first is not empty; if there are fewer rows than processes, others are.
        """
        begin, end = (-(-size * each // processes) for each in (process, process + 1))
        parts, prepared = [], 0
        for index, (first, last) in enumerate(pairwise(edges(size))):
            own = slice(max(begin - first, 0), min(end, last) - first)
            if own.start < own.stop:
                parts.append(Part(index, slice(prepared, prepared + last - first), own))
                prepared += last - first
        return cls(size, tuple(parts))

    @classmethod
    def whole(cls, size: int, copies: int = 1) -> Share:
        """All rows, in each of `copies` processes."""
        return cls(size, cls.of(size).parts, copies)

    @property
    def rows(self) -> int:
        """The number of rows that this process trains on."""
        return sum(part.own.stop - part.own.start for part in self.parts)

    def weight(self, rows: int) -> float:
        """What the mean over so many rows counts in the mean over the step."""
        return rows / (self.size * self.copies)


def edges(size: int) -> list[int]:
    """Where the parcels of `size` rows begin, and where the last one ends. Their sizes differ by one row at most."""
    parcels = -(-size // PARCEL)
    return [size * index // parcels for index in range(parcels + 1)] if parcels else [0]
