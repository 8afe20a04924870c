"""The names of a run's files, and how its logs are read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dp_base.checksums import verify
from dp_base.errors import InputError
from dp_base.files import naming, strict_json
from dp_base.reading import own_file, read_json


class RunFiles:
    """The files of a run in its folder `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"  # before all else
        self.metrics = path / "metrics.jsonl"  # a row per evaluation
        self.rounds = path / "rounds.jsonl"  # a row per round
        self.pool = path / "pool"
        self.drawing = path / "drawing"  # the blocks of the round that is being drawn
        self.drawn_with = self.drawing / "inputs.json"  # what the first round depends on, before a checkpoint says so
        self.checkpoints = path / "checkpoints"
        self.learner = path / "learner"
        self.result = path / "result.json"  # exists only when the run is complete
        self.figures = path / "figures"

    @classmethod
    def of(cls, folder: str | Path) -> RunFiles:
        """Raises InputError if the folder is not a run's."""
        files = cls(Path(folder))
        if not files.is_run:
            raise InputError(f"{folder} is not the folder of a run: it has no config.toml")
        return files

    @property
    def repeat(self) -> str:
        """The end of a message: what to do if a file is lost."""
        return f"repeat the run: dp real run {self.config} --out NEW"

    @property
    def is_run(self) -> bool:
        return self.config.is_file()

    @property
    def branches(self) -> list[RunFiles]:
        return [RunFiles(path) for path in sorted(self.path.glob("branches/[0-9]*"))]

    @property
    def branch_again(self) -> str:
        """The end of a message: what to do if a branch's file is damaged; empty for a run."""
        run = self.path.parents[1] if self.path.parent.name == "branches" else None
        return f"remove {self.path}; dp real branch {run} makes it again" if run else ""

    def branch(self, pool_size: int) -> RunFiles:
        return RunFiles(self.path / "branches" / f"{pool_size:09d}")

    def read_result(self) -> dict[str, Any] | None:
        """result.json; None while the run is not complete."""
        if not self.result.exists():
            return None
        remedy = self.branch_again or f"remove it, and dp real resume {self.path} writes it again"
        verify(self.path, remedy, [self.result.name])
        return read_json(self.result, remedy)


def append_row(log: Path, row: dict[str, Any]) -> None:
    """Add a line of strict JSON to a log; nan and inf become null."""
    with naming(log), open(log, "a", encoding="utf-8") as file:
        file.write(strict_json(row) + "\n")


def read_rows(log: Path) -> list[dict[str, Any]]:
    """The rows of a log, without an incomplete last line."""
    with own_file(log, f"restore it; or {RunFiles(log.parent).repeat}"):
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}") or line is not lines[-1]]
