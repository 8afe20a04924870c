"""`dp theory …`: read options, call dp_theory, show what it returns."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import dp_theory
from dp_base.errors import InputError
from dp_base.files import claimed
from dp_theory.costs import DIRECT_COST, TRAINING_COST
from dp_theory.problem import Problem
from dp_theory.rules import RULES, rule_names
from experiments.cli.terminal import emit_json, progress, table
from experiments.cli.theory.optimum import derive, errata, optimum
from experiments.cli.theory.practice import DirectCost, TrainingCost, practice

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

app = typer.Typer(no_args_is_help=True, help="Exact asymptotics of learning from selected data, and their simulation.")

THRESHOLD_RULES = ", ".join(name for name, kind in RULES.items() if kind.parameter == "alpha")
Rule = Annotated[str, typer.Option(help=f"Selection rule: {', '.join(RULES)}.")]
Alpha = Annotated[float | None, typer.Option(help=f"Threshold of {THRESHOLD_RULES}, in units of std(x·w_s).")]
Keep = Annotated[float | None, typer.Option(help="Kept fraction p, instead of alpha or omega.")]
Omega = Annotated[float | None, typer.Option(help="Strength of the entropy rule; positive: hard rows.")]
Kappa = Annotated[float, typer.Option(help="Slope of the entropy rule's logit.")]
Rho = Annotated[float, typer.Option(help="cos(w_s, w0), in [-1, 1].")]
Phi = Annotated[float, typer.Option(help="Aspect ratio d/n, n the size of the pool.")]
Lam = Annotated[float, typer.Option(help="Ridge per pool row; 0: the ridgeless limit.")]
Engine = Annotated[str, typer.Option(help="dense (the naive experiment) or law (its exact law, fast).")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
JOURNAL = "cells.jsonl"  # finished cells of a sweep
AXIS_LABELS = {
    "generated": "samples generated", "kept": "samples kept", "compute": "compute in units of one plain sample",
}  # fmt: skip
Values = "value, comma list or start:stop:count"


@app.command()
def predict(
    rho: Rho, phi: Phi, lam: Lam = 0.0, rule: Rule = "keep-hard", alpha: Alpha = None, keep: Keep = None,
    omega: Omega = None, kappa: Kappa = 1.0, as_json: Json = False,
) -> None:  # fmt: skip
    """Theorem 1 (Corollary 1 at --lam 0): test error, overlap and squared norm in the limit of large d."""
    chosen = dp_theory.make_rule(rule, alpha=alpha, keep=keep, omega=omega, kappa=kappa)
    _show(asdict(dp_theory.predict(Problem(chosen, rho, phi, lam))), as_json)


@app.command()
def simulate(
    rho: Rho, phi: Phi, lam: Lam = 0.0, rule: Rule = "keep-hard", alpha: Alpha = None, keep: Keep = None,
    omega: Omega = None, kappa: Kappa = 1.0,
    d: Annotated[int, typer.Option(help="Dimension.")] = 350,
    trials: Annotated[int, typer.Option(help="Independent experiments.")] = 20,
    engine: Engine = "dense", seed: Seed = 0, workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    as_json: Json = False,
) -> None:  # fmt: skip
    """The same experiment at finite d: means over trials with their standard errors."""
    chosen = dp_theory.make_rule(rule, alpha=alpha, keep=keep, omega=omega, kappa=kappa)
    problem = Problem(chosen, rho, phi, lam)
    _show(asdict(dp_theory.simulate(problem, d, trials, engine=engine, seed=seed, workers=workers)), as_json)


@app.command()
def sweep(
    alpha: Annotated[str, typer.Option(help=f"Keep-hard threshold; the rules are matched at its p: {Values}.")] = "0.5",
    rho: Annotated[str, typer.Option(help=f"cos(w_s, w0): {Values}.")] = "0.9",
    n: Annotated[str | None, typer.Option(help=f"Samples generated: {Values} (geometric); default d/4 to 16d.")] = None,
    lam: Annotated[str, typer.Option(help=f"Ridge per training row: {Values} (geometric).")] = "0.01",
    rule: Annotated[str, typer.Option(help="Rules, a comma list.")] = ",".join(rule_names("swept")),
    d: Annotated[int, typer.Option(help="Dimension.")] = 512,
    trials: Annotated[int, typer.Option(help="Independent experiments per point.")] = 64,
    engine: Engine = "law",
    x: Annotated[str, typer.Option(help="Axis: generated, kept or compute.")] = "generated",
    direct_cost: DirectCost = DIRECT_COST,
    training_cost: TrainingCost = TRAINING_COST,
    out: Annotated[Path | None, typer.Option(help="New or empty folder for sweep.csv, .png and .pdf.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Do not repeat the cells that --out has.")] = False,
    seed: Seed = 0, workers: Workers = None,
    dask: Annotated[str | None, typer.Option(help="Address of a dask scheduler to compute on.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Static, pruned and directly drawn data at the same kept fraction: predicted lines, simulated points."""
    from dp_theory.parallel import on_cluster
    from dp_theory.sweeps import noise_check, steps, winners

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
                workers=workers or (_cores() if dask is None else None), advance=advance,
                journal=None if out is None else out / JOURNAL,
            )  # fmt: skip
        if out is not None:
            _write(result, x, out)
    best, check = winners(result), noise_check(result)
    points = result.query("kind == 'simulated'").rename(columns={"y": "simulated"})
    varying = [name for name in ("alpha", "rho", "lam") if points[name].nunique() > 1]
    columns = ["strategy", "rule", *varying, "generated", "kept", "compute", "predicted", "simulated", "se", "z"]
    records = _records(points[columns])
    if as_json:
        emit_json({"table": records, "winners": _records(best), **check})
        return
    table(records, title="test error")
    print()
    table(_records(best[[*varying, "from", "to", "series"]]), title=f"least predicted error ({AXIS_LABELS[x]})")
    print(
        f"\nlargest |z| {check['largest_z']:.2f} of {check['points']} points (noise alone stays below"
        f" {check['noise_level']:.2f} in 95 % of sweeps); largest standard error {check['largest_se']:.4f}"
    )
    if out is not None:
        print(out / "sweep.csv", out / "sweep.png", out / "sweep.pdf", sep="\n")


@app.command()
def verify(
    d: Annotated[int, typer.Option(help="Dimension at which the law is held against theory.")] = 20_000,
    dense_d: Annotated[int, typer.Option(help="Dimension at which the experiment is held against the law.")] = 200,
    trials: Annotated[int, typer.Option(help="Experiments per cell.")] = 200,
    everything: Annotated[bool, typer.Option("--all", help="Also hold what goes beyond Theorem 1.")] = False,
    seed: Seed = 0, workers: Workers = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Hold theory against simulation over a set of cells; exit 1 where they disagree."""
    from dp_theory.verification.theorem1 import CELLS

    workers = workers or _cores()
    with progress("verify", len(CELLS)) as advance:
        result = dp_theory.verify(
            d=d, dense_d=dense_d, trials=trials, seed=seed, workers=workers, advance=advance
        )  # fmt: skip
    beyond = _beyond(result, seed, workers) if everything else {}
    counts = {verdict: int((result["verdict"] == verdict).sum()) for verdict in ("DISAGREES", "imprecise")}
    largest = {name: float(result[name].abs().max()) for name in ("z", "dense_z", "level")}
    precision = float((result["se"] / result["simulation"].abs()).max())
    if as_json:
        emit_json({"cells": _records(result), "largest_z": largest["z"], "largest_dense_z": largest["dense_z"],
                   "level": largest["level"], "disagree": counts["DISAGREES"], "largest_relative_se": precision,
                   **beyond})  # fmt: skip
    else:
        table(_records(result.drop(columns=["level", "trials", "d", "dense_d"])), title="theory against simulation")
        print(
            f"\n{len(result)} comparisons: law at d = {d} against theory, largest |z| {largest['z']:.2f};"
            f" experiment against law at d = {dense_d}, largest |z| {largest['dense_z']:.2f}"
            f" (level {largest['level']:.2f}); {counts['DISAGREES']} disagree\n"
            f"largest standard error {precision:.2%} of the value; {counts['imprecise']} above 1 %"
        )
        if everything:
            print()
            table(beyond["beyond"], title="beyond Theorem 1, against the experiment")
            print("\nz of the test error, all cells: " + ", ".join(f"{k} {v:.3g}" for k, v in beyond["noise"].items()))
    if counts["DISAGREES"] or (everything and beyond["noise"]["p_value"] < 0.001):
        raise typer.Exit(1)


def _beyond(result: "DataFrame", seed: int, workers: int) -> dict[str, Any]:
    """What goes beyond Theorem 1, and the distribution of the z of its cells and those of `result`."""
    import pandas as pd

    from dp_theory.verification.beyond import feature_cells, features, loops
    from dp_theory.verification.noise import distribution

    with progress("beyond Theorem 1", len(feature_cells()) + len(loops())) as advance:
        found = features(seed=seed, workers=workers, advance=advance)
    cells = pd.concat([rows.query("quantity == 'test_error'")[["z", "trials"]] for rows in (result, found)])
    noise = distribution(cells["z"].to_numpy(), cells["trials"].to_numpy())
    return {"beyond": _records(found), "noise": noise}


for command in (practice, optimum, derive, errata):
    app.command()(command)


def values(name: str, text: str, geometric: bool = False) -> list[float]:
    """Numbers of '0.5', '0.1,0.5' or 'start:stop:count' (both ends included; even steps, or even ratios)."""
    import numpy as np

    parts = re.split("[:,]", text)
    try:
        numbers = [float(part) for part in parts]
        if ":" not in text:
            return numbers
        start, stop, count = numbers
        if "," in text or count != int(count) or count < 1:
            raise ValueError
    except (ValueError, OverflowError):
        raise InputError(f"--{name} '{text}' is malformed: a value, a comma list or start:stop:count") from None
    if geometric and not (start > 0 and stop > 0):
        raise InputError(f"--{name} '{text}' must start and stop above 0: its steps are equal ratios")
    return (np.geomspace if geometric else np.linspace)(start, stop, int(count)).tolist()


def _show(record: dict, as_json: bool) -> None:
    emit_json(record) if as_json else table([record])


def _records(rows: "DataFrame") -> list[dict[str, Any]]:
    return [dict(row) for row in rows.to_dict("records")]  # pyright: ignore[reportReturnType]  # columns are strings


def _cores() -> int:
    import joblib

    return joblib.cpu_count()


def _write(result: "DataFrame", x: str, out: Path) -> None:
    from dp_base.files import whole_file
    from figures.curves import save

    with whole_file(out / "sweep.csv") as partial:
        result.to_csv(partial, index=False)
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
