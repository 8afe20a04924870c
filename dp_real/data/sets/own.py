"""Base of the sources whose sets of real examples a user names: folders, files, or data sets of the hub."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dp_base.errors import InputError, MissingError
from dp_real.data import DataConfig
from dp_real.data.imagenet.classes import TASKS, ImageNetTask, imagenet_classes, shared_labels
from dp_real.data.sets.class_names import Classes, class_folders, composed, own_classes, task_classes, warn_once
from dp_real.examples import ExampleSet, RealData, SetStatus, Task, TrainingExamples
from dp_real.sections import Place, Seed

if TYPE_CHECKING:
    from dp_real.data.sets.places import Located


def _classes(value: Any) -> tuple[str, ...] | ImageNetTask | None:
    if value is None or value in TASKS:
        return value
    names = tuple(value) if isinstance(value, list | tuple) else ()
    if len(names) < 2 or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"should be a list of at least two names, or one of {', '.join(TASKS)}")
    names = tuple(map(composed, names))
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is in it twice; prompts and folders could not tell the two apart")
    return names


ByClass = Annotated[
    dict[str, str], AfterValidator(lambda found: {composed(name): text for name, text in found.items()})
]


class OwnSets(DataConfig):
    """A validation set, and perhaps others. A kind says what an example is, and how a set that was found is read."""

    validation: Place = Field(description="where the examples are that patience watches")
    test: Place | None = Field(default=None, description="likewise, for the final accuracy; none: validation once more")
    train: Place | None = Field(
        default=None, description="likewise, for a generator that is trained here, and arm real"
    )
    sets: dict[str, Place] = Field(
        default={}, description="name = where: further sets for the end; they may have some of the classes only"
    )
    require_sets: bool = Field(
        default=False, description="a further set that is not there stops a run; else it is named and left out"
    )
    classes: Annotated[tuple[str, ...] | ImageNetTask | None, BeforeValidator(_classes)] = Field(
        default=None, description="names in the order of the labels, or an ImageNet; none: validation's folders, sorted"
    )
    definitions: ByClass = Field(default={}, description="class = what it is, for {definition} in prompts")
    synonyms: ByClass = Field(default={}, description="class = words for it, for {synonyms} in prompts")
    split: Seed = Field(default=0, description="seed of a generator that is trained here")

    @model_validator(mode="after")
    def _check(self) -> OwnSets:
        taken = [name for name in ("validation", "test", "train") if name in self.sets]
        if taken:
            raise ValueError(f"sets.{taken[0]}: a set of that name is there already; call it something else")
        if isinstance(self.classes, tuple):
            for fault in self._strangers(self.classes):
                raise ValueError(fault)
        if self.classes is None and re.match("(?i)hub:|.*[.](tar|parquet|csv|jsonl)([@#]|$)", self.validation):
            raise ValueError(f"classes must be named: there are no folders in validation = {self.validation!r}")
        return self

    @property
    def task(self) -> Task:
        """The shape of an example, and the classes: those of the key, else the folders of `validation`."""
        names = self.labels.names
        for fault in self._strangers(names):
            raise InputError(f"data.{fault} {', '.join(names[:10])}…")
        known = imagenet_classes(self.classes) if self.classes in TASKS else ()
        definitions = {entry.name: entry.definition for entry in known} | self.definitions
        synonyms = {entry.name: entry.synonyms for entry in known} | self.synonyms
        defined, alike = (tuple(each.get(name, "") for name in names) for each in (definitions, synonyms))
        return Task(self.shape, names, defined, alike)

    def resolved(self) -> Self:
        """See DataConfig: the classes, which a folder that is renamed later would change."""
        return self if self.classes is not None else self.model_copy(update={"classes": self.labels.names})

    def _strangers(self, classes: Collection[str]) -> Iterator[str]:
        """What is wrong with each definition, and each synonym, of something that is none of the classes."""
        for key in ("definitions", "synonyms"):
            for name in sorted(set(getattr(self, key)) - set(classes)):
                yield f"{key}.{name}: {name!r} is none of the classes"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an example."""
        raise NotImplementedError

    def read(self, found: Located, needed: Collection[int], keep: bool = False) -> ExampleSet:
        """Read a set that was found. needed: the labels that it must have. keep: whether it may stay in memory.

        Raises InputError for an unknown class, and if a label in `needed` has no example.
        """
        raise NotImplementedError

    def read_training(self, found: Located, needed: Collection[int]) -> TrainingExamples:
        """The same set, to train on."""
        raise NotImplementedError

    def count(self, found: Located, needed: Collection[int]) -> int:
        """The number of a set's examples that are of the task's classes. Raises InputError as `read` does."""
        return len(self.read(found, needed).y)

    @property
    def has_training_examples(self) -> bool:
        """Whether `train` is named."""
        return self.train is not None

    @property
    def labels(self) -> Classes:
        """The classes and the folder names of each.

        Raises MissingError if only a missing folder tells them, InputError if there is one class only.
        """
        match self.classes:
            case None:
                names = [path.name for path in class_folders(Path(self.validation))]
                if len(names) < 2:
                    raise InputError(
                        f"{self.validation}: one class only, {names[0]}; there must be at least two folders"
                    )
                return own_classes(names)
            case "imagenet1k" | "imagenet100" as task:
                return task_classes(task)
            case names:
                return own_classes(names)

    @property
    def places(self) -> dict[str, str]:
        """The name of each set, and where it is."""
        own = {"validation": self.validation, "test": self.test, "train": self.train}
        return {name: where for name, where in own.items() if where} | self.sets

    def needed(self, name: str) -> Collection[int]:
        """The labels that a set must have: all for validation, test and train. A further set may lack classes, but
        an ImageNet task's imagenet-NAME must have those of the published set.
        """
        if name in ("validation", "test", "train"):
            return range(len(self.labels.names))
        if self.classes in TASKS and name.startswith("imagenet-"):
            return shared_labels(self.classes, name)
        return ()

    def load(self) -> RealData:
        """Load the sets. Of further sets, those that are there.

        Raises one MissingError for all others that are not there, InputError for one that is broken or lacks a class.
        """
        found = self._locate_all()
        train = self.read_training(found["train"], self.needed("train")) if self.train else None
        validation = self._read(found["validation"], "validation", keep=True)
        return RealData(
            self.task,
            generator=train,
            validation=validation,
            test=self._read(found["test"], "test", keep=True) if self.test else validation,
            sets={name: self._read(found[name], name) for name in self.sets if name in found},
        )

    def describe(self) -> list[SetStatus]:
        """The status of each named set. Only the images that the task uses are counted."""
        return [self._describe(name, where) for name, where in self.places.items()]

    def read_set(self, name: str, where: str) -> ExampleSet:
        """See DataConfig. An ImageNet task's imagenet-NAME must have the classes of the published set."""
        from dp_real.data.sets.places import locate

        return self._read(locate(where), name)

    def _read(self, found: Located, name: str, keep: bool = False) -> ExampleSet:
        return self.read(found, self.needed(name), keep)

    def _describe(self, name: str, where: str) -> SetStatus:
        from dp_real.data.sets.places import locate

        try:
            return SetStatus(name, where, self.count(locate(where, fetch=False), self.needed(name)), None)
        except InputError as error:
            return SetStatus(name, where, None, str(error))
        except MissingError as error:
            return SetStatus(name, where, None, str(error), needed=not self._may_lack(name))

    def _may_lack(self, name: str) -> bool:
        """Whether a run goes on without the set."""
        return name in self.sets and not self.require_sets

    def _locate_all(self) -> dict[str, Located]:
        """Find the sets. Raises one MissingError for all that are absent, but for those that a run can do without."""
        from dp_real.data.sets.places import locate

        found, missing, absent = {}, [], []
        by_cost = sorted(self.places.items(), key=lambda item: item[1].startswith("hub:"))
        for name, where in by_cost:  # local sets first: if one is missing, nothing is fetched
            try:
                found[name] = locate(where, fetch=not missing)
            except MissingError as error:
                (absent if self._may_lack(name) else missing).append(str(error))
        if missing:
            raise MissingError("; ".join([*missing, *absent]))
        for error in absent:
            warn_once(f"{error}; the run goes on without it, or asks for it by --require-sets")
        return found
