"""Answers of an endpoint, each a line of a file in the user's cache, so that no request is sent twice."""

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import NamedTuple

from dp_base.checksums import json_digest
from dp_base.errors import MissingError
from dp_base.files import write_json
from dp_real.runtime.cache import DEPENDS, cache_folder

log = logging.getLogger(__name__)
ANSWERS = "answers"  # a folder of the cache, whose files grow and have no checksums
FILE = "answers.jsonl"
RECIPE = 2  # raise it when the form of questions or answers changes


class Answer(NamedTuple):
    """An endpoint's answer. A refusal has no text."""

    text: str
    tokens: int  # of prompt and answer
    cut: bool = False  # whether max_new_tokens cut it; a base model never ends by itself


def damaged_answers() -> dict[Path, int]:
    """How many answers are damaged in each file that has such. They are requested again."""
    counts: dict[Path, int] = {}
    for file in sorted(cache_folder().glob(f"{ANSWERS}/*/{FILE}")):
        with open(file, "rb") as lines:
            for line in lines:
                try:
                    _answer_in(line)
                except (ValueError, TypeError):
                    if not line.isspace():
                        counts[file] = counts.get(file, 0) + 1
    return counts


def _answer_in(line: bytes) -> tuple[str, Answer]:
    """A question's digest, and its answer. ValueError or TypeError if the line is damaged."""
    question, answer, digest = json.loads(line)
    if digest != json_digest([question, answer]):
        raise ValueError("its checksum is wrong")
    return question, Answer(**answer)


class Answers:
    """One model's answers behind one URL. Several processes may add some; a question's first answer counts."""

    def __init__(self, base_url: str, model: str) -> None:
        self.depends = {"recipe": RECIPE, "base_url": base_url, "model": model}
        self.folder = cache_folder() / f"{ANSWERS}/{json_digest(self.depends, sort_keys=True)[:16]}"
        self.file = self.folder / FILE
        self.by_question: dict[str, Answer] = {}  # by the question's digest
        self.tokens = 0
        self._read = 0  # bytes read of the file

    def take_in(self) -> None:
        """Read lines that were added since. A damaged answer is requested again."""
        with contextlib.suppress(FileNotFoundError), open(self.file, "rb") as file:
            if os.fstat(file.fileno()).st_size < self._read:  # it is another file, as someone removed the first
                self._read = self.tokens = 0
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):  # it is still being written
                    break
                self._read += len(line)
                try:
                    question, answer = _answer_in(line)
                    self.tokens += self.by_question.setdefault(question, answer).tokens
                except (ValueError, TypeError) as error:
                    if not line.isspace():
                        log.warning("%s: an answer is damaged, and requested again: %s", self.file, error)

    def keep(self, question: str, answer: Answer) -> None:
        """Append an answer by one write, on a new line, as the last one may be cut."""
        entry = [question, answer._asdict()]
        line = f"\n{json.dumps([*entry, json_digest(entry)])}\n".encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / DEPENDS).exists():
                write_json(self.folder / DEPENDS, self.depends)
            with open(self.file, "ab", buffering=0) as file:
                file.write(line)
        except OSError as error:
            raise MissingError(f"the cache {self.folder} cannot be written to: {error.strerror}") from error
        self.take_in()
