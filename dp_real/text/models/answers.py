"""Answers of an endpoint, each a line of a file in the user's cache, so that nothing is asked twice."""

import contextlib
import json
import logging
from typing import NamedTuple

from dp_base.checksums import json_digest
from dp_base.errors import MissingError
from dp_base.files import write_json
from dp_real.runtime.cache import ANSWERS, DEPENDS, cache_folder

log = logging.getLogger(__name__)
RECIPE = 2  # raise it when a question or an answer has another form


class Answer(NamedTuple):
    """What an endpoint answered; a refusal has no text."""

    text: str
    tokens: int  # of the prompt and the answer
    cut: bool = False  # whether max_new_tokens ended it in the middle; a base model never ends by itself


class Answers:
    """Those of one model behind one URL. Several processes may add; the first to a question stands."""

    def __init__(self, base_url: str, model: str) -> None:
        self.depends = {"recipe": RECIPE, "base_url": base_url, "model": model}
        self.folder = cache_folder() / f"{ANSWERS}/{json_digest(self.depends, sort_keys=True)[:16]}"
        self.file = self.folder / "answers.jsonl"
        self.by_question: dict[str, Answer] = {}  # by the question's digest
        self.tokens = 0
        self._read = 0  # bytes of the file

    def take_in(self) -> None:
        """Read what was added since; a damaged line is asked again."""
        with contextlib.suppress(FileNotFoundError), open(self.file, "rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    break
                self._read += len(line)
                try:
                    question, answer, digest = json.loads(line)
                    if digest != json_digest([question, answer]):
                        raise ValueError("it is not as it was written")
                    self.tokens += self.by_question.setdefault(question, Answer(**answer)).tokens
                except (ValueError, TypeError) as error:
                    if not line.isspace():
                        log.warning("%s: an answer is damaged, and asked again: %s", self.file, error)

    def keep(self, question: str, answer: Answer) -> None:
        """One write at the file's end, anew after a line that was cut."""
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
