"""Answers of an endpoint in the user's cache, so that nothing is asked twice; SQLite writes each whole."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from dp_base.checksums import json_digest
from dp_base.errors import DamagedError, MissingError
from dp_base.files import write_json
from dp_base.locks import keep
from dp_real.runtime.cache import DEPENDS, cache_folder

RECIPE = 1  # raise it when a question or an answer has another form
LOST = {"cut": "cut off", "thoughts": "with thoughts"}  # what is said of answers if there are some
WAIT = 60  # seconds for other writers
THOUGHT = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
DIGEST = "digest"  # the key of an answer's checksum, which also has its question
TABLES = """
CREATE TABLE IF NOT EXISTS answers (question TEXT PRIMARY KEY, answer TEXT NOT NULL, outcome TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (one INTEGER PRIMARY KEY CHECK (one = 1), read INTEGER, written INTEGER);
INSERT OR IGNORE INTO spent VALUES (1, 0, 0);
"""


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered."""

    text: str
    outcome: Literal["text", "empty", "refused"]
    read: int  # tokens of the prompt
    written: int  # tokens of the answer
    top: dict[str, float] = field(default_factory=dict)  # the likeliest first tokens, with their log-probabilities
    cut: bool = False  # whether max_new_tokens ended it in the middle; a base model never ends by itself

    @property
    def has_thoughts(self) -> bool:
        return bool(THOUGHT.search(self.text))


def without_thoughts(text: str) -> str:
    """The text behind the last thought; empty if that has no end."""
    begin = 0
    for mark in THOUGHT.finditer(text):
        begin = mark.end() if mark[1] else len(text)
    return text[begin:].strip()


class Spent(NamedTuple):
    """Tokens of all kept answers."""

    read: int
    written: int


class Answers:
    """The answers of one model behind one URL, open within `with answers.opened():`."""

    def __init__(self, base_url: str, model: str) -> None:
        self.depends = {"recipe": RECIPE, "base_url": base_url, "model": model}
        self.folder = cache_folder() / f"answers/{json_digest(self.depends, sort_keys=True)[:16]}"
        self.file = self.folder / "answers.sqlite"
        self._database: sqlite3.Connection | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        keep(cache_folder())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / DEPENDS).exists():
                write_json(self.folder / DEPENDS, self.depends)
        except OSError as error:
            raise MissingError(f"the cache {self.folder} cannot be written to: {error.strerror}") from error
        with self._named():
            self._database = sqlite3.connect(self.file, timeout=WAIT)
        try:
            with self._named():
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")  # answers cost money: they outlive a power cut
                self._database.executescript(TABLES)
            yield
        finally:
            self._database.close()
            self._database = None

    def find(self, question: str) -> Answer | None:
        with self._named():
            row = self._open.execute("SELECT answer FROM answers WHERE question = ?", (question,)).fetchone()
            return None if row is None else _intact(question, row[0])

    def keep(self, question: str, answer: Answer) -> Answer:
        """Of several answers to a question the first stands."""
        with self._named():
            with self._open as transaction:
                kept = asdict(answer)
                kept |= {DIGEST: json_digest([question, kept])}
                values = (question, json.dumps(kept), answer.outcome)
                transaction.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", values)
                counted = (answer.read, answer.written)
                transaction.execute("UPDATE spent SET read = read + ?, written = written + ?", counted)
            return self.find(question) or answer

    def spent(self) -> Spent:
        """Other runs that asked the same model count, too."""
        with self._named():
            return Spent(*self._open.execute("SELECT read, written FROM spent").fetchone())

    @classmethod
    def said(cls, base_url: str, model: str) -> str:
        answers = cls(base_url, model)
        if not answers.file.exists():
            return "none kept yet"
        with answers.opened(), answers._named():
            counts: Counter[str] = Counter()
            for row in answers._open.execute("SELECT question, answer FROM answers"):
                answer = _intact(*row)
                counts.update({"kept": 1, answer.outcome: 1, "cut": answer.cut, "thoughts": answer.has_thoughts})
            spent = answers.spent()
        told = f"{counts['kept']:,} kept, {spent.read:,} tokens read and {spent.written:,} written"
        more = "".join(f", {counts[key]:,} {what}" for key, what in LOST.items() if counts[key])
        return f"{told}; {counts['refused']:,} refused, {counts['empty']:,} empty{more}"

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._database is not None, "it is used within `opened`"
        return self._database

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise MissingError(f"{self.file} cannot be used: {error}; make room there, or end who holds it") from error
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            raise DamagedError(
                f"{self.file} is damaged: {error}; remove {Path(self.folder)}: it is asked again"
            ) from error


def _intact(question: str, text: str) -> Answer:
    kept = json.loads(text)
    noted = kept.pop(DIGEST, None)  # answers of version 0.2 have none
    if noted is not None and noted != json_digest([question, kept]):
        raise ValueError("an answer is not what it was when it came")
    return Answer(**kept)
