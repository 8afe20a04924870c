"""`dp theory sweep`: ways to choose data held against each other, over the number of samples."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import (
    GRAMMAR,
    MOST_MINUTES,
    VALUES,
    Engine,
    MostMinutes,
    Seed,
    WorkersOrAll,
    allow_work,
    cores,
    folder_option,
    names,
    ridge,
    several,
    values,
    write_tables,
    written,
)
from dp_experiments.terminal import answer, progress, records
from dp_theory.numerics.costs import AXES
from dp_theory.rules import rule_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

LAW_SECONDS = 2.5e-7  # of a core for a row of all strategies, measured; with the engine dense also times d²
DENSE_SECONDS = 2e-9
SETTINGS = ("alpha", "rho", "lam")  # what a sweep may vary beside the number of samples
AXIS_LABELS = {
    "generated": "samples generated",
    "kept": "samples kept",
    "compute": "compute in units of one plain sample",
}


def sweep_command(
    alpha: Annotated[str, several("Threshold of keep-hard; other rules keep the same fraction p.")] = "0.5",
    rho: Annotated[str, several("Cosine of the selector with the truth.")] = "0.9",
    n: Annotated[str | None, several("Samples generated.  Default: d/4 to 16d.")] = None,
    lam: Annotated[str, ridge("the training rows", metavar=VALUES)] = "0.01",
    rule: Annotated[str, typer.Option(help=f"Rules, a comma list.  {GRAMMAR}")] = ",".join(rule_names("swept")),
    d: Annotated[int, typer.Option(help="Dimension.")] = 512,
    trials: Annotated[int, typer.Option(help="Independent experiments for each point.")] = 64,
    engine: Engine = "law",
    x: Annotated[str, typer.Option(help=f"What the sizes count: {', '.join(AXES)}.")] = AXES[0],
    out: Annotated[Path | None, folder_option("sweep.csv, .png and .pdf")] = None,
    seed: Seed = 0,
    workers: WorkersOrAll = None,
    dask: Annotated[str | None, typer.Option(help="Address of a dask scheduler to compute on.")] = None,
    most_minutes: MostMinutes = MOST_MINUTES,
    as_json: Json = False,
) -> None:
    """Static, pruned and directly drawn data have the same kept fraction. Lines are predicted, points are simulated.

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps (--n and --lam: equal ratios).
    """
    import dp_theory
    from dp_base.cluster import on_cluster
    from dp_experiments.sweep_table import noise_check, winners
    from dp_theory.budgets.sweeps import default_sizes, steps

    alphas = values("alpha", alpha)
    rhos = values("rho", rho)
    rules = names(rule)
    lams = values("lam", lam, geometric=True)
    sizes = None if n is None else values("n", n, geometric=True)
    rows = sum(sizes or default_sizes(d)) * len(alphas) * len(rhos) * trials
    if dask is None and rows < float("inf"):  # impossible sizes are refused below
        seconds = rows * (DENSE_SECONDS * d**2 * len(lams) if engine == "dense" else LAW_SECONDS) / (workers or cores())
        remedy = f"give fewer --n or --trials, or raise --most-minutes, which is {most_minutes:g}"
        allow_work(seconds, remedy, most_minutes)
    with claimed(out), on_cluster(dask):
        with progress("sweep", steps(alphas, rhos, rules, trials)) as advance:
            result = dp_theory.sweep(
                alphas,
                rho=rhos,
                lam=lams,
                rules=rules,
                d=d,
                trials=trials,
                engine=engine,
                n=sizes,
                x=x,
                seed=seed,
                workers=workers or (cores() if dask is None else None),
                advance=advance,
            )
        if out is not None:
            _write(result, x, out)
    best = winners(result)
    check = noise_check(result)
    varying = _varying(result)
    points = result.query("kind == 'simulated'").rename(columns={"y": "simulated"})
    columns = ["strategy", "rule", *varying, "generated", "kept", "compute", "predicted", "simulated", "se", "z"]
    rows = records(points[columns])
    answer(
        as_json,
        {"table": rows, "winners": records(best), **check},
        {
            "test error": rows,
            f"least predicted error ({AXIS_LABELS[x]})": records(best[[*varying, "from", "to", "series"]]),
        },
        f"largest |z| {check['largest_z']:.2f} of {check['points']} points (noise alone stays below"
        f" {check['noise_level']:.2f} in 95 % of sweeps); largest standard error {check['largest_se']:.4f}",
        *written(out),
    )


def _varying(result: "DataFrame") -> list[str]:
    return [name for name in SETTINGS if result[name].nunique() > 1]


def _write(result: "DataFrame", x: str, out: Path) -> None:
    from dp_figures.curves import save

    write_tables(out, sweep=result)
    save(picture(result, x), out / "sweep")


def picture(result: "DataFrame", x: str) -> "Figure":
    """For each setting a panel for prune and one for direct, each with the static curve."""
    import pandas as pd
    from dp_figures.curves import draw_curves

    varying = _varying(result)
    panels = []
    for setting, rows in result.groupby(list(SETTINGS), sort=False):
        named = zip(SETTINGS, setting, strict=True)
        where = ", ".join(f"{name} = {value:g}" for name, value in named if name in varying)
        for strategy in ("prune", "direct"):
            panel = rows[rows["strategy"].isin(["static", strategy])]
            series = panel["rule"].where(panel["strategy"] != "static", "static")
            panels.append(panel.assign(panel=f"{strategy} {where}".strip(), series=series))
    return draw_curves(
        pd.concat(panels), xlabel=AXIS_LABELS[x], ylabel="test error", logx=True, logy=True, panel="panel"
    )
