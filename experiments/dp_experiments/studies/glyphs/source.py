"""Characters of typefaces, drawn from the fonts of Debian's packages."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dp_base.errors import MissingError
from dp_experiments.studies.glyphs.fonts import CHARACTERS, DEBIAN, DEBIANS_FONTS, Face, debian_fonts
from dp_real.data import DATA, DataConfig
from dp_real.data.examples import Examples, ExampleSet, RealData, SetStatus, Task
from dp_real.runtime.section import Place, Seed

if TYPE_CHECKING:
    import numpy as np

GENERATOR_SHARE = 0.55  # of the groups of families; the rest test
VALIDATION_SHARE = 0.15
FONTS_PER_GROUP = 2  # that validate or test, so that large groups do not count for more
MAX_MISSING = 12  # packages that may be missing, because a newer Debian may have dropped them
FURTHER = ("handwriting", "display")  # kinds of families that are not used for the generator, validation or test


@DATA.named("glyphs", place=3)
class GlyphsConfig(DataConfig):
    """Characters of several hundred typefaces, drawn from fonts."""

    source: Literal["glyphs"]
    fonts: Place | None = Field(
        default=None, description="a folder that has what Debian's font packages put below /usr/share; none: that one"
    )
    size: int = Field(default=24, ge=8, le=32, description="pixels a side")
    sets: dict[str, str] = Field(
        default={}, description="name = 'handwriting', 'display', or where: further sets for the end"
    )
    split: Seed = Field(default=0, description="which random split of the families into generator, validation and test")

    @property
    def task(self) -> Task:
        return Task((1, self.size, self.size), tuple(CHARACTERS.values()))

    def load(self) -> RealData:
        """Of the groups of alike families, 55 % are for the generator, 15 % validate and 30 % test."""
        faces, images = self.collection()
        generator, validation, test = (self._examples(images[rows]) for rows in self.split_fonts(faces))
        sets = {name: self.read_set(name, where) for name, where in self.sets.items()}
        return RealData(self.task, generator, validation, test, sets)

    def split_fonts(self, faces: Sequence[Face]) -> tuple[list[int], list[int], list[int]]:
        """All fonts of a group are on one side."""
        from dp_real.runtime.seeds import Stream, rng

        members: dict[int, list[int]] = {}
        for row, face in enumerate(faces):
            if face.kind == "text":
                members.setdefault(face.group, []).append(row)
        groups = rng(self.split, Stream.SPLIT).permutation(sorted(members)).tolist()
        first = round(GENERATOR_SHARE * len(groups))
        second = round((GENERATOR_SHARE + VALIDATION_SHARE) * len(groups))
        generator = [row for group in groups[:first] for row in members[group]]
        validation = [row for group in groups[first:second] for row in members[group][:FONTS_PER_GROUP]]
        test = [row for group in groups[second:] for row in members[group][:FONTS_PER_GROUP]]
        return generator, validation, test

    def describe(self) -> list[SetStatus]:
        """The fonts are counted, not drawn."""
        try:
            return [SetStatus("fonts", f"{self._below}: {len(self.faces()):,} files")]
        except MissingError as error:
            return [SetStatus("fonts", str(self._below), str(error))]

    def read_set(self, name: str, where: str) -> ExampleSet:
        """`where` may also be "handwriting" or "display", for all fonts of that kind."""
        if where not in FURTHER:
            return super().read_set(name, where)
        faces, images = self.collection()
        return self._examples(images[[row for row, face in enumerate(faces) if face.kind == where]])

    @property
    def _below(self) -> Path:
        return Path(self.fonts) if self.fonts else DEBIAN

    def faces(self) -> list[Face]:
        """The fonts that are there. Raises MissingError if packages are missing."""
        faces = debian_fonts(self._below)
        there = [face for face in faces if face.path.is_file()]
        missing = sorted({face.package for face in set(faces) - set(there)})
        if len(missing) > MAX_MISSING:
            raise MissingError(
                f"{len(missing)} of Debian's font packages are not in {self._below}, {missing[0]} the first: "
                f"tail -n +2 {DEBIANS_FONTS} | cut -d, -f1 | sort -u | xargs sudo apt-get install -y"
            )
        return there

    def collection(self) -> "tuple[list[Face], np.ndarray]":
        """The fonts, and their characters as collection.collect gives them."""
        from dp_experiments.studies.glyphs.collection import collect

        faces = self.faces()
        return faces, collect(faces)

    def _examples(self, images: "np.ndarray") -> Examples:
        import torch

        from dp_real.runtime.pixels import fit, to_float

        drawn = torch.from_numpy(images)
        font, label = drawn.flatten(2).any(2).nonzero(as_tuple=True)
        return Examples(fit(to_float(drawn[font, label].unsqueeze(1)), self.task.sample_shape), label)
