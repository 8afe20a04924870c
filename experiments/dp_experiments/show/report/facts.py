"""The facts of a report, read from the folders of runs and comparisons."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dp_base.errors import InputError
from dp_experiments.compare.compare import Comparison
from dp_experiments.compare.ratios import axis_of
from dp_experiments.compare.verdict import chance_remark, guesses, verdict
from dp_experiments.presets.presets import load_preset
from dp_experiments.show.judge import Judge, agreement, confirmed, judged_arms, load_judge
from dp_experiments.show.report.pictures import (
    CAPTIONS,
    are_drawn,
    has_views,
    leave_figures,
    readable_pool,
)
from dp_experiments.terminal.lines import records
from dp_real.config import Config
from dp_real.data.examples import ExampleSet
from dp_real.evaluate.assess import standard_error
from dp_real.evaluate.quality import round_quality
from dp_real.practice.section import flat
from dp_real.runs.files import RunFiles
from dp_real.runs.prepare import load_data
from dp_real.runs.reader import Run

COSTS = {
    "steps": "optimizer steps",
    "processes": "processes",
    "samples_generated": "samples generated, kept or not",
    "samples_redrawn": "samples drawn again for being empty, not finite, or of one value",
    "samples_seen": "rows trained on, with repeats",
    "seconds": "seconds",
    "generation_seconds": "seconds of generation",
    "training_seconds": "seconds of training and validation",
    "denoiser_forwards": "forward passes of the denoiser, counted by sample",
    "denoiser_backwards": "backward passes of the denoiser",
    "generation_flops": "FLOPs of generation",
    "training_flops": "FLOPs of training",
}
"""What each cost of a result is called in a report."""
Facts = dict[str, Any]


def facts_of(folder: Path, judge: str | None, rounds: bool) -> Facts:
    """judge: adds the share of each round's samples that it confirms. rounds: adds how the rounds compare with real
    validation examples, as the latest learner sees them.
    """
    comparison = Comparison(folder)
    if comparison.exists:
        if rounds:
            raise InputError(f"{folder}: --rounds is only for runs; name those in {folder / 'runs'}")
        return comparison_facts(comparison, judge)
    files = RunFiles(folder)
    if not (files.is_run or files.pool.is_dir()):
        raise InputError(
            f"{folder}: neither a run, which has a config.toml, nor a finished comparison, which has a comparison.csv: "
            "dp real compare --resume finishes one"
        )
    run = Run(folder)
    facts = run_facts(run)
    if judge:
        classifier = load_judge(judge, run.config.task)
        facts["judge"] = _judge_facts(judge, classifier, _validation(run))
        shares = agreement(run, classifier)
        facts["rounds"] = [row | own for row, own in zip(facts["rounds"], shares, strict=False)]
    if rounds:
        facts["quality"] = round_quality(run.learner(), run.pool, load_data(run.config))
    return facts


def outcome(run: Run) -> Facts:
    """What a run came to so far."""
    config = run.config
    result = run.result
    metrics, rounds = run.metrics, run.rounds
    last = result or (metrics.iloc[-1].to_dict() if len(metrics) else {})
    own = []
    for name, key in (("test", "test"), ("validation", "val")):
        if last.get(f"{key}_accuracy") is not None:
            images = result.get(f"{key}_examples")
            own.append({"set": name, "images": images} | with_error(last[f"{key}_accuracy"], images))
    return {
        "run": str(run.path),
        "name": config.name,
        "seed": config.seed,
        "complete": bool(result),
        "step": int(last.get("steps", last.get("step", 0))),
        "steps": config.training.steps,
        "pool_size": int(last.get("pool_size", rounds["count"].sum() if len(rounds) else 0)),
        "accuracies": [*own, *result.get("sets", [])],
    }


def run_facts(run: Run) -> Facts:
    """The facts of a run, whose figures are drawn if they are missing or older than its files."""
    config, result, rounds = run.config, run.result, run.rounds
    if not are_drawn(run.files):
        leave_figures(run.path)
    base = None
    with suppress(InputError):  # most configurations have no preset's name
        base = load_preset(config.name)
    pool = readable_pool(run)
    figures = {name: run.files.figures / f"{name}.png" for name in CAPTIONS}
    reached = outcome(run)
    return reached | {
        "verdict": run_verdict(reached, len(config.task.classes), result),
        "command": run.files.begin,
        "preset": base.name if base else None,
        "settings": changed_settings(config, base),
        "rounds": records(rounds.assign(pool_size=rounds["count"].cumsum())) if len(rounds) else [],
        "costs": {key: result[key] for key in COSTS if key in result},
        "review": shlex.join(["dp", "real", "review", str(run.path)]) if pool and has_views(config) else None,
        "near": result.get("near", {}),
        "branches": [
            {"pool_size": row["pool_size"]} | with_error(row["test_accuracy"], row["test_examples"])
            for row in run.branches
        ],
        "versions": result.get("versions", {}),
        "figures": {name: str(file) for name, file in figures.items() if file.exists()},
    }


def run_verdict(reached: Facts, classes: int, result: Mapping[str, Any]) -> str:
    """A sentence: what a run reached, or how far it is."""
    sets = {row["set"]: row for row in reached["accuracies"]}
    name = "test" if "test" in sets else "validation"
    row = sets.get(name)
    examples = f"{reached['pool_size']:,} examples"
    where = f"{reached['step']:,} of {reached['steps']:,}"
    if row is None:
        return f"{reached['name']}, seed {reached['seed']}: not finished, at step {where}, {examples}."
    sentence = f"{reached['name']}, seed {reached['seed']}: {examples} reached {percent(row)} % on the {name} set"
    if not reached["complete"]:
        return f"{sentence}; not finished, at step {where}."
    seconds = result.get("seconds")
    sentence += f", in {readable_time(seconds)}" if seconds else ""
    if "quick" in result:
        return f"{sentence}; {result['quick']}."
    balanced = result.get("test_balanced_accuracy") or row["accuracy"]
    if row["images"] and guesses(balanced, row["images"], classes):
        return f"{sentence}. {chance_remark(classes)}"
    return f"{sentence}."


def readable_time(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.3g} seconds"


def _validation(run: Run) -> ExampleSet:
    return load_data(run.config, test=False).validation


def _judge_facts(name: str, judge: Judge, real: ExampleSet) -> Facts:
    right = confirmed(judge, real.x, real.y.numpy())
    return {"what": name, "images": len(right)} | with_error(float(right.mean()), len(right))


def comparison_facts(comparison: Comparison, judge: str | None) -> Facts:
    """The arms of a comparison, and the outcome of each run. judge: adds what it says of each arm's samples."""
    arms = comparison.arms
    figure = comparison.path / "comparison.png"
    runs = list(comparison.runs())
    task = runs[0][1].config.task
    judged = {}
    if judge:
        classifier = load_judge(judge, task)
        real = _validation(runs[0][1])
        judged = {"judge": _judge_facts(judge, classifier, real)}
        arms = arms.join(judged_arms(comparison, classifier, real.x), on="series")
    return judged | {
        "comparison": str(comparison.path),
        "verdict": verdict(comparison.read("runs"), arms, len(task.classes)),
        "command": comparison.command,
        "axis": axis_of(arms),
        "arms": records(arms),
        "sets": records(comparison.read("sets")),
        "runs": [outcome(run) for _, run in runs],
        "figures": {"comparison": str(figure)} if figure.exists() else {},
    }


def percent(row: Facts) -> str:
    """The accuracy of a row in percent, with its standard error if known."""
    error = "" if row["se"] is None else f" ± {100 * row['se']:.2f}"
    return f"{100 * row['accuracy']:.2f}{error}"


def with_error(accuracy: float, n: int | None) -> Facts:
    """An accuracy over n independent examples, and its binomial standard error."""
    return {"accuracy": accuracy, "se": standard_error(accuracy, n) if n else None}


def changed_settings(config: Config, base: Config | None) -> dict[str, list[Any]]:
    """The settings that differ, by key: the value of the base (None without a base) and that of the configuration."""
    own = flat(config.model_dump(mode="json", exclude_none=True, exclude_defaults=base is None))
    before = flat(base.model_dump(mode="json", exclude_none=True)) if base else {}
    keys = [key for key in dict.fromkeys([*before, *own]) if before.get(key) != own.get(key)]
    return {key: [before.get(key), own.get(key)] for key in keys}
