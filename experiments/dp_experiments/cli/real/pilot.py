"""`dp real pilot`: whether the generator's labels are right where the learner is unsure, from a few hundred samples."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import (
    AcceptChanges,
    Preset,
    ResumeRuns,
    Set,
    Workers,
    at_a_time,
    check_runs,
    judge_option,
    refuse,
)
from dp_experiments.presets.presets import load_preset
from dp_experiments.terminal import emit_json, progress, say, table


def pilot_command(
    preset: Preset,
    settings: Set = [],
    n: Annotated[
        int | None,
        typer.Option("--n", min=4, max=10**6, help="Samples of each run.  Default: 400, or 8 a class."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Practice runs.")] = 3,
    steps: Annotated[
        int | None, typer.Option(min=20, help="Training steps of each run.  Default: as configured, 2000 at most.")
    ] = None,
    judge: Annotated[
        str | None,
        judge_option(
            "that confirms labels.  Default: one that is trained here on the real training images, if there are any."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the pilot.  Default: runs/PRESET-pilot.")] = None,
    resume: ResumeRuns = False,
    accept_changes: AcceptChanges = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Practises on N/2 plain samples and two rounds of N/4 guided ones, and has their labels judged.

    The judge is a classifier of real images. It says how many samples are of the class that was asked for: of plain
    ones, of guided ones, and of those that the learner misses. No test image is looked at.
    """
    from dp_base.files import write_json

    refuse(settings, ("seed",), "a pilot's seeds begin at data.split")
    config = load_preset(preset, settings)
    from dp_experiments.comparing.compare import JOURNAL
    from dp_experiments.pilot.pilot import PilotPlan, pilot, short

    plan = PilotPlan.of(config, n, seeds, steps, judge)
    short(config, plan)  # refuses before anything is made
    check_runs(judge, accept_changes=accept_changes)
    out = out or Path("runs") / f"{config.name}-pilot"
    with claimed(out, JOURNAL, resume):
        found = pilot(config, plan, out, at_a_time(workers), progress, accept_changes)
        facts: dict[str, Any] = {"preset": config.name} | found
        write_json(out / "pilot.json", facts)
    if as_json:
        emit_json(facts)
    else:
        _show(facts)


def _show(facts: dict[str, Any]) -> None:
    own = facts["judge"]
    table(
        facts["rounds"],
        title=f"confirmed by a judge that is right about {own['accuracy']:.1%} "
        f"of {own['images']:,} real images; round 0 is plain",
    )
    told = ", ".join(f"{name} {one['displaced']:.1%}" for name, one in facts["boundary"].items())
    say(f"real images on another side of the boundary, as labels put it, than the judge says: {told}")
    minutes = facts["seconds"] / 60
    drawing = facts["generation_seconds"] / 60
    say(f"all runs took {minutes:.1f} minutes, {drawing:.1f} of them drawing")
    for remark in facts["remarks"]:
        say(remark)
