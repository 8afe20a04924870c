"""One run in one folder: what it leaves there, how it stops, and how it goes on."""

import json
import os
import platform
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from dp_real.config import Config, load_config
from dp_real.data import load_data
from dp_real.errors import InputError
from dp_real.generators import load_generator
from dp_real.learner import accuracy, fresh_learner
from dp_real.pool import Pool
from dp_real.practice import Practice, State
from dp_real.protocols import Learner, Progress


class RunFolder:
    """A Journal that writes to disk. Whatever stands there is whole: files are renamed into place, rows are lines."""

    def __init__(self, path: Path, advance: Callable[[int], None]) -> None:
        """advance: told how many steps were made."""
        self.path = path
        self._advance = advance
        self._step = 0
        self._stop = False

    def evaluation(self, row: dict[str, Any]) -> None:
        self._append("metrics.jsonl", row)
        self._advance(row["step"] - self._step)
        self._step = row["step"]

    def addition(self, row: dict[str, Any]) -> None:
        self._append("rounds.jsonl", row)

    def _append(self, name: str, row: dict[str, Any]) -> None:
        with open(self.path / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def checkpoint(self, state: State, learner: Learner, pool: Pool) -> None:
        """checkpoints/step-N; a step's checkpoint is a function of the run, so one that exists is kept."""
        folder = self.path / "checkpoints" / f"step-{state.step:09d}-rounds-{state.rounds}"
        if folder.exists():
            return
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path) as temporary:
            staged = Path(temporary) / "whole"
            staged.mkdir()
            save_file(learner.tensors(), staged / "learner.safetensors")
            write_json(staged / "state.json", asdict(state) | {"pool_version": pool.version})
            os.rename(staged, folder)

    def restore(self, learner: Learner, sample_shape: tuple[int, ...]) -> tuple[State, Pool]:
        """State and pool of the newest checkpoint, learner and logs set back to it; a fresh start if there is none."""
        found = checkpoints(self.path)
        if not found:
            for name in ("pool", "metrics.jsonl", "rounds.jsonl"):
                remove(self.path / name)
            return State(), Pool(self.path / "pool", sample_shape)
        state, pool_version = restore_learner(learner, found[-1])
        pool = Pool(self.path / "pool", sample_shape, pool_version)
        self._cut("metrics.jsonl", lambda row: row["step"] <= state.step)
        self._cut("rounds.jsonl", lambda row: row["round"] < state.rounds)
        return state, pool

    def _cut(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        lines = (self.path / name).read_text().splitlines() if (self.path / name).exists() else []
        rows = [line for line in lines if line.endswith("}") and keep(json.loads(line))]  # a torn last line goes too
        write_text(self.path / name, "".join(row + "\n" for row in rows))

    def stop_requested(self) -> bool:
        return self._stop

    @contextmanager
    def stops_on_signal(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask for a stop at the next step; a second one stops at once."""

        def ask(number: int, frame: Any) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever runs us handles signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def checkpoints(folder: Path) -> list[Path]:
    """A run's checkpoints by step: one before each addition of data, one where it was interrupted."""
    return sorted((folder / "checkpoints").glob("step-*"))


def restore_learner(learner: Learner, checkpoint: Path) -> tuple[State, int]:
    """Set a learner back to a checkpoint; returns the run's state there and the version of its pool."""
    saved = json.loads((checkpoint / "state.json").read_text())
    pool_version = saved.pop("pool_version")
    learner.load_tensors(load_file(checkpoint / "learner.safetensors"), saved["step"])
    return State(**saved), pool_version


def run(config: Config, out: Path, *, resume: bool = False, progress: Progress) -> dict[str, Any]:
    """Train by deliberate practice in folder `out`; returns what result.json says. A finished run is not repeated.

    Raises InputError if `out` is in use, Interrupted after a checkpoint on Ctrl-C or SIGTERM.
    """
    finished = claim(config, out, resume)
    if finished:
        return finished
    torch.set_num_threads(config.threads or torch.get_num_threads())
    data = load_data(config.data)
    generator = load_generator(config, data, progress)
    learner = fresh_learner(config, generator)

    def validate(current: Learner) -> float:
        return accuracy(current, data.validation)

    with progress(config.name, config.training.steps) as advance:
        folder = RunFolder(out, advance)
        state, pool = folder.restore(learner, generator.sample_shape)
        with folder.stops_on_signal():
            Practice(config, learner, generator, pool, validate, folder, state).run()
    (out / "learner").mkdir(exist_ok=True)
    learner.save(out / "learner")
    result = {
        "name": config.name,
        "seed": config.seed,
        "test_accuracy": accuracy(learner, data.test),
        "val_accuracy": accuracy(learner, data.validation),
        "samples_generated": len(pool),
        "samples_seen": state.step * config.training.batch_size,
        "additions": state.rounds - 1,
        "steps": state.step,
        "seconds": state.seconds,
        "generation_seconds": state.generation_seconds,
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("deliberate-practice", "torch", "diffusers", "pylance")},
    }
    write_json(out / "result.json", result)
    return result


def claim(config: Config, out: Path, resume: bool) -> dict[str, Any] | None:
    """Make `out` this run's folder. Returns the result if the run is complete already and `resume` is set."""
    known = out / "config.toml"
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()):
        same = known.exists() and load_config(known) == config
        finished = (out / "result.json").exists()
        if not same:
            raise InputError(f"--out {out} holds something else; name an empty or new folder")
        if not resume:
            raise InputError(
                f"--out {out} holds this very run, complete; name another folder or remove it"
                if finished
                else f"--out {out} holds this very run, unfinished; add --resume to go on with it"
            )
        if finished:
            return json.loads((out / "result.json").read_text())
        return None
    if resume:
        raise InputError(f"--resume: there is no run in {out}; leave --resume out to begin one")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(known, config.to_toml())
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}") from error
    return None


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    os.replace(file.name, path)


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def remove(path: Path) -> None:
    """A file or a folder, there or not."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
