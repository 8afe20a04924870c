"""`dp theory sweep`: ways to choose data against each other, over sizes of data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import dp_theory
from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_theory.numerics.costs import AXES, DIRECT_COST, TRAINING_COST
from dp_theory.rules import rule_names
from experiments.cli.theory.options import (
    VALUES,
    DirectCost,
    Engine,
    Json,
    Seed,
    TrainingCost,
    WorkersOrAll,
    cores,
    values,
)
from experiments.terminal import emit_json, progress, records, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

JOURNAL = "cells.jsonl"  # finished cells of a sweep
AXIS_LABELS = {
    "generated": "samples generated", "kept": "samples kept", "compute": "compute in units of one plain sample",
}  # fmt: skip


def sweep_command(
    alpha: Annotated[str, typer.Option(help=f"Keep-hard threshold; the rules are matched at its p: {VALUES}.")] = "0.5",
    rho: Annotated[str, typer.Option(help=f"cos(w_s, w0): {VALUES}.")] = "0.9",
    n: Annotated[str | None, typer.Option(help=f"Samples generated: {VALUES} (geometric); default d/4 to 16d.")] = None,
    lam: Annotated[str, typer.Option(help=f"Ridge per training row: {VALUES} (geometric).")] = "0.01",
    rule: Annotated[str, typer.Option(help="Rules, a comma list.")] = ",".join(rule_names("swept")),
    d: Annotated[int, typer.Option(help="Dimension.")] = 512,
    trials: Annotated[int, typer.Option(help="Independent experiments per point.")] = 64,
    engine: Engine = "law",
    x: Annotated[str, typer.Option(help="Axis: {}, {} or {}.".format(*AXES))] = AXES[0],
    direct_cost: DirectCost = DIRECT_COST,
    training_cost: TrainingCost = TRAINING_COST,
    out: Annotated[Path | None, typer.Option(help="New or empty folder for sweep.csv, .png and .pdf.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Do not repeat the cells that --out has.")] = False,
    seed: Seed = 0, workers: WorkersOrAll = None,
    dask: Annotated[str | None, typer.Option(help="Address of a dask scheduler to compute on.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Static, pruned and directly drawn data at the same kept fraction: predicted lines, simulated points."""
    from dp_theory.budgets.sweeps import noise_check, steps
    from dp_theory.budgets.winners import winners
    from dp_theory.numerics.parallel import on_cluster

    alphas, rhos = values("alpha", alpha), values("rho", rho)
    rules = [name.strip() for name in rule.split(",")]
    if resume and out is None:
        raise InputError("--resume needs --out: the folder of the sweep to go on with")
    with claimed(out, JOURNAL, resume), on_cluster(dask):
        with progress("sweep", steps(alphas, rhos, rules, trials)) as advance:
            result = dp_theory.sweep(
                alphas, rho=rhos, lam=values("lam", lam, geometric=True), rules=rules, d=d, trials=trials,
                engine=engine, n=None if n is None else values("n", n, geometric=True), x=x,
                direct_cost=direct_cost, training_cost=training_cost, seed=seed,
                workers=workers or (cores() if dask is None else None), advance=advance,
                journal=None if out is None else out / JOURNAL,
            )  # fmt: skip
        if out is not None:
            _write(result, x, out)
    best, check = winners(result), noise_check(result)
    points = result.query("kind == 'simulated'").rename(columns={"y": "simulated"})
    varying = [name for name in ("alpha", "rho", "lam") if points[name].nunique() > 1]
    columns = ["strategy", "rule", *varying, "generated", "kept", "compute", "predicted", "simulated", "se", "z"]
    rows = records(points[columns])
    if as_json:
        emit_json({"table": rows, "winners": records(best), **check})
        return
    table(rows, title="test error")
    print()
    table(records(best[[*varying, "from", "to", "series"]]), title=f"least predicted error ({AXIS_LABELS[x]})")
    print(
        f"\nlargest |z| {check['largest_z']:.2f} of {check['points']} points (noise alone stays below"
        f" {check['noise_level']:.2f} in 95 % of sweeps); largest standard error {check['largest_se']:.4f}"
    )
    if out is not None:
        print(out / "sweep.csv", out / "sweep.png", out / "sweep.pdf", sep="\n")


def _write(result: "DataFrame", x: str, out: Path) -> None:
    from dp_base.files import write_text
    from figures.curves import save

    write_text(out / "sweep.csv", result.to_csv(index=False))
    save(picture(result, x), out / "sweep")


def picture(result: "DataFrame", x: str) -> "Figure":
    """A panel for prune and one for direct, each with the static curve; more of them where alpha, rho or lam vary."""
    import pandas as pd

    from figures.curves import draw_curves

    panels = []
    varying = [name for name in ("alpha", "rho", "lam") if result[name].nunique() > 1]
    for setting, rows in result.groupby(["alpha", "rho", "lam"], sort=False):
        where = ", ".join(f"{k} = {v:g}" for k, v in zip(("alpha", "rho", "lam"), setting, strict=True) if k in varying)
        for strategy in ("prune", "direct"):
            panel = rows[rows["strategy"].isin(["static", strategy])]
            series = panel["rule"].where(panel["strategy"] != "static", "static")
            panels.append(panel.assign(panel=f"{strategy} {where}".strip(), series=series))
    return draw_curves(
        pd.concat(panels), xlabel=AXIS_LABELS[x], ylabel="test error", logx=True, logy=True, panel="panel"
    )
