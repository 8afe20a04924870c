from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dp_base.errors import InputError, MissingError
from dp_base.reading import foreign_file
from dp_real.data import DataConfig
from dp_real.data.sets.class_names import (
    SET_NAMES,
    Classes,
    class_folders,
    composed,
    own_classes,
    task_classes,
    warn_once,
)
from dp_real.data.sets.imagenet import TASKS, ImageNetTask, imagenet_classes, shared_labels
from dp_real.examples import ExampleSet, RealData, SetStatus, Task
from dp_real.sections import Place, Seed

if TYPE_CHECKING:
    from dp_real.data.sets.places import Located

NO_FOLDERS = re.compile(r"(?i)hub:|.*[.](tar|parquet|csv|jsonl)([@#]|$)")
"""Places of sets that have no folders, whose names could tell the classes."""


def _check_classes(value: Any) -> tuple[str, ...] | ImageNetTask | None:
    if value is None or value in TASKS:
        return value
    given = tuple(value) if isinstance(value, list | tuple) else ()
    if len(given) < 2 or not all(isinstance(name, str) and name.strip() for name in given):
        raise ValueError(f"should be a list of at least two names, or one of {', '.join(TASKS)}")
    names = tuple(composed(name) for name in given)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is in it twice; prompts and folders could not tell the two apart")
    return names


def _composed_keys(texts: dict[str, str]) -> dict[str, str]:
    return {composed(name): text for name, text in texts.items()}


TextOfClass = Annotated[dict[str, str], AfterValidator(_composed_keys)]
"""A text for each class, by the name of the class."""


class OwnSets(DataConfig):
    """A validation set and perhaps others, all named by the user.

    A kind says what an example is, and how a set that was found is read.
    """

    validation: Place = Field(description="where the examples are that patience watches")
    test: Place | None = Field(default=None, description="likewise, for the final accuracy; none: validation once more")
    train: Place | None = Field(
        default=None, description="likewise, for a generator that is trained here, and arm real"
    )
    sets: dict[str, Place] = Field(
        default={},
        description="name = where: further sets for the end, with some of the classes at least; an absent one is left "
        "out",
    )
    classes: Annotated[tuple[str, ...] | ImageNetTask | None, BeforeValidator(_check_classes)] = Field(
        default=None, description="names in the order of the labels, or an ImageNet; none: validation's folders, sorted"
    )
    definitions: TextOfClass = Field(default={}, description="class = what it is, for {definition} in prompts")
    synonyms: TextOfClass = Field(default={}, description="class = words for it, for {synonyms} in prompts")
    split: Seed = Field(default=0, description="seed of a generator that is trained here")

    @model_validator(mode="after")
    def _check(self) -> OwnSets:
        taken = [name for name in ("validation", "test", "train") if name in self.sets]
        if taken:
            raise ValueError(f"sets.{taken[0]}: a set of that name is there already; call it something else")
        if isinstance(self.classes, tuple) and (fault := self._text_of_no_class(self.classes)):
            raise ValueError(fault)
        if self.classes is None and NO_FOLDERS.match(self.validation):
            raise ValueError(f"classes must be named: there are no folders in validation = {self.validation!r}")
        return self

    @property
    def task(self) -> Task:
        """The classes are the key `classes`, or the folders of `validation`."""
        names = self.labels.names
        fault = self._text_of_no_class(names)
        if fault:
            raise InputError(f"data.{fault} {', '.join(names[:10])}…")
        known = imagenet_classes(self.classes) if self.classes in TASKS else ()
        definitions = {entry.name: entry.definition for entry in known} | self.definitions
        synonyms = {entry.name: entry.synonyms for entry in known} | self.synonyms
        return Task(
            self.shape,
            names,
            definitions=tuple(definitions.get(name, "") for name in names),
            synonyms=tuple(synonyms.get(name, "") for name in names),
        )

    def resolved(self) -> Self:
        """With the classes, since renaming a folder later would change them."""
        return self if self.classes is not None else self.model_copy(update={"classes": self.labels.names})

    def _text_of_no_class(self, classes: Collection[str]) -> str | None:
        for key in ("definitions", "synonyms"):
            for name in sorted(set(getattr(self, key)) - set(classes)):
                return f"{key}.{name}: {name!r} is none of the classes"
        return None

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def read_training(self, found: Located, needed: Collection[int]) -> Any:
        return self.read(found, self.labels, needed)

    def count(self, found: Located, needed: Collection[int]) -> int:
        """Only examples of the task's classes."""
        return len(self.read(found, self.labels, needed).y)

    @property
    def has_training_examples(self) -> bool:
        return self.train is not None

    @property
    def labels(self) -> Classes:
        """Raises MissingError if a missing folder tells the classes."""
        if self.classes in TASKS:
            return task_classes(self.classes)
        if self.classes is not None:
            return own_classes(self.classes)
        names = [path.name for path in class_folders(Path(self.validation))]
        if len(names) < 2:
            raise InputError(f"{self.validation}: one class only, {names[0]}; there must be at least two folders")
        splits = [name for name in names if name.lower() in SET_NAMES]
        if len(splits) > 1:
            raise InputError(
                f"{self.validation}: {' and '.join(splits)} are a set's splits rather than classes; name one, "
                f"{self.validation}/{splits[-1]}, or list the classes in data.classes"
            )
        return own_classes(names)

    @property
    def places(self) -> dict[str, str]:
        own = {"validation": self.validation, "test": self.test, "train": self.train}
        return {name: where for name, where in own.items() if where} | self.sets

    def needed(self, name: str) -> Collection[int]:
        if name in ("validation", "test", "train"):
            return range(len(self.labels.names))
        if self.classes in TASKS and name.startswith("imagenet-"):
            return shared_labels(self.classes, name)
        return ()

    def load(self) -> RealData:
        """Missing further sets are left out."""
        found = self._locate_all()
        train = None
        if self.train:
            with foreign_file(found["train"].where):
                train = self.read_training(found["train"], self.needed("train"))
        validation = self._read(found["validation"], "validation", keep=True)
        return RealData(
            self.task,
            generator=train,
            validation=validation,
            test=self._read(found["test"], "test", keep=True) if self.test else validation,
            sets={name: self._read(found[name], name) for name in self.sets if name in found},
        )

    def read_set(self, name: str, where: str) -> ExampleSet:
        """imagenet-NAME must have the classes of the published set."""
        from dp_real.data.sets.places import locate

        return self._read(locate(where), name)

    def _read(self, found: Located, name: str, keep: bool = False) -> ExampleSet:
        with foreign_file(found.where):
            return self.read(found, self.labels, self.needed(name), keep)

    def describe(self) -> list[SetStatus]:
        from dp_real.data.sets.places import locate

        found = []
        for name, where in self.places.items():
            count, problem, needed = None, None, True
            try:
                with foreign_file(where):
                    count = self.count(locate(where, fetch=False), self.needed(name))
            except InputError as error:
                problem = str(error)
            except MissingError as error:
                problem, needed = str(error), name not in self.sets
            found.append(SetStatus(name, where, problem, count, needed))
        return found

    def _locate_all(self) -> dict[str, Located]:
        from dp_real.data.sets.places import locate

        found: dict[str, Located] = {}
        missing: list[str] = []
        dispensable: list[str] = []
        # Local sets come first, so that nothing is fetched if one of them is missing.
        local_first = sorted(self.places.items(), key=lambda item: item[1].startswith("hub:"))
        for name, where in local_first:
            try:
                found[name] = locate(where, fetch=not missing)
            except MissingError as error:
                (dispensable if name in self.sets else missing).append(str(error))
        if missing:
            raise MissingError("; ".join([*missing, *dispensable]))
        for problem in dispensable:
            warn_once(f"{problem}; the run goes on without it")
        return found
