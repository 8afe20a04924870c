"""One run in one folder: what it leaves there, how it stops, and how it goes on."""

import importlib.util
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
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from dp_base.errors import InputError, Interrupted, MissingError
from dp_base.progress import Progress
from dp_real.runtime import processes
from dp_real.evaluation.assess import accuracy
from dp_real.runs.card import model_card
from dp_real.config.config import Config, load_config
from dp_real.data import decode_ahead, load_data
from dp_real.evaluation.sets import evaluate_sets
from dp_real.generators import load_generator
from dp_real.learners import fresh_learner
from dp_real.pool.pool import Pool
from dp_real.loop.practice import Practice, State
from dp_real.protocols import Generator, Learner, RealData
from dp_real.rounds.source import Costs, Source, check_plan
from dp_real.runtime.seeds import Stream, rng

Tracker = Callable[[dict[str, Any], int], None]

AGREE_EVERY = 20  # steps between the questions whether any process was told to stop
PART = ".part-"  # what a killed run may leave half-written begins with this, and is in nobody's way


class RunFolder:
    """A Journal that writes to disk. Whatever stands there is whole: files are renamed into place, rows are lines."""

    def __init__(
        self, path: Path, advance: Callable[[int], None], step: int = 0, tracker: Tracker | None = None
    ) -> None:
        """advance: told how many steps were made, from `step` on; tracker: told each evaluation and addition."""
        self.path = path
        self._track = tracker or (lambda row, step: None)
        self._advance = advance
        self._step = step
        self._asked, self._since_agreed = False, 0
        self._main, self._alone = processes.state().is_main_process, processes.state().num_processes == 1

    def evaluation(self, row: dict[str, Any]) -> None:
        self._append("metrics.jsonl", row)
        self._track(row, row["step"])
        self._advance(row["step"] - self._step)
        self._step = row["step"]

    def addition(self, row: dict[str, Any]) -> None:
        self._append("rounds.jsonl", row)
        self._track({f"round/{name}": value for name, value in row.items()}, row["step"])

    def _append(self, name: str, row: dict[str, Any]) -> None:
        if not self._main:
            return
        with open(self.path / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def checkpoint(self, state: State, learner: Learner, pool: Pool, keep: bool) -> None:
        """checkpoints/step-N-rounds-K if it is to be kept, else latest-step-N-rounds-K, in place of the latest so far.

        One of that name is left as it is: what it holds is a function of the run.
        """
        name = f"step-{state.step:09d}-rounds-{state.rounds:04d}"
        folder = self.path / "checkpoints" / (name if keep else f"latest-{name}")
        if not self._main or folder.exists():
            return
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path, prefix=PART) as temporary:
            staged = Path(temporary) / "whole"
            staged.mkdir()
            save_file(learner.tensors(), staged / "learner.safetensors")
            write_json(staged / "state.json", asdict(state) | {"pool_version": pool.version})
            older = [] if keep else list(folder.parent.glob("latest-*"))
            os.rename(staged, folder)
            for path in older:
                os.rename(path, Path(temporary) / path.name)  # out of the way whole: removing it takes a while

    def best(self, learner: Learner) -> None:
        """best/, replaced: the learner as `save` writes it."""
        if not self._main:
            return
        with tempfile.TemporaryDirectory(dir=self.path, prefix=PART) as temporary:
            staged = Path(temporary) / "whole"
            staged.mkdir()
            learner.save(staged)
            remove(self.path / "best")
            os.rename(staged, self.path / "best")

    def restore(self, config: Config, learner: Learner, sample_shape: tuple[int, ...]) -> tuple[State, Pool]:
        """State and pool of the newest checkpoint, learner and logs set back to it; a fresh start if there is none."""
        newest = processes.from_main(newest_checkpoint(self.path) if self._main else None)
        if newest is None:
            with processes.main_first() as main:
                for name in ("pool", "metrics.jsonl", "rounds.jsonl") if main else ():
                    remove(self.path / name)
            return State(config.training.steps), Pool(self.path / "pool", sample_shape, 0, config.pool)
        state, pool_version = restore_learner(learner, newest)
        pool = Pool(self.path / "pool", sample_shape, pool_version, config.pool)
        pool.drop_later()
        if self._main:
            self._cut("metrics.jsonl", lambda row: row["step"] <= state.step)
            self._cut("rounds.jsonl", lambda row: row["round"] < state.rounds)
        return state, pool

    def _cut(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        lines = (self.path / name).read_text().splitlines() if (self.path / name).exists() else []
        rows = [line for line in lines if line.endswith("}") and keep(json.loads(line))]  # a torn last line goes too
        write_text(self.path / name, "".join(row + "\n" for row in rows))

    def stop_requested(self) -> bool:
        """Asked at every step; several processes must agree, and do so now and then."""
        self._since_agreed = (self._since_agreed + 1) % AGREE_EVERY
        return self._asked if self._alone else self._since_agreed == 0 and self.told_to_stop()

    def told_to_stop(self) -> bool:
        """Whether any process was; all of them ask at the same time."""
        return processes.any_process(self._asked)

    @contextmanager
    def stops_on_signal(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask for a stop at the next step; a second Ctrl-C stops at once.

        A second SIGTERM does not: cluster managers and launchers send several.
        """

        def ask(number: int, frame: Any) -> None:
            if self._asked and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._asked = True

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


class BranchFolder(RunFolder):
    """A run's folder without checkpoints: a branch that is stopped starts over."""

    def checkpoint(self, state: State, learner: Learner, pool: Pool, keep: bool) -> None: ...


def checkpoints(folder: Path) -> list[Path]:
    """A run's checkpoints before each addition of data, by step."""
    return sorted((folder / "checkpoints").glob("step-*"))


def newest_checkpoint(folder: Path) -> Path | None:
    """Where an interrupted run goes on from."""

    def position(checkpoint: Path) -> tuple[int, int]:
        saved = json.loads((checkpoint / "state.json").read_text())
        return saved["step"], saved["rounds"]

    return max((folder / "checkpoints").glob("[sl]*"), key=position, default=None)


def restore_learner(learner: Learner, checkpoint: Path) -> tuple[State, int]:
    """Set a learner back to a checkpoint; returns the run's state there and the version of its pool."""
    saved = json.loads((checkpoint / "state.json").read_text())
    pool_version = saved.pop("pool_version")
    state = State(**saved | {"costs": Costs(**saved["costs"])})
    learner.load_tensors(load_file(checkpoint / "learner.safetensors"), state.step)
    learner.finish_at(state.last_step)
    return state, pool_version


@processes.together()
def run(config: Config, out: Path, *, resume: bool = False, progress: Progress) -> dict[str, Any]:
    """Train by deliberate practice in folder `out`; returns what result.json says. A finished run is not repeated.

    Raises InputError if `out` is in use, Interrupted after a checkpoint on Ctrl-C or SIGTERM.
    """
    with processes.main_first() as main:
        finished = claim(config, out, resume) if main else None
    finished = processes.from_main(finished)
    if finished:
        if config.practice.branch:
            branch(out, progress)
        return finished
    try:
        check_tracker(config)
        data, generator = prepare(config, progress)
        check_plan(config, generator.n_classes)
        learner = fresh_learner(config, generator)
    except (InputError, MissingError):
        if processes.state().is_main_process and [path.name for path in out.iterdir()] == ["config.toml"]:
            remove(out)  # nothing has begun
        raise
    with progress(config.name, config.training.steps) as advance, tracking(config, out) as tracker:
        folder = RunFolder(out, advance, tracker=tracker)
        state, pool = folder.restore(config, learner, generator.sample_shape)
        if config.practice.examples == "real" and state.rounds == 0:
            add_real_examples(pool, state, data, config)
        first = first_learner(config, generator, out) if state.rounds > 1 else None
        source = Source(config, generator, pool, data.validation, first, progress, folder.told_to_stop, out / "drawing")
        practice = Practice(config, learner, source, pool, validator(data), folder, state)
        try:
            with folder.stops_on_signal():
                practice.run()
        except Interrupted:
            raise Interrupted(f"interrupted at step {state.step}: dp real resume {out} goes on") from None
    result = conclude(practice, data, out)
    if config.practice.branch:
        branch(out, progress)
    return result


def prepare(config: Config, progress: Progress) -> tuple[RealData, Generator]:
    """The real data and the generator, trained now if need be, by the main process first."""
    data = prepare_data(config)
    with processes.main_first():
        return data, load_generator(config, data, progress)


def prepare_data(config: Config) -> RealData:
    """The real data, by the main process first."""
    torch.set_num_threads(config.threads or torch.get_num_threads())
    with processes.main_first():
        data = load_data(config.data)
    decode_ahead(data)
    return data


@processes.together()
def branch(source: Path, progress: Progress) -> list[dict[str, Any]]:
    """Cool down from each checkpoint before an addition of data (paper section 5, Tables 4 and 5): the scaling curve.

    One run, the whole curve: a result for each pool size, by size, the run's own last if it is complete. A branch
    leaves its files in branches/SIZE; finished ones are not repeated.
    """
    config = load_config(source / "config.toml")
    data = prepare_data(config)
    results = {}
    for checkpoint in processes.from_main(checkpoints(source)):
        learner = fresh_learner(config, data)
        state, pool_version = restore_learner(learner, checkpoint)
        pool = Pool(source / "pool", data.sample_shape, pool_version, config.pool)
        out = source / "branches" / f"{len(pool):09d}"
        if not processes.from_main((out / "result.json").exists()):
            with processes.main_first() as main:
                if main:
                    remove(out)
                    out.mkdir(parents=True)
            # Nothing is added in a cool-down, so that the loop of the run ends it too.
            state.last_step, state.best = state.step + config.training.cooldown_steps, State.best
            learner.finish_at(state.last_step)
            with progress(f"branch at {len(pool)}", config.training.cooldown_steps) as advance:
                folder = BranchFolder(out, advance, state.step)
                drawing = Source(config, cast(Generator, data), pool)  # nothing is drawn: its space is all that counts
                practice = Practice(config, learner, drawing, pool, validator(data), folder, state)
                practice.run()
            conclude(practice, data, out)
        results[len(pool)] = json.loads((out / "result.json").read_text())
    if (source / "result.json").exists():
        own = json.loads((source / "result.json").read_text())
        results[own["pool_size"]] = own
    return [results[size] for size in sorted(results)]


def check_tracker(config: Config) -> None:
    """Raise MissingError if the dashboard that is asked for is not installed."""
    if config.tracker != "none" and importlib.util.find_spec(config.tracker) is None:
        raise MissingError(f"tracker = '{config.tracker}' needs that package: pip install {config.tracker}")


@contextmanager
def tracking(config: Config, out: Path) -> Iterator[Tracker | None]:
    """Evaluations and additions in a dashboard too, in the run's folder, through accelerate."""
    if config.tracker == "none":
        yield None
        return
    accelerator = Accelerator(
        log_with=config.tracker, project_dir=out, cpu=not torch.cuda.is_available(), mixed_precision="no"
    )
    accelerator.init_trackers("deliberate-practice")
    try:
        yield lambda row, step: accelerator.log(row, step=step)
    finally:
        accelerator.end_training()


def validator(data: RealData) -> Callable[[Learner], float]:
    """The validation accuracy that patience watches."""
    return lambda learner: accuracy(learner, data.validation)


def add_real_examples(pool: Pool, state: State, data: RealData, config: Config) -> None:
    """Fill the pool with images that the generator was trained on: what generated ones are measured against."""
    count, available = config.practice.initial, 0 if data.generator is None else len(data.generator.y)
    if data.generator is None or available < count:
        raise InputError(
            f"practice.examples = 'real': {count} examples are asked for, {available} trained the generator"
        )
    rows = torch.from_numpy(rng(config.seed, Stream.SPLIT).permutation(available)[:count])
    x, y, zeros = data.generator.x[rows], data.generator.y[rows].numpy(), np.zeros(count)
    facts = {"row": np.arange(count), "label": y, "seed": zeros, "omega": zeros, "entropy": zeros, "correct": zeros > 0}
    here = slice(0, count if processes.state().is_main_process else 0)
    pool.append(0, pool.rows(pool.encode(x[here]), **{name: fact[here] for name, fact in facts.items()}))
    state.rounds = 1


def first_learner(config: Config, generator: Generator, out: Path) -> Learner | None:
    """For guidance.selector = 'first', the learner as it was just before the first addition."""
    if config.guidance.selector != "first":
        return None
    learner = fresh_learner(config, generator)
    restore_learner(learner, [path for path in checkpoints(out) if path.name.endswith("-rounds-0001")][-1])
    return learner


def conclude(practice: Practice, data: RealData, out: Path) -> dict[str, Any]:
    """Write the trained learner and result.json, which says that the run is complete."""
    config, state, learner = practice.config, practice.state, practice.learner
    if config.training.keep_best:
        with processes.main_first():
            learner.load(out / "best")
    result = {
        "name": config.name,
        "seed": config.seed,
        "test_accuracy": accuracy(learner, data.test),
        "test_examples": len(data.test.y),
        "val_accuracy": accuracy(learner, data.validation),
        "val_examples": len(data.validation.y),
        "sets": evaluate_sets(learner, data.sets),
        "pool_size": len(practice.pool),
        "samples_generated": state.costs.generated,
        "samples_seen": state.seen,
        "additions": state.rounds - 1,
        "steps": state.step,
        "processes": processes.state().num_processes,
        "seconds": state.seconds,
        "generation_seconds": state.generation_seconds,
        "training_seconds": state.seconds - state.generation_seconds,
        "denoiser_forwards": state.costs.forwards,
        "denoiser_backwards": state.costs.backwards,
        "generation_flops": state.costs.flops,
        "training_flops": practice.row_flops * state.seen,
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("deliberate-practice", "torch", "diffusers", "pylance")},
    }
    with processes.main_first() as main:
        if main:
            (out / "learner").mkdir(exist_ok=True)
            learner.save(out / "learner")
            write_text(out / "learner" / "README.md", model_card(config, result))
            write_json(out / "result.json", result)
    return result


def claim(config: Config, out: Path, resume: bool) -> dict[str, Any] | None:
    """Make `out` this run's folder. Returns the result if the run is complete already and `resume` is set."""
    known = out / "config.toml"
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if out.is_dir() and any(not path.name.startswith(PART) for path in out.iterdir()):
        same = known.exists() and load_config(known) == config
        finished = (out / "result.json").exists()
        if not same:
            raise InputError(f"--out {out} holds something else, or a run of another configuration; name a new folder")
        if not resume:
            raise InputError(
                f"--out {out} holds this very run, complete; name another folder or remove it"
                if finished
                else f"--out {out} holds this very run, unfinished; add --resume to go on with it"
            )
        if finished:
            return json.loads((out / "result.json").read_text())
        return None
    if resume and not out.is_dir():
        raise InputError(f"--resume: there is no run in {out}; leave --resume out to begin one")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(known, config.to_toml())
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}") from error
    return None


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f"{PART}{path.name}-{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def remove(path: Path) -> None:
    """A file or a folder, there or not."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
