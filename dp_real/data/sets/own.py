import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from dp_base.errors import InputError, MissingError, warn_once
from dp_real.data import DataConfig
from dp_real.data.examples import ExampleSet, RealData, SetStatus, Task
from dp_real.data.sets.class_names import (
    SET_NAMES,
    Classes,
    class_folders,
    composed,
    task_classes,
    user_classes,
)
from dp_real.data.sets.imagenet import ImageNetTask, imagenet_classes, shared_labels
from dp_real.data.sets.places import locate
from dp_real.runtime.section import HUB, Place, Seed

SETS = ("validation", "test", "train")
NO_FOLDERS = re.compile(r"(?i)hub:|.*[.](tar|parquet|csv|jsonl)([@#]|$)")
"""Places of sets without folders, whose names would be the classes."""


def _check_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} is in it twice; prompts and folders could not distinguish the two")
    return names


ClassName = Annotated[str, AfterValidator(composed), Field(min_length=1)]
ClassNames = Annotated[tuple[ClassName, ...], Field(min_length=2), AfterValidator(_check_distinct)]
TextOfClass = dict[ClassName, str]


class OwnSets(DataConfig):
    """A validation set and perhaps others, all named by the user.

    Each kind defines what an example is, and how a set is read.
    """

    validation: Place = Field(description="the place of the examples that decide when samples are added")
    test: Place | None = Field(default=None, description="place of examples for the final accuracy; none: validation")
    train: Place | None = Field(
        default=None, description="place of examples for a generator that is trained here, and arm real"
    )
    sets: dict[str, Place] = Field(
        default={},
        description="name = place: further sets for the end, with at least some of the classes; an absent one is "
        "left out",
    )
    classes: ClassNames | ImageNetTask | None = Field(
        default=None, description="names in the order of labels, or an ImageNet's; none: validation's folders, sorted"
    )
    definitions: TextOfClass = Field(default={}, description="class = what it is, for {definition} in prompts")
    synonyms: TextOfClass = Field(default={}, description="class = other words for it, for {synonyms} in prompts")
    split: Seed = Field(default=0, description="seed of a generator that is trained here")

    @model_validator(mode="after")
    def _check(self) -> "OwnSets":
        taken = [name for name in SETS if name in self.sets]
        if taken:
            raise ValueError(f"sets.{taken[0]}: a set of that name is there already; call it something else")
        if self.classes is not None:
            _ = self.task  # raises InputError for a text of no class
        elif NO_FOLDERS.match(self.validation):
            raise ValueError(f"classes must be named: there are no folders in validation = {self.validation!r}")
        return self

    @property
    def task(self) -> Task:
        """The task, whose classes are the key `classes` or the folders of `validation`."""
        return Task(self.shape, self.labels.names, self._texts("definitions"), self._texts("synonyms"))

    def _texts(self, key: str) -> tuple[str, ...]:
        """The key's text for each class, or WordNet's; raises InputError for a text of no class."""
        own, names = getattr(self, key), self.labels.names
        for name in sorted(own.keys() - set(names)):
            raise InputError(f"{key}.{name}: {name!r} is none of the classes {', '.join(names[:10])}…")
        known = imagenet_classes(self.classes) if isinstance(self.classes, str) else ()
        texts = {entry.name: getattr(entry, key) for entry in known} | own
        return tuple(texts.get(name, "") for name in names)

    def resolved(self) -> Self:
        """A copy with the classes, since renaming a folder later would change them."""
        return self if self.classes is not None else self.model_copy(update={"classes": self.labels.names})

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def as_training(self, examples: Any) -> Any:
        """TrainingExamples of a set that was read."""
        return examples

    @property
    def has_training_examples(self) -> bool:
        return self.train is not None

    @property
    def labels(self) -> Classes:
        """The classes' labels. MissingError if the classes are in a missing folder."""
        if isinstance(self.classes, str):
            return task_classes(self.classes)
        if self.classes is not None:
            return user_classes(self.classes)
        names = [path.name for path in class_folders(Path(self.validation))]
        if len(names) < 2:
            raise InputError(f"{self.validation}: one class only, {names[0]}; there must be at least two folders")
        splits = [name for name in names if name.lower() in SET_NAMES]
        if len(splits) > 1:
            raise InputError(
                f"{self.validation}: {' and '.join(splits)} are a set's splits rather than classes; name one, "
                f"{self.validation}/{splits[-1]}, or list the classes in data.classes"
            )
        return user_classes(names)

    @property
    def places(self) -> dict[str, str]:
        return {name: where for name in SETS if (where := getattr(self, name))} | self.sets

    def needed(self, name: str) -> Collection[int]:
        if name in SETS:
            return range(len(self.labels.names))
        if isinstance(self.classes, str) and name.startswith("imagenet-"):
            return shared_labels(self.classes, name)
        return ()

    def load(self) -> RealData:
        """Load the sets. Missing further sets are left out with a warning."""
        located = {}
        missing = {}
        # Local sets come first, so that nothing is fetched if a needed one is missing.
        for name, where in sorted(self.places.items(), key=lambda place: place[1].startswith(HUB)):
            try:
                located[name] = locate(where, fetch=missing.keys() <= self.sets.keys())
            except MissingError as error:
                missing[name] = str(error)
        if missing.keys() - self.sets.keys():
            raise MissingError("; ".join(missing[name] for name in sorted(missing, key=lambda name: name in self.sets)))
        sets: dict[str, Any] = {}
        for name in filter(located.__contains__, self.places):
            try:
                sets[name] = self.read(
                    located[name], self.labels, self.needed(name), keep=name in ("validation", "test")
                )
            except MissingError as error:
                if name not in self.sets:
                    raise
                missing[name] = str(error)
        for problem in missing.values():
            warn_once(f"{problem}; the run goes on without it")
        validation, train = sets.pop("validation"), sets.pop("train", None)
        return RealData(self.task, train and self.as_training(train), validation, sets.pop("test", validation), sets)

    def read_set(self, name: str, where: str) -> ExampleSet:
        """Read a further set; imagenet-NAME must have the published classes."""
        return self.read(locate(where), self.labels, self.needed(name))

    def describe(self) -> list[SetStatus]:
        findings = []
        for name, where in self.places.items():
            try:
                place = locate(where, fetch=False)
                examples = self.read(place, self.labels, self.needed(name))
                seen = None if place.kind == "parquet" else examples  # checking its images would copy them
                findings.append(SetStatus(name, where, images=len(examples.y), examples=seen))
            except (InputError, MissingError) as error:
                needed = isinstance(error, InputError) or name not in self.sets
                findings.append(SetStatus(name, where, str(error), needed=needed))
        return findings
