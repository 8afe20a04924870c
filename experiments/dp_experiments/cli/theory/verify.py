"""`dp theory verify`: theory against simulation, with exit status 1 where they disagree."""

from typing import TYPE_CHECKING, Annotated

import typer

from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import Seed, WorkersOrAll, cores
from dp_experiments.terminal import emit_json, progress, records, table

if TYPE_CHECKING:
    from pandas import DataFrame

DISAGREES = "DISAGREES"  # the verdict of a comparison that noise does not explain
IMPRECISE = "imprecise"  # the verdict of one whose standard error is too large to tell


def verify_command(
    d: Annotated[int, typer.Option(help="Dimension at which the law is held against theory.")] = 20_000,
    dense_d: Annotated[int, typer.Option(help="Dimension at which the experiment is held against the law.")] = 200,
    trials: Annotated[int, typer.Option(help="Experiments for each cell.")] = 200,
    seed: Seed = 0,
    workers: WorkersOrAll = None,
    as_json: Json = False,
) -> None:
    """Holds Theorem 1 against its exact law, and the law against the experiment, over a set of problems.

    Exit status: 0 they agree, 1 they disagree somewhere.
    """
    from dp_theory.verification import CELLS, verify

    processes = workers or cores()
    with progress("verify", len(CELLS)) as advance:
        cells = verify(d=d, dense_d=dense_d, trials=trials, seed=seed, workers=processes, advance=advance)
    if as_json:
        _show_json(cells)
    else:
        _show(cells, d, dense_d)
    if _count(cells, DISAGREES):
        raise typer.Exit(1)


def _count(cells: "DataFrame", verdict: str) -> int:
    return int((cells["verdict"] == verdict).sum())


def _largest(cells: "DataFrame", column: str) -> float:
    return float(cells[column].abs().max())


def _precision(cells: "DataFrame") -> float:
    """The largest standard error, over the simulated value."""
    return float((cells["se"] / cells["simulation"].abs()).max())


def _show_json(cells: "DataFrame") -> None:
    emit_json(
        {
            "cells": records(cells),
            "largest_z": _largest(cells, "z"),
            "largest_dense_z": _largest(cells, "dense_z"),
            "level": _largest(cells, "level"),
            "disagree": _count(cells, DISAGREES),
            "largest_relative_se": _precision(cells),
        }
    )


def _show(cells: "DataFrame", d: int, dense_d: int) -> None:
    table(records(cells.drop(columns=["level", "trials", "d", "dense_d"])), title="theory against simulation")
    print(
        f"\n{len(cells)} comparisons: law at d = {d} against theory, largest |z| {_largest(cells, 'z'):.2f};"
        f" experiment against law at d = {dense_d}, largest |z| {_largest(cells, 'dense_z'):.2f}"
        f" (level {_largest(cells, 'level'):.2f}); {_count(cells, DISAGREES)} disagree\n"
        f"largest standard error {_precision(cells):.2%} of the value; {_count(cells, IMPRECISE)} above 1 %"
    )
