"""Trials, proposed by optuna in batches and kept as lines of JSON, which survive a kill.

A proposal depends on the seed, the trial's number and earlier batches of all arms, never on which worker was first.
Only trials that are over are kept, so a resumed tuning has the same trials.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial

from dp_base.checksums import json_digest
from dp_base.files import append_row
from dp_base.reading import own_file, read_rows
from dp_experiments.compare.tune.space import Space, proposed

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Trial(NamedTuple):
    """A trial that is over; its accuracy is the mean over its runs, None if it failed."""

    number: int
    parameters: Mapping[str, Any]
    accuracy: float | None
    seconds: float
    problem: str = ""


def propose(
    space: Space, finished: Sequence[Trial], numbers: range, first: Mapping[str, Any] | None, seed: int
) -> list[dict[str, Any]]:
    """Parameters by the tree-structured Parzen estimator (Bergstra et al. 2011), which sees the batches before.

    Until ten trials have not failed they are random and the same for all arms, but for `first`.
    """
    study = optuna.create_study(direction="maximize")
    for trial in finished[: numbers.start]:
        state = TrialState.FAIL if trial.accuracy is None else TrialState.COMPLETE
        parameters = dict(trial.parameters)
        study.add_trial(create_trial(state=state, value=trial.accuracy, params=parameters, distributions=space))
    if first is not None:
        study.enqueue_trial(dict(first))
    proposals = []
    for number in numbers:
        of_trial = np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0]
        study.sampler = TPESampler(seed=int(of_trial))
        parameters = study.ask(space).params
        settings = first or {} if number == numbers.start else {}  # which are taken as they are
        proposals.append(
            {key: value if key in settings else proposed(space[key], value) for key, value in parameters.items()}
        )
    return proposals


def finished_trials(file: Path, arms: Sequence[str]) -> dict[str, list[Trial]]:
    """The trials of each arm in a file, which may not be there yet. A last line that was cut short is none."""
    finished: dict[str, list[Trial]] = {arm: [] for arm in arms}
    with own_file(file, f"remove {file.parent}, and tune again"):
        for row in read_rows(file):
            if row.pop("sum") != json_digest(row)[:16]:
                raise ValueError(f"trial {row['number']} of {row['arm']} is not what was written")
            finished[row.pop("arm")].append(Trial(**row))
    return finished


def keep(file: Path, arm: str, trial: Trial) -> None:
    """Add a trial at the end of the file."""
    row = {"arm": arm} | trial._asdict()
    append_row(file, row | {"sum": json_digest(row)[:16]})


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial of the highest accuracy, the first of equals; None if all failed."""
    ended = [trial for trial in trials if trial.accuracy is not None]
    return max(ended, key=lambda trial: trial.accuracy or 0, default=None)


def untried(arm: str, space: Space, finished: Mapping[str, Sequence[Trial]]) -> dict[str, Any] | None:
    """The best parameters of another arm that this one has not tried, lest the luck of a search decide between arms."""
    own = best_of(finished[arm])
    for other, trials in finished.items():
        best = best_of(trials) if other != arm else None
        common = {key: value for key, value in best.parameters.items() if key in space} if best else {}
        if common and not any(common.items() <= trial.parameters.items() for trial in finished[arm]):
            return {**(own.parameters if own else {}), **common}
    return None
