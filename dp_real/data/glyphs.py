"""Characters of typefaces, drawn from the fonts of Debian's packages or of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dp_base.errors import InputError, MissingError
from dp_base.progress import Progress, silent
from dp_real.data import DATA, DataConfig
from dp_real.data.typefaces.characters import CHARACTERS
from dp_real.examples import Examples, ExampleSet, RealData, SetStatus, Task
from dp_real.sections import Seed

if TYPE_CHECKING:
    from dp_real.data.typefaces.collection import Collection

SHARES = (0.55, 0.15, 0.30)  # of the groups of families: for the generator, to validate, to test
OF_A_GROUP = 2  # fonts of each group that validate and test, so that large groups do not count for more
LEAST_GROUPS = 10
DEBIANS = "Debian's packages"
MOST_MISSING = 12  # of the packages: what a newer Debian may have dropped
FURTHER = ("handwriting", "display")  # kinds of families that are in none of the three


@DATA.named("glyphs", place=3)
class GlyphsConfig(DataConfig):
    """Characters of several hundred typefaces, drawn from fonts; families are on one side of the split only."""

    source: Literal["glyphs"]
    fonts: str | None = Field(
        default=None, description="a folder of fonts; none: where Debian's packages put them (dp real plan glyphs)"
    )
    size: int = Field(default=24, ge=8, le=32, description="pixels a side")
    sets: dict[str, str] = Field(
        default={}, description="name = 'handwriting', 'display', or where: further sets for the end"
    )
    split: Seed = Field(default=0, description="which random split of the families into generator, validation and test")

    @property
    def task(self) -> Task:
        """77 characters, grey and square; the classes have the names that prompts use."""
        return Task((1, self.size, self.size), tuple(CHARACTERS.values()))

    def prepare(self, progress: Progress = silent) -> None:
        """Draw the fonts on first use, in a minute or two. Raises as `load` does."""
        self._collection(progress)

    def load(self) -> RealData:
        """The images, split by groups of families that are alike: 55 % for the generator, 15 % to validate, 30 % to
        test, which have up to OF_A_GROUP fonts of each group.

        Raises MissingError if fonts are missing, InputError if a folder has too few that serve.
        """
        collection = self._collection()
        sides = self.sides(collection)
        return RealData(
            self.task,
            generator=self._examples(collection, sides[0]),
            validation=self._examples(collection, sides[1]),
            test=self._examples(collection, sides[2]),
            sets={name: self._further(name, where, collection) for name, where in self.sets.items()},
        )

    def sides(self, collection: Collection) -> tuple[list[int], list[int], list[int]]:
        """The fonts of the collection that are for the generator, to validate and to test."""
        import numpy as np

        from dp_real.runtime.seeds import Stream, rng

        members: dict[int, list[int]] = {}
        for row, face in enumerate(collection.faces):
            if face.kind == "text":
                members.setdefault(face.group, []).append(row)
        groups = rng(self.split, Stream.SPLIT).permutation(sorted(members)).tolist()
        if len(groups) < LEAST_GROUPS:
            raise InputError(
                f"{self.fonts}: fonts of {len(groups)} groups of families that have Latin letters, digits and signs, "
                f"and are legible; at least {LEAST_GROUPS} are needed"
            )
        first, second = (round(edge * len(groups)) for edge in np.cumsum(SHARES)[:2])
        train, validation, test = groups[:first], groups[first:second], groups[second:]
        few = [[row for group in part for row in members[group][:OF_A_GROUP]] for part in (validation, test)]
        return [row for group in train for row in members[group]], few[0], few[1]

    def describe(self) -> list[SetStatus]:
        """One set: the fonts. They are counted, not drawn."""
        where = ", ".join(map(str, self._folders))
        try:
            return [SetStatus("fonts", f"{where}: {len(self._files()):,} files", None, None)]
        except MissingError as error:
            return [SetStatus("fonts", where, None, str(error))]

    def read_set(self, name: str, where: str) -> ExampleSet:
        """See DataConfig. `where` may also be "handwriting" or "display": all fonts of that kind."""
        return self._further(name, where, self._collection() if where in FURTHER else None)

    @property
    def _folders(self) -> tuple[Path, ...]:
        from dp_real.data.typefaces.fonts import DEBIAN

        return DEBIAN if self.fonts is None else (Path(self.fonts),)

    def _files(self) -> list[Path]:
        from dp_real.data.typefaces.fonts import PACKAGES, font_files, missing_packages

        if self.fonts is not None and not Path(self.fonts).is_dir():
            raise MissingError(f"data.fonts = {self.fonts!r}: no such folder; put fonts (.ttf, .otf, .ttc) there")
        files = font_files(self._folders)
        missing = missing_packages(files) if self.fonts is None else []
        if len(missing) > MOST_MISSING:
            raise MissingError(
                f"{len(missing)} of Debian's font packages are not installed, {missing[0]} the first: "
                f"cut -d, -f1 {PACKAGES} | xargs sudo apt-get install -y; or name a folder of fonts as data.fonts"
            )
        return files

    def _collection(self, progress: Progress = silent) -> Collection:
        from dp_real.data.typefaces.collection import collect

        return collect(self._files(), progress)

    def _further(self, name: str, where: str, collection: Collection | None) -> ExampleSet:
        if where not in FURTHER or collection is None:
            return super().read_set(name, where)
        rows = [row for row, face in enumerate(collection.faces) if face.kind == where]
        if not rows:
            raise InputError(f"data.sets.{name} = {where!r}: there is no such font in {self.fonts or DEBIANS}")
        return self._examples(collection, rows)

    def _examples(self, collection: Collection, rows: list[int]) -> Examples:
        import torch

        from dp_real.runtime.pixels import fit, to_float

        images = torch.from_numpy(collection.images[rows])
        font, label = images.flatten(2).any(2).nonzero(as_tuple=True)
        return Examples(fit(to_float(images[font, label].unsqueeze(1)), self.task.sample_shape), label)
