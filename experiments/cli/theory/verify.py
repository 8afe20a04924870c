"""`dp theory verify`: theory against simulation, with exit status 1 where they disagree."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

import dp_theory
from experiments.cli.theory.options import Json, Seed, WorkersOrAll, cores
from experiments.terminal import emit_json, progress, records, table

if TYPE_CHECKING:
    from pandas import DataFrame


def verify_command(
    d: Annotated[int, typer.Option(help="Dimension at which the law is held against theory.")] = 20_000,
    dense_d: Annotated[int, typer.Option(help="Dimension at which the experiment is held against the law.")] = 200,
    trials: Annotated[int, typer.Option(help="Experiments per cell.")] = 200,
    everything: Annotated[bool, typer.Option("--all", help="Also hold what goes beyond Theorem 1.")] = False,
    seed: Seed = 0, workers: WorkersOrAll = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Hold theory against simulation over a set of cells; exit 1 where they disagree."""
    from dp_theory.verification.noise import is_noise
    from dp_theory.verification.theorem1 import CELLS

    workers = workers or cores()
    with progress("verify", len(CELLS)) as advance:
        result = dp_theory.verify(
            d=d, dense_d=dense_d, trials=trials, seed=seed, workers=workers, advance=advance
        )  # fmt: skip
    beyond = _beyond(result, seed, workers) if everything else {}
    counts = {verdict: int((result["verdict"] == verdict).sum()) for verdict in ("DISAGREES", "imprecise")}
    largest = {name: float(result[name].abs().max()) for name in ("z", "dense_z", "level")}
    precision = float((result["se"] / result["simulation"].abs()).max())
    if as_json:
        emit_json({"cells": records(result), "largest_z": largest["z"], "largest_dense_z": largest["dense_z"],
                   "level": largest["level"], "disagree": counts["DISAGREES"], "largest_relative_se": precision,
                   **beyond})  # fmt: skip
    else:
        table(records(result.drop(columns=["level", "trials", "d", "dense_d"])), title="theory against simulation")
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
    if counts["DISAGREES"] or (everything and not is_noise(beyond["noise"])):
        raise typer.Exit(1)


def _beyond(result: "DataFrame", seed: int, workers: int) -> dict[str, Any]:
    """What goes beyond Theorem 1, and the distribution of the z of its cells and those of `result`."""
    import pandas as pd

    from dp_theory.verification.beyond import cell_count, features
    from dp_theory.verification.noise import distribution

    with progress("beyond Theorem 1", cell_count()) as advance:
        found = features(seed=seed, workers=workers, advance=advance)
    errors = pd.concat([rows.query("quantity == 'test_error'")[["z", "trials"]] for rows in (result, found)])
    noise = distribution(errors["z"].to_numpy(), errors["trials"].to_numpy())
    return {"beyond": records(found), "noise": noise}
