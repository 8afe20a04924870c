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
    counts = {}
    for file in sorted(cache_folder().glob(f"{ANSWERS}/*/{FILE}")):
        with open(file, "rb") as lines:
            counts[file] = sum(_answer_in(line) is None for line in lines if not line.isspace())
    return {file: count for file, count in counts.items() if count}


def _answer_in(line: bytes) -> tuple[str, Answer] | None:
    """A question's digest, and its answer; None if the line is damaged."""
    try:
        question, answer, digest = json.loads(line)
        return (question, Answer(**answer)) if digest == json_digest([question, answer]) else None
    except (ValueError, TypeError):
        return None


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
                if answered := _answer_in(line):
                    self.tokens += self.by_question.setdefault(*answered).tokens
                elif not line.isspace():
                    log.warning("%s: an answer is damaged, and requested again", self.file)

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
