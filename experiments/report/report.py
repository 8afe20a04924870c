"""What runs were, what they cost and what they reached: as facts, and as one page with the figures in it."""

import base64
import html
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dp_base.errors import InputError
from dp_real.config.arms import arm_config
from dp_real.config.config import Config, load_config
from dp_real.data import class_names
from experiments.presets.presets import load_preset
from experiments.report.run_figures import CAPTIONS, class_counts, leave_figures, open_pool, read_rows

COSTS = {
    "steps": "optimizer steps",
    "processes": "processes",
    "samples_generated": "samples generated, kept or not",
    "samples_seen": "rows trained on, with repeats",
    "seconds": "seconds",
    "generation_seconds": "seconds of generation",
    "training_seconds": "seconds of training and validation",
    "denoiser_forwards": "forward passes of the denoiser, counted by sample",
    "denoiser_backwards": "backward passes of the denoiser",
    "generation_flops": "FLOPs of generation",
    "training_flops": "FLOPs of training",
}
MANY = 30  # classes: of more, the ten hardest are listed
STYLE = """
  body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem; font: 15px/1.5 sans-serif; color: #222 }
  h2 { margin-top: 3.5rem; border-top: 1px solid #ccc; padding-top: 1rem }
  table { border-collapse: collapse; font-size: .85rem; display: block; overflow-x: auto }
  th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #e5e5e5 }
  th { font-weight: normal; color: #666; vertical-align: bottom }
  th:first-child, td:first-child { text-align: left; padding-left: 0 }
  img { width: 100%; max-width: 52rem }
  figcaption, .note { color: #555; font-size: .9rem }
  code { background: #f4f4f4; padding: .1rem .3rem }
"""

Facts = dict[str, Any]


# Facts


def outcome(run: Path) -> Facts:
    """What came of a run so far: complete, step of steps, pool_size, accuracies (a row a set, with its se)."""
    config, result = load_config(run / "config.toml"), read_result(run)
    metrics = read_rows(run / "metrics.jsonl")
    last = result or (metrics.iloc[-1].to_dict() if len(metrics) else {})
    own = [
        {"set": name, "images": result.get(f"{key}_examples")}
        | with_error(last[f"{key}_accuracy"], result.get(f"{key}_examples"))
        for name, key in (("test", "test"), ("validation", "val"))
        if f"{key}_accuracy" in last
    ]
    return {
        "run": str(run),
        "name": config.name,
        "seed": config.seed,
        "complete": bool(result),
        "step": int(last.get("steps", last.get("step", 0))),
        "steps": config.training.steps,
        "pool_size": int(last.get("pool_size", 0)),
        "accuracies": [*own, *result.get("sets", [])],
    }


def run_facts(run: Path) -> Facts:
    """All that a run's files tell. Its figures are drawn if they are not there, or are of a run that goes on."""
    config, result, rounds = load_config(run / "config.toml"), read_result(run), read_rows(run / "rounds.jsonl")
    if not result or not (run / "figures").exists():
        leave_figures(run)
    base, sizes = preset_of(config), rounds["count"].cumsum().tolist() if len(rounds) else []
    branches = [read_result(file.parent) for file in sorted(run.glob("branches/*/result.json"))]
    pool = open_pool(run, config) if (run / "pool").exists() else None
    return outcome(run) | {
        "command": run_command(config, base) or f"dp real run {shlex.quote(str(run / 'config.toml'))}",
        "preset": base.name if base else None,
        "settings": differences(config, base),
        "rounds": [row | {"pool_size": size} for row, size in zip(rounds.to_dict("records"), sizes, strict=True)],
        "costs": {key: result[key] for key in COSTS if key in result} or costs_so_far(run, rounds),
        "classes": class_counts(pool, class_names(config.data)).reset_index().to_dict("records") if pool else [],
        "branches": [
            {"pool_size": row["pool_size"]} | with_error(row["test_accuracy"], row["test_examples"]) for row in branches
        ],
        "versions": result.get("versions", {}),
        "figures": {name: str(file) for name in CAPTIONS if (file := run / "figures" / f"{name}.png").exists()},
    }


def comparison_facts(folder: Path) -> Facts:
    """What `dp real compare` left: the arms, and what came of each of their runs."""
    arms = pd.read_csv(folder / "comparison.csv")
    runs = sorted((folder / "runs").iterdir())
    return {
        "comparison": str(folder),
        "command": compare_command(runs, arms),
        "arms": arms.astype(object).where(arms.notna(), None).to_dict("records"),
        "runs": [outcome(run) for run in runs],
        "figures": {name: str(file) for name in ("comparison",) if (file := folder / f"{name}.png").exists()},
    }


def read_result(run: Path) -> Facts:
    """result.json; empty while the run is not complete."""
    file = run / "result.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def with_error(accuracy: float, n: int | None) -> Facts:
    """An accuracy over n independent examples and its binomial standard error; n is not known before a run's end."""
    return {"accuracy": accuracy, "se": (accuracy * (1 - accuracy) / n) ** 0.5 if n else None}


def costs_so_far(run: Path, rounds: pd.DataFrame) -> Facts:
    """Of an unfinished run, as far as its logs tell."""
    metrics = read_rows(run / "metrics.jsonl")
    last = metrics.iloc[-1] if len(metrics) else {}
    known = {"steps": "step", "samples_generated": "images_generated", "seconds": "seconds"}
    sums = {"generation_seconds": "seconds", "generation_flops": "flops"}
    sums |= {key: key for key in ("denoiser_forwards", "denoiser_backwards")}
    costs: Facts = {key: last[name] for key, name in known.items() if name in last}
    return costs | {key: rounds[name].sum() for key, name in sums.items() if name in rounds}


def preset_of(config: Config) -> Config | None:
    """The preset that a configuration is called after, if there is one."""
    try:
        return load_preset(config.name)
    except InputError:
        return None


def differences(config: Config, base: Config | None) -> dict[str, list[Any]]:
    """key: [value in the preset, value in the run], or [None, value] for what is not a default."""
    own = flat(config.model_dump(mode="json", exclude_none=True, exclude_defaults=base is None))
    before = flat(base.model_dump(mode="json", exclude_none=True)) if base else {}
    keys = [key for key in dict.fromkeys([*before, *own]) if before.get(key) != own.get(key)]
    return {key: [before.get(key), own.get(key)] for key in keys}


def flat(sections: Mapping[str, Any], prefix: str = "") -> Facts:
    """Dotted keys."""
    found: Facts = {}
    for key, value in sections.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def as_options(settings: Mapping[str, list[Any]]) -> list[str]:
    """key=value, as --set takes them."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, (_, value) in settings.items()]


def run_command(config: Config, base: Config | None) -> str | None:
    """The command that repeats a run of a preset; None if it takes more than settings."""
    if base is None:
        return None
    settings = as_options({k: v for k, v in differences(config, base).items() if k != "seed"})
    try:
        if load_preset(config.name, settings, seed=config.seed) != config:
            return None
    except InputError:
        return None
    seed = ["--seed", str(config.seed)] if config.seed != base.seed else []
    return shlex.join(["dp", "real", "run", config.name, *seed, *(part for s in settings for part in ("--set", s))])


def compare_command(runs: Sequence[Path], arms: pd.DataFrame) -> str | None:
    """The command that repeats a comparison of a preset's arms; None if none is found.

    The settings of all arms are those of one of them, if all arms follow from them.
    """
    configs = [(run.name.rpartition("-seed")[0], load_config(run / "config.toml")) for run in runs]
    name, base = configs[0][1].name, preset_of(configs[0][1])
    if base is None:
        return None
    splits = {config.data.split for _, config in configs}
    baseline = next(str(column) for column in arms if str(column).startswith("minus_")).removeprefix("minus_")
    options = ["--arms", ",".join(arms["series"]), "--seeds", str(arms["n_seeds"].max()), "--splits", str(len(splits))]
    options += ["--first", str(min(splits))] if min(splits) else []
    for _, candidate in configs:
        changes = differences(candidate, base)
        settings = as_options({key: change for key, change in changes.items() if key not in ("seed", "data.split")})
        if all(follows(config, arm, settings) for arm, config in configs):
            options += ["--baseline", baseline, *(part for setting in settings for part in ("--set", setting))]
            return shlex.join(["dp", "real", "compare", name, *options])
    return None


def follows(config: Config, arm: str, settings: list[str]) -> bool:
    """Whether a run of an arm is what the preset with these settings makes of it."""
    try:
        whole = load_preset(config.name, [*settings, f"data.split={config.data.split}"], seed=config.seed)
        return arm_config(whole, arm) == config
    except InputError:
        return False


# Page


def overview(facts: Sequence[Facts]) -> list[Facts]:
    """A row a run."""
    return [
        {
            "run": run["run"],
            "status": "complete" if run["complete"] else f"step {run['step']} of {run['steps']}",
            "seed": run["seed"],
            "examples": run["pool_size"],
            **{part["set"]: percent(part) for part in run["accuracies"]},
        }
        for run in facts
    ]


def page(facts: Sequence[Facts]) -> str:
    """One HTML file that needs no other: its figures are in it."""
    runs = [fact for fact in facts if "run" in fact]
    body = [comparison_section(fact) for fact in facts if "comparison" in fact]
    body += [table("Runs", overview(runs))] if len(runs) > 1 else []
    body += [run_section(run) for run in runs]
    title = ", ".join(fact.get("run") or fact["comparison"] for fact in facts)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
<h1>Deliberate Practice</h1>
<p class="note">Accuracies are in percent, ± one binomial standard error over the images of a set. How much another seed
would change them is a question for <code>dp real compare</code>.</p>
{"".join(body)}
</html>
"""


def run_section(run: Facts) -> str:
    """A run on the page."""
    resume = f"<code>dp real resume {html.escape(run['run'])}</code> goes on"
    state = "complete" if run["complete"] else f"not finished, at step {run['step']} of {run['steps']}; {resume}"
    origin = f"preset {run['preset']}" if run["preset"] else "default"
    settings = [
        {"key": key} | {name: json.dumps(x, ensure_ascii=False) for name, x in zip((origin, "run"), pair, strict=True)}
        for key, pair in run["settings"].items()
    ]
    classes, many = run["classes"], len(run["classes"]) > MANY
    if many:
        classes = sorted(classes, key=lambda row: -row["wrong"])[:10]
    return f"""
<h2>{html.escape(run["run"])}</h2>
<p>{html.escape(run["name"])}, seed {run["seed"]}: {state}.
<br><code>{html.escape(run["command"])}</code> repeats it.</p>
{table("Accuracy", [shown(row) for row in run["accuracies"]])}
{table("What is not as in the preset" if run["preset"] else "What is not the default", settings)}
{table("Costs", [{"": COSTS[key], "total": value} for key, value in run["costs"].items()])}
{table("Rounds", run["rounds"])}
{table("The ten hardest classes" if many else "Classes", classes)}
{table("Test accuracy when cooled down from each pool size", [shown(row) for row in run["branches"]])}
{"".join(picture(file, CAPTIONS[name]) for name, file in run["figures"].items())}
{table("Made by", [run["versions"]] if run["versions"] else [])}"""


def comparison_section(comparison: Facts) -> str:
    """A comparison on the page."""
    names = {"series": "arm", "generated": "samples generated", "y": "test accuracy (%)"}
    arms = pd.DataFrame(comparison["arms"]).drop(columns=["kind", "y_low", "y_high"]).rename(columns=names)
    command, figures = comparison["command"], comparison["figures"].values()
    return f"""
<h2>{html.escape(comparison["comparison"])}</h2>
<p>{f"<code>{html.escape(command)}</code> repeats it." if command else "The config.toml of each run repeats it."}</p>
{table("Arms, each a mean over its seeds", arms.to_dict("records"))}
{"".join(picture(file, "Mean test accuracy and one standard error over seeds.") for file in figures)}
{table("Runs", overview(comparison["runs"]))}"""


def shown(row: Facts) -> Facts:
    """A row of facts whose accuracy bears its standard error."""
    return {key: value for key, value in row.items() if key not in ("accuracy", "se")} | {"accuracy (%)": percent(row)}


def percent(row: Facts) -> str:
    """The accuracy of a row of facts, with its standard error."""
    return f"{100 * row['accuracy']:.2f}" + ("" if row["se"] is None else f" ± {100 * row['se']:.2f}")


def table(title: str, rows: Sequence[Mapping[Any, Any]]) -> str:
    """A titled table; nothing if there are no rows."""
    if not rows:
        return ""
    cells = [{str(key).replace("_", " "): readable(value) for key, value in row.items()} for row in rows]
    return f"<h3>{title}</h3>\n{pd.DataFrame(cells).to_html(index=False, border=0, na_rep='')}"


def readable(value: Any) -> str:
    """Four digits of what was measured, all of what was counted unless it is huge."""
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value == round(value) and value < 1e9 else f"{value:.4g}"


def picture(file: str, caption: str) -> str:
    """A PNG within the page."""
    data = base64.b64encode(Path(file).read_bytes()).decode()
    return (
        f'<figure><img alt="" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>\n"
    )
