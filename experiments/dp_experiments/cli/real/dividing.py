"""Divides a user's examples into sets, such that no picture, text, patient or scene is in two of them."""

import re
import statistics
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.cluster.hierarchy import DisjointSet

from dp_base.errors import InputError, warn_once
from dp_base.files import atomic_folder
from dp_real.data.examples import Examples
from dp_real.data.sets.class_names import (
    ENDINGS,
    SET_NAMES,
    class_files,
    class_folders,
    in_order,
    user_classes,
    visible_files,
)
from dp_real.data.sets.images import ImageFiles, ImageSet, decode_ahead
from dp_real.data.sets.places import locate
from dp_real.text.codes import to_codes
from dp_real.text.text_sets import rows_of_table, text_of

SETS = {"validation": 0.25, "test": 0.25, "train": 0.5}  # shares of each class
NUMBER = re.compile(r"(?<=.)[-_. ]\d+\Z")  # patient07_3: the third of one group
MIN_GROUPS = 6  # of a class, for names to say which files belong together
SAMPLED = 100  # images whose size is looked at
COMPARED, COMPARED_TEXT = (3, 32, 32), 600  # shape of pixels, characters: as such, millions fit into memory
Rows = list[tuple[Path | str, str]]
"""Files or texts, each with the name of its class."""


@dataclass(frozen=True)
class Divided:
    """Each set's examples. side: median shorter side in pixels; 0: texts."""

    classes: tuple[str, ...]
    sets: Mapping[str, Rows]
    given: Mapping[str, Path]  # where sets are that were there already; else empty
    groups: int  # that no set divides; 0: there are none
    side: int
    grey: bool

    def leave(self, out: Path) -> dict[str, Path]:
        """Write the sets, all or none, as links or JSONL into the new folder `out`; returns their places."""
        if self.given:
            return dict(self.given)
        with atomic_folder(out) as staged:
            return {name: out / _leave(rows, staged, name) for name, rows in self.sets.items()}


def divide(source: Path) -> Divided:
    """Divide class folders of images or texts, or a table of texts, into sets. Nothing is written.

    Folders called train, val or test stay. Else half of each class is for training, a quarter each for the others.
    Images of the same pixels and equal texts stay together; if each class has six groups, so do files of one of several
    folders within CLASS, and names up to a last number.
    """
    given = _given_sets(source) if source.is_dir() else {}
    read = _in_folders if source.is_dir() else _in_table
    parts = {name: read(place) for name, place in (given or {"": source}).items()}
    rows = [row for part in parts.values() for row in part]
    classes = tuple(in_order({label for _, label in rows}))
    if len({name.casefold() for name in classes}) < len(classes):
        warn_once(f"{source}: the case of letters alone tells some classes apart: {', '.join(classes[:10])}")
    higher = _higher(next(iter(given.values()), source))
    if len(classes) < 2:
        raise InputError(f"{source}: fewer than two classes; they must be folders, or in the label's column{higher}")
    if higher:
        warn_once(f"{source}: its folders are the classes, {', '.join(classes[:10])}{higher}")
    files = [each for each, _ in rows if isinstance(each, Path) and each.suffix.lower() in ENDINGS]
    decoded = decode_ahead({name: _seen(part) for name, part in parts.items()})
    contents = [content for part in decoded.values() for content, _ in part]
    side, grey = _look(files) if files else (0, False)
    if given:
        return Divided(classes, parts, given, 0, side, grey)
    groups = _groups(rows, contents, source)
    count = int(groups.max()) + 1
    return Divided(classes, _assigned(rows, groups, source), given, count if count < len(rows) else 0, side, grey)


def _given_sets(source: Path) -> dict[str, Path]:
    folders = {SET_NAMES[path.name.lower()]: path for path in class_folders(source) if path.name.lower() in SET_NAMES}
    if len(folders) < 2:
        return {}
    if "validation" not in folders:
        raise InputError(
            f"{source}: {' and '.join(folders)} are sets, and none is for validation; add {source}/validation"
        )
    return {name: folders[name] for name in SETS if name in folders}


def _in_folders(folder: Path) -> Rows:
    """The rows of class folders: images if there are some, since texts are then captions."""
    classes = user_classes([path.name for path in class_folders(folder)])
    pictured = any(file.suffix.lower() in ENDINGS for file in visible_files(folder))
    endings, what = (ENDINGS, "images") if pictured else ({".txt"}, "images or texts")
    return [(file, classes.names[label]) for file, label in class_files(folder, classes, endings, what)]


def _in_table(source: Path) -> Rows:
    rows = rows_of_table(locate(str(source)), user_classes(()))
    return [(text.checked(), label) for text, label in rows]


def _higher(folder: Path) -> str:
    """The remedy if a class has folders alone."""
    for of_class in sorted(folder.glob("[!.]*")):
        here = [path for path in of_class.glob("[!.]*") if path.is_dir() or path.suffix.lower() in {*ENDINGS, ".txt"}]
        if len(here) > 1 and all(path.is_dir() for path in here):
            return f"; if the classes are those in {of_class}, such as {min(here).name}, name that folder"
    return ""


# which stay together


def _seen(rows: Rows) -> ImageSet | Examples:
    """Small images, or texts, whatever their case and blanks."""
    examples, labels = zip(*rows, strict=True)
    y = torch.tensor(pd.Categorical(labels).codes)
    if isinstance(examples[0], Path) and examples[0].suffix.lower() in ENDINGS:
        return ImageSet(ImageFiles(examples, COMPARED), y)
    texts = (text_of(each).checked() if isinstance(each, Path) else each for each in examples)
    return Examples(to_codes((" ".join(text.casefold().split()) for text in texts), COMPARED_TEXT), y)


def _groups(rows: Rows, contents: Sequence[str], source: Path) -> np.ndarray:
    """The number of each row's group."""
    alone = pd.Series(contents).factorize()[0]
    if not source.is_dir():
        return alone
    names, labels = _names(rows, source), [label for _, label in rows]
    joined = DisjointSet([*contents, *names])
    for pair in zip(contents, names, strict=True):
        joined.merge(*pair)
    groups = pd.Series([joined[content] for content in contents]).factorize()[0]
    if pd.Series(groups).groupby(labels).nunique().min() >= MIN_GROUPS:
        return groups
    counts = pd.Series(names).groupby(labels).nunique()
    few = next((label for label, count in counts.items() if 1 < count < labels.count(str(label))), None)
    if few is not None:
        warn_once(
            f"{source}: some class has fewer than {MIN_GROUPS} groups of files, so images of one, such as of class "
            f"{few}, come into several sets. If they are patients or scenes, make folders train, val and test"
        )
    return alone


def _names(rows: Rows, source: Path) -> list[tuple[str]]:
    """The folders within CLASS, or names without a last number; as tuples, which are no contents."""
    folders, names = defaultdict(set), []
    for file, label in rows:
        folders[label].add(Path(file).parent)
    for place, (each, label) in enumerate(rows):
        file = Path(each).relative_to(source)
        name = "" if file.stem.isdigit() else NUMBER.sub("", file.stem)
        inner = "/".join(file.parts[1:-1]) if len(folders[label]) > 1 else ""
        names.append((inner or name or f"{label}/{place}",))
    return names


def _assigned(rows: Rows, groups: np.ndarray, source: Path) -> dict[str, Rows]:
    labels = np.array([label for _, label in rows])
    codes = pd.factorize(labels)[0]
    sizes = np.bincount(codes)
    lacking = np.outer([*SETS.values()], sizes > 0)  # shares of each class, by set
    members = [*pd.Series(groups).groupby(groups).indices.values()]
    np.random.default_rng(0).shuffle(members)
    place = np.empty(len(rows), int)
    for group in sorted(members, key=len, reverse=True):  # to the set that lacks most of its classes, then of all
        own = codes[group]
        place[group] = most = (lacking[:, own].sum(axis=1) + lacking.sum(axis=1) / len(rows)).argmax()
        np.subtract.at(lacking[most], own, 1 / sizes[own])
    sets = {name: np.flatnonzero(place == number) for number, name in enumerate(SETS)}
    for part in sets.values():
        for label in sorted({*labels} - {*labels[part]}):
            count = len({*groups[labels == label]})
            raise InputError(f"{source}: {count} of class {label}, but for copies, are too few for sets; add some")
    return {name: [rows[row] for row in part] for name, part in sets.items()}


# what is written, and what it looks like


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
        with warnings.catch_warnings(action="ignore"), Image.open(file) as image:
            sides.append(min(image.size))
            modes.add(image.mode)
    return round(statistics.median(sides)), modes <= {"1", "L", "LA", "I;16"}
