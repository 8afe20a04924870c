"""Tunes arms by their accuracy on validation images alone, with the same number of trials."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dp_base.checksums import seal
from dp_base.errors import DivergedError, InputError
from dp_base.files import file_name, remove, write_json, write_text
from dp_base.progress import progress
from dp_base.reading import KEY, own_file, read_json, require_format
from dp_base.workers import in_parallel
from dp_experiments.compare.compare import check_arms, on_seeds
from dp_experiments.compare.tune.space import Space, own_parameters, settings_of, space_of
from dp_experiments.compare.tune.trial_store import Trial, best_of, finished_trials, keep, propose, untried
from dp_experiments.compare.tune.tuned import FORMAT, TUNED
from dp_experiments.terminal.lines import aside
from dp_real.config import Config, parse_config
from dp_real.config.arms import arm_config
from dp_real.data.examples import RealData
from dp_real.runs.identity import NAMES, input_digests
from dp_real.runs.prepare import check_plan, fresh_learner, load_generator
from dp_real.runs.run import run
from dp_real.runtime.distributed import require_alone, visible_gpus

REQUEST = "tuning.json"  # what was asked for; it is there from the start
TRIALS = "trials.jsonl"  # that are over
RUNS = "runs"  # of trials that are not over
DRAWN = "drawn"  # samples that trials share, until the last is over


class Plan(NamedTuple):
    """All that a trial depends on but its number.

    A trial is a run for each of the seeds first + i, i < seeds, on the split first + (i mod splits).
    """

    arms: Sequence[str]
    searches: Mapping[str, Any]
    seeds: int
    splits: int
    first: int
    batch: int


class Proposal(NamedTuple):
    """A trial to be run: a configuration for each seed, or what is wrong with its settings."""

    arm: str
    number: int
    parameters: Mapping[str, Any]
    cells: Sequence[Config]
    problem: str = ""

    @property
    def name(self) -> str:
        return file_name(f"{self.arm}-trial{self.number}")


def spaces_of(config: Config, plan: Plan) -> dict[str, Space]:
    """What is searched, by arm; a search that no arm has is an error."""
    spaces = {arm: space_of(config, arm, plan.searches) for arm in plan.arms}
    for key in plan.searches:
        if not any(key in space for space in spaces.values()):
            raise InputError(f"--search {key}: no arm of {', '.join(plan.arms)} has it")
    return spaces


def tune(config: Config, plan: Plan, trials: int, out: Path, workers: int | None) -> list[dict[str, Any]]:
    """Give each arm `trials` trials, of which those kept count, and return the rows of best.csv.

    Settings that diverge or cannot be are trials that failed.
    """
    require_alone("a tuning")
    spaces = spaces_of(config, plan)
    check_arms([arm_config(config, arm) for arm in plan.arms])
    _begin(config, plan, out)
    if config.practice.needs_generator:  # one that diverges would be trained, and fail, in every trial
        load_generator(on_seeds(config, 1, 1, plan.first)[0])
    finished = finished_trials(out / TRIALS, plan.arms)
    with progress("trials", trials * len(plan.arms)) as advance:
        advance(sum(map(len, finished.values())))
        for begin in range(0, trials, plan.batch):
            batch = range(begin, min(begin + plan.batch, trials))
            earlier = {arm: trials[:begin] for arm, trials in finished.items()}
            proposals = []
            for arm, space in spaces.items():
                # Of a batch's trials: the configuration's own values, later another arm's best.
                first = untried(arm, space, earlier) if begin else own_parameters(arm_config(config, arm), space)
                proposals += _batch(config, plan, arm, space, finished[arm], batch, first)
            cells = [
                (cell, out / RUNS / each.name / f"seed{cell.seed}", out / DRAWN)
                for each in proposals
                for cell in each.cells
            ]
            ended = iter(in_parallel(workers, _run, cells, visible_gpus()))
            for each in proposals:
                trial = _judged(each, [next(ended) for _ in each.cells])
                keep(out / TRIALS, each.arm, trial)
                finished[each.arm].append(trial)
                remove(out / RUNS / each.name)
                advance(1)
    for over in (RUNS, DRAWN):
        remove(out / over)
    return _write(config, plan, spaces, {arm: finished[arm][:trials] for arm in plan.arms}, out)


def _begin(config: Config, plan: Plan, out: Path) -> None:
    request = {"plan": json.loads(json.dumps(plan._asdict())), "config": config.model_dump(mode="json")}
    request["inputs"] = _inputs(config, plan)
    file = out / REQUEST
    if not file.exists():
        write_json(file, {KEY: FORMAT} | request)
    remedy = "restore it, or take another --out"
    begun_with = read_json(file, remedy)
    with own_file(file, remedy):
        require_format(begun_with, FORMAT, file)
        begun_with |= {
            "plan": Plan(**begun_with["plan"])._asdict(),
            "config": parse_config(begun_with["config"], str(file)).model_dump(mode="json"),
        }
    for part, values in request.items():
        before = begun_with.get(part, values)
        settled = values.keys() & before.keys() if part == "inputs" else values.keys() - {"compare"}  # no trial's
        other = min((key for key in settled if before.get(key) != values[key]), default=None)
        if other:
            remedy = "restore what was" if part == "inputs" else "take the same options"
            raise InputError(f"{out} was begun with another {other}: {remedy}, or another --out")


def _inputs(config: Config, plan: Plan) -> dict[str, str]:
    """Digests of what trials read, by name, arm and split; all must read the same."""
    digests = {}
    for cell in on_seeds(config, min(plan.seeds, plan.splits), plan.splits, plan.first):
        loaded: dict[tuple[str, bool], RealData] = {}  # arms seldom differ in their data
        for arm in plan.arms:
            armed = arm_config(cell, arm)
            section = armed.data.model_dump_json(), armed.practice.additions > 0  # which real_data depends on
            if section not in loaded:
                loaded[section] = armed.real_data()
            for name, value in input_digests(armed, loaded[section], test=False).items():
                digests[f"{NAMES.get(name, name)} of {arm} on split {cell.data.split}"] = value
    return digests


def _batch(
    config: Config,
    plan: Plan,
    arm: str,
    space: Space,
    finished: Sequence[Trial],
    batch: range,
    first: Mapping[str, Any] | None,
) -> Iterator[Proposal]:
    for number, parameters in zip(batch, propose(space, finished, batch, first, config.seed), strict=True):
        if number < len(finished):
            continue
        cells = []
        problem = ""
        try:
            settled = arm_config(config, arm, settings_of(space, parameters))
            check_plan(settled)
            cells = on_seeds(settled.model_copy(update={"tracker": "none"}), plan.seeds, plan.splits, plan.first)
        except InputError as error:
            problem = str(error)
        yield Proposal(arm, number, parameters, cells, problem)


def _run(config: Config, out: Path, shared: Path) -> tuple[float | None, float, str]:
    """Validation accuracy, seconds, and why it failed if it did. Test images are not looked at."""
    try:
        fresh_learner(config)
    except InputError as error:  # layers that do not fit together, which only their network knows
        return None, 0.0, str(error)
    try:
        result = run(
            config,
            out,
            resume=out.exists(),
            progress=aside(f"{out.parent.name}, {out.name}"),
            test=False,
            shared=shared,
        )
    except DivergedError as error:
        return None, 0.0, str(error.__cause__ or error)  # without the checkpoint, which goes with the trial
    return result["val_accuracy"], result["seconds"], ""


def _judged(proposal: Proposal, ended: Sequence[tuple[float | None, float, str]]) -> Trial:
    accuracies = [accuracy for accuracy, _, _ in ended if accuracy is not None]
    problem = next((problem for _, _, problem in ended if problem), proposal.problem)
    accuracy = None if problem else sum(accuracies) / len(accuracies)
    seconds = sum(seconds for _, seconds, _ in ended)
    return Trial(proposal.number, proposal.parameters, accuracy, seconds, problem)


def _write(
    config: Config, plan: Plan, spaces: Mapping[str, Space], finished: Mapping[str, Sequence[Trial]], out: Path
) -> list[dict[str, Any]]:
    rows = [_row(arm, trial, spaces[arm]) for arm, trials in finished.items() for trial in trials]
    write_text(out / "trials.csv", pd.DataFrame(rows, dtype=object).to_csv(index=False))
    best = []
    settings = {}
    for arm, trials in finished.items():
        winner = best_of(trials)
        if winner is None:
            raise DivergedError(f"all {len(trials)} trials of arm {arm} failed; the last: {trials[-1].problem}")
        settings[arm] = settings_of(spaces[arm], winner.parameters)
        failed = sum(trial.accuracy is None for trial in trials)
        facts = {"trials": len(trials), "failed": failed, "own_settings": _percent(trials[0].accuracy)}
        best.append(_row(arm, winner, spaces[arm], facts))
    write_text(out / "best.csv", pd.DataFrame(best, dtype=object).to_csv(index=False))
    seen = {"first": plan.first, "fresh": plan.first + plan.seeds}
    tuned = {"config": config.model_dump(mode="json"), **seen, "settings": settings}
    write_json(out / TUNED, {KEY: FORMAT} | tuned)
    seal(out, [TUNED])
    return best


def _row(arm: str, trial: Trial, space: Space, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    settings = settings_of(space, trial.parameters)
    row = {"arm": arm, "trial": trial.number, "validation": _percent(trial.accuracy), **(facts or {})}
    return row | {"seconds": trial.seconds, "problem": trial.problem} | settings


def _percent(accuracy: float | None) -> float | None:
    return None if accuracy is None else round(100 * accuracy, 4)
