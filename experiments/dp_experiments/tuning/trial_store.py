"""Trials, proposed by optuna in batches and kept in its SQLite file, which survives a kill.

A proposal depends on the seed, the trial's number and earlier batches of all arms, never on which worker was first.
Only trials that are over are kept, so a resumed tuning has the same trials.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import URL

from dp_base.checksums import json_digest
from dp_base.reading import own_file
from dp_experiments.tuning.space import Space, proposed

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Trial:
    """A trial that is over; its accuracy is the mean over its runs, None if it failed."""

    number: int
    parameters: Mapping[str, Any]
    accuracy: float | None
    seconds: float
    problem: str = ""


class Trials:
    """The trials of one arm, one of optuna's studies."""

    def __init__(self, study: optuna.Study, space: Space, seed: int) -> None:
        self._study = study
        self._space = space
        self._seed = seed

    def propose(self, numbers: range, first: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """Parameters by the tree-structured Parzen estimator (Bergstra et al. 2011), which sees the batches before.

        Until ten trials have not failed they are random and the same for all arms, but for `first`.
        """
        scratch = optuna.create_study(direction="maximize")
        scratch.add_trials(self._study.get_trials(deepcopy=False)[: numbers.start])
        if first is not None:
            scratch.enqueue_trial(dict(first))
        found = []
        for number in numbers:
            seed = np.random.SeedSequence(self._seed, spawn_key=(number,)).generate_state(1)[0]
            scratch.sampler = TPESampler(seed=int(seed))
            parameters = scratch.ask(self._space).params
            given = first or {} if number == numbers.start else {}  # which are taken as they are
            found.append(
                {key: value if key in given else proposed(self._space[key], value) for key, value in parameters.items()}
            )
        return found

    def add(self, trial: Trial) -> None:
        """In one transaction, in the order of their numbers."""
        kept = create_trial(
            state=TrialState.FAIL if trial.accuracy is None else TrialState.COMPLETE,
            value=trial.accuracy,
            params=dict(trial.parameters),
            distributions=self._space,
            user_attrs={"seconds": trial.seconds, "problem": trial.problem, "sum": _checksum(trial)},
        )
        self._study.add_trial(kept)

    def __iter__(self) -> Iterator[Trial]:
        return map(_trial, self._study.get_trials(deepcopy=False))

    def __len__(self) -> int:
        return len(self._study.get_trials(deepcopy=False))


def _trial(kept: FrozenTrial) -> Trial:
    """Checks it, since SQLite itself does not notice a changed number."""
    facts = kept.user_attrs
    trial = Trial(kept.number, kept.params, kept.value, facts["seconds"], facts["problem"])
    if facts["sum"] != _checksum(trial):
        raise ValueError(f"trial {kept.number} is not what was written")
    return trial


def _checksum(trial: Trial) -> str:
    facts = [dict(sorted(trial.parameters.items())), trial.accuracy, trial.seconds, trial.problem]
    return json_digest(facts)[:16]


@contextlib.contextmanager
def kept_trials(file: Path, spaces: Mapping[str, Space], seed: int) -> Iterator[dict[str, Trials]]:
    """The trials of each arm in an SQLite file, which is made."""
    storage = None
    with own_file(file, f"remove {file.parent}, and tune again"):
        storage = RDBStorage(URL.create("sqlite", database=str(file.absolute())).render_as_string())
        studies = {
            arm: optuna.create_study(storage=storage, study_name=arm, direction="maximize", load_if_exists=True)
            for arm in spaces
        }
        found = {arm: Trials(study, spaces[arm], seed) for arm, study in studies.items()}
        for trials in found.values():
            list(trials)
    try:
        yield found
    finally:
        storage.remove_session()
        storage.engine.dispose()


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial of the highest accuracy, the first of equals; None if all failed."""
    ended = [trial for trial in trials if trial.accuracy is not None]
    return max(ended, key=lambda trial: trial.accuracy or 0, default=None)


def untried(arm: str, space: Space, kept: Mapping[str, Sequence[Trial]]) -> dict[str, Any] | None:
    """The best parameters of another arm that this one has not tried, lest the luck of a search decide between arms."""
    own = best_of(kept[arm])
    for other, trials in kept.items():
        best = best_of(trials) if other != arm else None
        common = {key: value for key, value in best.parameters.items() if key in space} if best else {}
        if common and not any(common.items() <= trial.parameters.items() for trial in kept[arm]):
            return {**(own.parameters if own else {}), **common}
    return None
