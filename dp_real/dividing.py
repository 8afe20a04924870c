"""Divides a person's examples into sets for training, validation and the final test."""

from __future__ import annotations

import hashlib
import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dp_base.errors import InputError
from dp_base.files import whole_folder
from dp_base.reading import foreign_file
from dp_real.data.sets.class_names import ENDINGS, SET_NAMES, class_files, class_folders, own_classes

SHARES = {"train": 0.5, "validation": 0.25, "test": 0.25}
NUMBERED = re.compile(r"(.+?)[-_. ]\d+")  # patient07_3: the third of one group
LEAST_GROUPS = 6  # of a class, for its files' names to tell groups
SAMPLED = 100  # images whose size is looked at


@dataclass(frozen=True)
class Example:
    """An example, by its file or its text."""

    label: str
    name: str
    file: Path | None = None
    text: str = ""


@dataclass(frozen=True)
class Divided:
    """The examples of each set. side: median shorter side in pixels; 0: texts."""

    classes: tuple[str, ...]
    sets: Mapping[str, Sequence[Example]]
    given: Mapping[str, Path]  # where sets are that were there already; else empty
    groups: int  # that were kept together; 0: names told none
    side: int
    grey: bool

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(part) for name, part in self.sets.items()}

    def leave(self, out: Path) -> dict[str, Path]:
        """Write the sets, all or none, as links or JSONL into the new folder `out`, and return their places."""
        if self.given:
            return dict(self.given)
        with whole_folder(out) as staged:
            return {name: out / _leave(part, staged, name) for name, part in self.sets.items()}


def divide(source: Path) -> Divided:
    """Divide class folders of images or texts, or a table of texts, into sets. Nothing is written.

    Folders called train, val or test stay. Else half of each class is for training, a quarter each for the others.
    Names that differ in a last number only stay together if each class has six such groups.
    """
    given = _given_sets(source) if source.is_dir() else {}
    if given:
        sets, groups = {name: _in_folders(folder) for name, folder in given.items()}, 0
        examples = [example for part in sets.values() for example in part]
    else:
        examples = _in_folders(source) if source.is_dir() else _in_table(source)
        sets, groups = _assigned(examples, source)
    files = [example.file for example in examples if example.file is not None]
    images = [file for file in files if file.suffix.lower() in ENDINGS]
    if images and len(images) < len(examples):
        text = next(file for file in files if file.suffix.lower() not in ENDINGS)
        raise InputError(f"{source}: it has images and texts, such as {text}; one task has one kind of them")
    classes = tuple(dict.fromkeys(example.label for example in examples))
    side, grey = _look(images) if images else (0, False)
    return Divided(classes, sets, given, groups, side, grey)


def _given_sets(source: Path) -> dict[str, Path]:
    """Folders of sets by our names; empty unless one for validation is among several."""
    found = {SET_NAMES[path.name.lower()]: path for path in class_folders(source) if path.name.lower() in SET_NAMES}
    if len(found) > 1 and "validation" not in found:
        raise InputError(
            f"{source}: {' and '.join(found)} are sets, and none is for validation; add {source}/validation"
        )
    return {name: found[name] for name in SHARES if name in found} if len(found) > 1 else {}


def _in_folders(folder: Path) -> list[Example]:
    classes = own_classes([path.name for path in class_folders(folder)])
    files = class_files(folder, classes, {*ENDINGS, ".txt"}, "images or texts")
    found = [Example(classes.names[label], file.stem, file) for file, label in files]
    if len({example.label for example in found}) < 2:
        raise InputError(f"{folder}: one class only; there must be a folder for each of at least two")
    return found


def _in_table(source: Path) -> list[Example]:
    from dp_real.data.sets.places import locate
    from dp_real.text.text_sets import checked, rows_of_table

    rows = rows_of_table(locate(str(source)))
    return [Example(label, str(row), text=checked(*text)) for row, (text, label) in enumerate(rows)]


def _assigned(examples: Sequence[Example], source: Path) -> tuple[dict[str, list[Example]], int]:
    """The examples of each set, which has all classes, and the number of groups that stay together."""
    groups = _groups(examples)
    totals = Counter(example.label for example in examples)
    missing = {name: {label: share * n for label, n in totals.items()} for name, share in SHARES.items()}
    found: dict[str, list[Example]] = {name: [] for name in SHARES}
    order = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest())  # the same on every machine
    for group in sorted(order, key=lambda name: -len(groups[name])):
        sizes = Counter(example.label for example in groups[group])
        name = max(found, key=lambda name: sum(n * missing[name][label] / totals[label] for label, n in sizes.items()))
        found[name] += groups[group]
        for label, n in sizes.items():
            missing[name][label] -= n
    for label in totals:
        if any(all(example.label != label for example in part) for part in found.values()):
            raise InputError(f"{source}: {totals[label]} of class {label} are too few for three sets; add some")
    return found, len(groups) if len(groups) < len(examples) else 0


def _groups(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """By what names share but for a last number; one each unless every class has several groups."""
    by_name: dict[str, list[Example]] = defaultdict(list)
    of_class: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        match = NUMBERED.fullmatch(example.name) if example.file else None
        group = match[1] if match else example.name
        by_name[group].append(example)
        of_class[example.label].add(group)
    if min(map(len, of_class.values())) >= LEAST_GROUPS:
        return dict(by_name)
    return {f"{example.label}/{example.name}/{place}": [example] for place, example in enumerate(examples)}


def _leave(part: Sequence[Example], out: Path, name: str) -> str:
    """Write a set, as links or JSONL, and return its name in the folder."""
    if part[0].file is None:
        lines = [json.dumps({"text": example.text, "label": example.label}, ensure_ascii=False) for example in part]
        (out / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return f"{name}.jsonl"
    for place, example in enumerate(part):
        assert example.file is not None
        link = out / name / example.label / example.file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():  # of a folder within the class folder, whose files have the same names
            link = link.with_stem(f"{link.stem}-{place}")
        link.symlink_to(example.file.resolve())
    return name


def _look(images: Sequence[Path]) -> tuple[int, bool]:
    """The median shorter side, and whether all are grey, of some images."""
    sides, grey = [], True
    for file in images[:: max(1, len(images) // SAMPLED)]:
        with foreign_file(file, "cannot be read as an image"), Image.open(file) as image:
            sides.append(min(image.size))
            grey = grey and image.mode in ("1", "L", "LA", "I;16")
    return round(statistics.median(sides)), grey
