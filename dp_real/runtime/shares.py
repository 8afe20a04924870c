"""How processes share the rows of a training step.

The rows of a step come in parcels of at most PARCEL rows. The rows of a parcel are drawn, cropped and mixed together.
The randomness of this is a function of the seed, the step and the place of the parcel. So the rows of a step do not
depend on the number of processes. A process that trains on a part of a parcel prepares all of it, and drops the rows of
the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

PARCEL = 64  # rows; the paper trains on as many per GPU on ImageNet-100


class ParcelPart(NamedTuple):
    """A parcel of which this process trains on some rows, or on all."""

    parcel: int  # place of the parcel in the step
    rows: slice  # the parcel's rows, among all rows that the process prepares
    own: slice  # the rows that the process trains on, among those of the parcel


@dataclass(frozen=True)
class StepShare:
    """The rows of a training step that this process trains on.

    `size` is the number of rows of the step, over all processes. `copies` is how many processes train on each row.
    """

    size: int
    parts: tuple[ParcelPart, ...]
    copies: int = 1

    @classmethod
    def of(cls, size: int, process: int = 0, processes: int = 1) -> StepShare:
        """The shares are consecutive, and their sizes differ by one row at most.

        If there are fewer rows than processes, some shares are empty, but not the first one.
        """
        begin = -(-size * process // processes)
        end = -(-size * (process + 1) // processes)
        parts: list[ParcelPart] = []
        prepared = 0
        for parcel, (first, last) in enumerate(pairwise(edges(size))):
            own = slice(max(begin - first, 0), min(end, last) - first)
            if own.start < own.stop:
                parts.append(ParcelPart(parcel, slice(prepared, prepared + last - first), own))
                prepared += last - first
        return cls(size, tuple(parts))

    @classmethod
    def whole(cls, size: int, copies: int = 1) -> StepShare:
        """Return the share of a process that trains on all rows, as each of `copies` processes does."""
        return cls(size, cls.of(size).parts, copies)

    @property
    def rows(self) -> int:
        return sum(part.own.stop - part.own.start for part in self.parts)

    def weight(self, rows: int) -> float:
        """Return the weight of the mean over this many rows in the mean over the step."""
        return rows / (self.size * self.copies)


def edges(size: int) -> list[int]:
    """Return where the parcels of `size` rows begin, and where the last one ends.

    Their sizes differ by one row at most.
    """
    parcels = -(-size // PARCEL)
    return [size * index // parcels for index in range(parcels + 1)] if parcels else [0]
