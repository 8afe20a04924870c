"""`dp real pilot`: whether practice is likely to pay, from a few hundred samples."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dp_base.locks import claimed
from experiments.cli.options import Json, Preset, Set, Workers, at_a_time, refuse
from experiments.presets.presets import load_preset
from experiments.terminal import emit_json, progress, say, table


def pilot_command(
    preset: Preset,
    settings: Set = [],  # noqa: B006 (typer reads the default, nothing mutates it)
    n: Annotated[
        int | None, typer.Option("--n", min=4, max=10**6, help="Samples of an arm. Default: 400, or 8 a class.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Runs of each arm; the interval is theirs.")] = 3,
    steps: Annotated[int | None, typer.Option(min=20, help="Of training. Default: as set, 2000 at most.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="RUN|FOLDER|ID", help="A run, or an image classifier of transformers, that confirms "
                     "labels. Default: trained here on the real training images, if there are any."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Default: runs/PRESET-pilot.")] = None,
    resume: Annotated[bool, typer.Option(help="Keep the finished runs in --out, add what is missing.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Try practice with a few hundred samples: are hard samples of their class, and what are they worth?

    Trains on N/4, N/2 and N plain samples, and on N/2 plain ones with two rounds of N/4 that are guided. A classifier
    of real images says how many samples are of the class that was asked for. No test image is looked at.
    """
    from dp_base.files import write_json

    refuse(settings, ("seed",), "a pilot's seeds begin at data.split")
    config = load_preset(preset, settings)
    from experiments.comparing.compare import JOURNAL
    from experiments.pilot.pilot import Plan, pilot, short

    plan = Plan.of(config, n, seeds, steps, judge)
    short(config, plan)  # refuses before anything is made
    out = out or Path("runs") / f"{config.name}-pilot"
    with claimed(out, JOURNAL, resume):
        facts: dict[str, Any] = {"preset": config.name} | pilot(config, plan, out, at_a_time(workers), progress)
        write_json(out / "pilot.json", facts)
    if as_json:
        emit_json(facts)
        return
    table([{"arm": "static"} | row for row in facts["static"]] + [{"arm": "practice"} | facts["practice"]],
          columns=["arm", "samples", "validation", "se", "plain"],
          title="accuracy on validation images, and on plain samples not trained on, in percent")  # fmt: skip
    if facts["rounds"]:
        own = facts["judge"]
        table(facts["rounds"], title=f"confirmed by a judge that is right about {own['accuracy']:.1%} "
              f"of {own['images']:,} real images; round 0 is plain")  # fmt: skip
    if facts["boundary"]:
        told = ", ".join(f"{name} {one['displaced']:.1%}" for name, one in facts["boundary"].items())
        say(f"real images on another side of the boundary, as labels put it, than the judge says: {told}")
    b, minutes = facts["exponent"], facts["seconds"] / 60
    say(f"static error ~ n^-b, b = {b['value']:.2g} ({b['low']:.2g} to {b['high']:.2g})")
    if facts["cost"] is not None:
        say(f"a sample that practice adds costs {facts['cost']:.2g} times a plain one")
    say(f"all runs took {minutes:.1f} minutes, {facts['generation_seconds'] / 60:.1f} of them drawing")
    say(facts["verdict"])
