import hashlib
import logging
import re
import statistics
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from dp_base.errors import InputError
from dp_base.files import whole_folder
from dp_base.reading import foreign_file
from dp_real.data.sets.class_names import ENDINGS, SET_NAMES, class_files, class_folders, own_classes

log = logging.getLogger(__name__)
SHARES = {"train": 0.5, "validation": 0.25, "test": 0.25}
NUMBER = re.compile(r"(?<=.)[-_. ]\d+\Z")  # patient07_3: the third of one group
LEAST_GROUPS = 6  # of a class, for them to be told apart
SAMPLED = 100  # images whose size is looked at
Rows = list[tuple[Path | str, str]]
"""Files or texts, each with the name of its class."""


@dataclass(frozen=True)
class Divided:
    """Each set's examples. side: median shorter side in pixels; 0: texts."""

    classes: tuple[str, ...]
    sets: Mapping[str, Rows]
    given: Mapping[str, Path]  # where sets are that were there already; else empty
    groups: int  # that were kept together; 0: there are none
    side: int
    grey: bool

    def leave(self, out: Path) -> dict[str, Path]:
        """Write the sets, all or none, as links or JSONL into the new folder `out`; returns their places."""
        if self.given:
            return dict(self.given)
        with whole_folder(out) as staged:
            return {name: out / _leave(rows, staged, name) for name, rows in self.sets.items()}


def divide(source: Path) -> Divided:
    """Divide class folders of images or texts, or a table of texts, into sets. Nothing is written.

    Folders called train, val or test stay. Else half of each class is for training, a quarter each for the others.
    Equal texts of a table stay together; if each class has six groups, so do files of one of several folders within
    CLASS, and names up to a last number.
    """
    given = _given_sets(source) if source.is_dir() else {}
    if given:
        sets, groups = {name: _in_folders(folder) for name, folder in given.items()}, 0
        rows = [row for part in sets.values() for row in part]
    else:
        rows = _in_folders(source) if source.is_dir() else _in_table(source)
        sets, groups = _assigned(rows, source)
    files = [each for each, _ in rows if isinstance(each, Path)]
    texts = [file for file in files if file.suffix.lower() not in ENDINGS]
    if 0 < len(texts) < len(files):
        raise InputError(f"{source}: it has images and texts, such as {texts[0]}; one task has one kind of them")
    classes = tuple(dict.fromkeys(label for _, label in rows))
    if len(classes) < 2:
        raise InputError(f"{source}: one class only; there must be at least two, in folders or in the label's column")
    side, grey = _look(files) if files and not texts else (0, False)
    return Divided(classes, sets, given, groups, side, grey)


def _given_sets(source: Path) -> dict[str, Path]:
    found = {SET_NAMES[path.name.lower()]: path for path in class_folders(source) if path.name.lower() in SET_NAMES}
    if len(found) < 2:
        return {}
    if "validation" not in found:
        raise InputError(
            f"{source}: {' and '.join(found)} are sets, and none is for validation; add {source}/validation"
        )
    return {name: found[name] for name in SHARES if name in found}


def _in_folders(folder: Path) -> Rows:
    classes = own_classes([path.name for path in class_folders(folder)])
    files = class_files(folder, classes, {*ENDINGS, ".txt"}, "images or texts")
    return [(file, classes.names[label]) for file, label in files]


def _in_table(source: Path) -> Rows:
    from dp_real.data.sets.places import locate
    from dp_real.text.text_sets import rows_of_table

    rows = rows_of_table(locate(str(source)), own_classes(()))
    return [(text.checked(), label) for text, label in rows]


def _assigned(rows: Rows, source: Path) -> tuple[dict[str, Rows], int]:
    """The sets, and the number of groups that stay together."""
    groups = _groups(rows, source)
    totals = Counter(label for _, label in rows)
    missing = {name: {label: share * n for label, n in totals.items()} for name, share in SHARES.items()}
    found: dict[str, Rows] = {name: [] for name in SHARES}
    # The largest first; those of one size in an order that is the same on every machine.
    for group in sorted(groups, key=lambda name: (-len(groups[name]), hashlib.sha256(name.encode()).digest())):
        sizes = Counter(label for _, label in groups[group])
        name = max(found, key=lambda name: sum(n * missing[name][label] / totals[label] for label, n in sizes.items()))
        found[name] += groups[group]
        for label, n in sizes.items():
            missing[name][label] -= n
    for part in found.values():
        for label in totals.keys() - {label for _, label in part}:
            raise InputError(f"{source}: {totals[label]} of class {label} are too few for three sets; add some")
    return found, len(groups) if len(groups) < len(rows) else 0


def _groups(rows: Rows, source: Path) -> Mapping[str, Rows]:
    if source.is_dir():
        groups = _of_files(rows, source)
    else:
        groups = [" ".join(str(text).casefold().split()) for text, _ in rows]
    together: dict[str, Rows] = defaultdict(list)
    for group, row in zip(groups, rows, strict=True):
        together[group].append(row)
    return together


def _of_files(rows: Rows, source: Path) -> list[str]:
    alone = [f"{label}/{place}" for place, (_, label) in enumerate(rows)]
    folders, of_class = defaultdict(set), defaultdict(set)
    for file, label in rows:
        folders[label].add(Path(file).parent)
    groups = []
    for (file, label), own in zip(rows, alone, strict=True):
        groups.append(_group(Path(file).relative_to(source), len(folders[label]) > 1) or own)
        of_class[label].add(groups[-1])
    if min(map(len, of_class.values())) >= LEAST_GROUPS:
        return groups
    totals = Counter(label for _, label in rows)
    few = next((label for label, names in of_class.items() if 1 < len(names) < totals[label]), None)
    if few is not None:
        log.warning(
            "%s: some class has fewer than %d groups of files, so images of one, such as %s of class %s, come into "
            "several sets. If they are patients or scenes, make folders train, val and test",
            source,
            LEAST_GROUPS,
            min(of_class[few]),
            few,
        )
    return alone


def _group(file: Path, by_folders: bool) -> str:
    """The folders within CLASS, or the name without a last number; "": a number alone."""
    if by_folders and len(file.parts) > 2:
        return "/".join(file.parts[1:-1])
    return "" if file.stem.isdigit() else NUMBER.sub("", file.stem)


def _leave(rows: Rows, out: Path, name: str) -> str:
    if isinstance(rows[0][0], str):
        table = pd.DataFrame(rows, columns=["text", "label"])
        table.to_json(out / f"{name}.jsonl", orient="records", lines=True, force_ascii=False)
        return f"{name}.jsonl"
    for place, (each, label) in enumerate(rows):
        file = Path(each)
        link = out / name / label / file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():  # of a folder within the class folder, whose files have the same names
            link = link.with_stem(f"{link.stem}-{place}")
        link.symlink_to(file.resolve())
    return name


def _look(images: Sequence[Path]) -> tuple[int, bool]:
    """The median shorter side, and whether all are grey, of some images."""
    sides, modes = [], set()
    for file in images[:: max(1, len(images) // SAMPLED)]:
        with foreign_file(file, "cannot be read as an image"), warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                sides.append(min(image.size))
                modes.add(image.mode)
    return round(statistics.median(sides)), modes <= {"1", "L", "LA", "I;16"}
