"""`dp real tune`: each arm's own best settings, by validation accuracy."""

import shlex
from pathlib import Path
from typing import Annotated

from typer import Option

from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import Dask, Preset, Set, Workers, arm_names, refuse, requested_cluster, splits_of
from dp_experiments.cli.real.remarks import judged_twice
from dp_experiments.presets.presets import load_preset, set_options
from dp_experiments.terminal.lines import answer, say


def tune_command(
    preset: Preset,
    settings: Set = [],
    arms: Annotated[str, Option(help="Comma-separated. ARM-N: with N samples.")] = "practice,static",
    trials: Annotated[int, Option(min=1, max=100_000, help="Trials of each arm.")] = 30,
    search: Annotated[
        list[str],
        Option(
            metavar="KEY=LOW:HIGH[:log]",
            help="Search this range of a key, or KEY=[VALUE, …] this choice, in place of the default. One value: keep "
            "it.",
        ),
    ] = [],
    seeds: Annotated[int, Option(min=1, max=1000, help="Runs of each trial.")] = 1,
    splits: Annotated[
        int | None, Option(min=1, help="Data splits, each with a generator of its own.  Default: one for each seed.")
    ] = None,
    first: Annotated[int, Option(min=0, help="The first seed, and the first data split.")] = 0,
    batch: Annotated[int, Option(min=1, max=1000, help="Trials of an arm that are proposed together.")] = 4,
    out: Annotated[Path | None, Option(help="Folder of the tuning.  Default: runs/PRESET-tune.")] = None,
    resume: Annotated[
        bool, Option("--resume", help="Go on with the tuning in --out; more --trials add to it.")
    ] = False,
    workers: Workers = None,
    dask: Dask = None,
    as_json: Json = False,
) -> None:
    """Each arm has the same number of trials. `dp real compare --tuned` compares the arms at their best."""
    from dp_base.imports import require_extra

    require_extra("tune", "dp real tune")
    refuse(settings, ("data.split",), "--first and --splits say which splits there are")
    config = load_preset(preset, settings)
    names = arm_names(arms)
    from dp_experiments.compare.tune.space import at_end, read_searches
    from dp_experiments.compare.tune.tune import REQUEST, Plan, spaces_of, tune
    from dp_real.config.load import key_of

    plan = Plan(names, read_searches(search), seeds, splits_of(seeds, splits), first, batch)
    spaces = spaces_of(config, plan)
    out = out or Path("runs") / f"{config.name}-tune"
    where = requested_cluster(dask, workers)
    with claimed(out, REQUEST, resume):
        for arm, space in spaces.items():
            say(f"{arm}: {', '.join(space)}")
        if remark := judged_twice(config):
            say(remark)
        with where as at_a_time:
            best = tune(config, plan, trials, out, at_a_time)
    keys = list(dict.fromkeys(key for row in best for key in row if key not in ("arm", "problem")))
    kept = [setting for setting in settings if key_of(setting) != "seed"]  # compare has --first
    compare = ["dp", "real", "compare", preset, "--arms", arms, "--tuned", str(out), *set_options(kept)]
    ends = [
        f"{row['arm']}: the best {key} lies at the {end} end of its range, {row[key]:g}"
        for row in best
        for key, distribution in spaces[row["arm"]].items()
        if (end := at_end(distribution, row[key]))
    ]
    answer(
        as_json,
        {"preset": config.name, "arms": best},
        [{"": key} | {row["arm"]: row.get(key) for row in best} for key in keys],
        f"{out}/best.csv, trials.csv; {shlex.join(compare)} compares them on fresh seeds and splits",
        f"{'; '.join(ends)}: a wider --search may find better" if ends else "",
    )
