"""Characters of typefaces, drawn from the fonts of Debian's packages or of a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dp_base.errors import InputError, MissingError
from dp_base.progress import Progress, silent
from dp_experiments.studies.glyphs.fonts import CHARACTERS, DEBIANS_FONTS, debian_fonts, font_files
from dp_real.data import DATA, DataConfig
from dp_real.data.examples import Examples, ExampleSet, RealData, SetStatus, Task
from dp_real.runtime.section import Place, Seed

if TYPE_CHECKING:
    from dp_experiments.studies.glyphs.collection import Collection

GENERATOR_SHARE = 0.55  # of the groups of families; the rest test
VALIDATION_SHARE = 0.15
FONTS_PER_GROUP = 2  # that validate or test, so that large groups do not count for more
MIN_GROUPS = 10
DEBIANS = "Debian's packages"
MAX_MISSING = 12  # packages that may be missing, because a newer Debian may have dropped them
FURTHER = ("handwriting", "display")  # kinds of families that are not used for the generator, validation or test


@DATA.named("glyphs", place=3)
class GlyphsConfig(DataConfig):
    """Characters of several hundred typefaces, drawn from fonts."""

    source: Literal["glyphs"]
    fonts: Place | None = Field(
        default=None, description="a folder of fonts; none: where Debian's packages put them (dp real plan glyphs)"
    )
    size: int = Field(default=24, ge=8, le=32, description="pixels a side")
    sets: dict[str, str] = Field(
        default={}, description="name = 'handwriting', 'display', or where: further sets for the end"
    )
    split: Seed = Field(default=0, description="which random split of the families into generator, validation and test")

    @property
    def task(self) -> Task:
        return Task((1, self.size, self.size), tuple(CHARACTERS.values()))

    def prepare(self, progress: Progress = silent) -> None:
        self.collection(progress)

    def load(self) -> RealData:
        """Of the groups of alike families, 55 % are for the generator, 15 % validate and 30 % test."""
        collection = self.collection()
        generator, validation, test = (self._examples(collection, rows) for rows in self.split_fonts(collection))
        sets = {name: self.read_set(name, where) for name, where in self.sets.items()}
        return RealData(self.task, generator, validation, test, sets)

    def split_fonts(self, collection: "Collection") -> tuple[list[int], list[int], list[int]]:
        """All fonts of a group are on one side."""
        from dp_real.runtime.seeds import Stream, rng

        members: dict[int, list[int]] = {}
        for row, face in enumerate(collection.faces):
            if face.kind == "text":
                members.setdefault(face.group, []).append(row)
        groups = rng(self.split, Stream.SPLIT).permutation(sorted(members)).tolist()
        if len(groups) < MIN_GROUPS:
            raise InputError(
                f"{self.fonts}: fonts of {len(groups)} groups of families that have Latin letters, digits and signs, "
                f"and are legible; at least {MIN_GROUPS} are needed"
            )
        first = round(GENERATOR_SHARE * len(groups))
        second = round((GENERATOR_SHARE + VALIDATION_SHARE) * len(groups))
        generator = [row for group in groups[:first] for row in members[group]]
        validation = [row for group in groups[first:second] for row in members[group][:FONTS_PER_GROUP]]
        test = [row for group in groups[second:] for row in members[group][:FONTS_PER_GROUP]]
        return generator, validation, test

    def describe(self) -> list[SetStatus]:
        """The fonts are counted, not drawn."""
        where = self.fonts or DEBIANS
        try:
            return [SetStatus("fonts", f"{where}: {len(self.font_paths()):,} files")]
        except MissingError as error:
            return [SetStatus("fonts", where, str(error))]

    def read_set(self, name: str, where: str) -> ExampleSet:
        """`where` may also be "handwriting" or "display", for all fonts of that kind."""
        if where not in FURTHER:
            return super().read_set(name, where)
        collection = self.collection()
        rows = [row for row, face in enumerate(collection.faces) if face.kind == where]
        if not rows:
            raise InputError(f"data.sets.{name} = {where!r}: there is no such font in {self.fonts or DEBIANS}")
        return self._examples(collection, rows)

    def font_paths(self) -> list[Path]:
        """The files of data.fonts, or of Debian's packages. Raises MissingError if too few are there."""
        if self.fonts is not None:
            if not Path(self.fonts).is_dir():
                raise MissingError(f"data.fonts = {self.fonts!r}: no such folder; put fonts (.ttf, .otf, .ttc) there")
            return font_files(Path(self.fonts))
        fonts = debian_fonts()
        missing = sorted({package for path, package in fonts.items() if not path.is_file()})
        if len(missing) > MAX_MISSING:
            raise MissingError(
                f"{len(missing)} of Debian's font packages are not installed, {missing[0]} the first: "
                f"tail -n +2 {DEBIANS_FONTS} | cut -d, -f1 | sort -u | xargs sudo apt-get install -y; "
                "or name a folder of fonts as data.fonts"
            )
        return [path for path in fonts if path.is_file()]

    def collection(self, progress: Progress = silent) -> "Collection":
        """The characters of all fonts. Raises as font_paths."""
        from dp_experiments.studies.glyphs.collection import collect

        return collect(self.font_paths(), progress)

    def _examples(self, collection: "Collection", rows: list[int]) -> Examples:
        import torch

        from dp_real.runtime.pixels import fit, to_float

        images = torch.from_numpy(collection.images[rows])
        font, label = images.flatten(2).any(2).nonzero(as_tuple=True)
        characters = to_float(images[font, label].unsqueeze(1))
        return Examples(fit(characters, self.task.sample_shape), label)
