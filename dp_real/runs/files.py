"""The files of a run: the one place that knows their names, and how its logs are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_base.files import write_text


@dataclass(frozen=True)
class RunFiles:
    """What a run leaves in its folder `path`. Whatever stands there is whole."""

    path: Path

    @property
    def config(self) -> Path:
        """config.toml, resolved and complete."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """metrics.jsonl, a row an evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def rounds(self) -> Path:
        """rounds.jsonl, a row an addition."""
        return self.path / "rounds.jsonl"

    @property
    def pool(self) -> Path:
        """pool, a Lance data set."""
        return self.path / "pool"

    @property
    def drawing(self) -> Path:
        """drawing, blocks of the round that is being drawn."""
        return self.path / "drawing"

    @property
    def checkpoints(self) -> Path:
        """checkpoints, a folder each."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """best, the learner of the best validation accuracy, with training.keep_best."""
        return self.path / "best"

    @property
    def learner(self) -> Path:
        """learner, the trained one."""
        return self.path / "learner"

    @property
    def result(self) -> Path:
        """result.json, which exists only when the run is complete."""
        return self.path / "result.json"

    @property
    def figures(self) -> Path:
        """figures, pictures of the run."""
        return self.path / "figures"

    @property
    def branches(self) -> list[RunFiles]:
        """branches/SIZE, cool-downs from each pool size, by size."""
        return [RunFiles(path) for path in sorted(self.path.glob("branches/*"))]

    def branch(self, pool_size: int) -> RunFiles:
        """The branch of a pool size, there or not."""
        return RunFiles(self.path / "branches" / f"{pool_size:09d}")

    def read_result(self) -> dict[str, Any] | None:
        """What result.json says; None while the run is not complete."""
        return json.loads(self.result.read_text(encoding="utf-8")) if self.result.exists() else None


def append_row(log: Path, row: dict[str, Any]) -> None:
    """Add a line to a log."""
    with open(log, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_rows(log: Path) -> list[dict[str, Any]]:
    """The rows of a log, there or not; a last line that is being written, or was torn by a kill, is left out."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def cut_rows(log: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Leave only those rows in a log."""
    write_text(log, "".join(json.dumps(row) + "\n" for row in read_rows(log) if keep(row)))
