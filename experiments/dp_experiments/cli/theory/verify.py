"""`dp theory verify`: theory against simulation, with exit status 1 where they disagree."""

from typing import Annotated

from typer import Exit, Option

from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import cores
from dp_experiments.terminal.lines import answer, progress, records


def verify_command(
    trials: Annotated[int, Option(min=4, help="Experiments for each cell.")] = 200,
    as_json: Json = False,
) -> None:
    """Holds Theorem 1 against its exact law, and the law against the experiment, over a set of problems.

    Exit status: 0 they agree, 1 they disagree somewhere.
    """
    from dp_theory.verification import CELLS, verify

    with progress("verify", len(CELLS)) as advance:
        cells = verify(trials=trials, workers=cores(), advance=advance)
    largest = cells[["z", "dense_z", "level"]].abs().max()
    precision = float((cells["se"] / cells["simulation"].abs()).max())
    disagree = int((cells["verdict"] == "DISAGREES").sum())
    answer(
        as_json,
        {
            "cells": records(cells),
            "largest_z": largest["z"],
            "largest_dense_z": largest["dense_z"],
            "level": largest["level"],
            "disagree": disagree,
            "largest_relative_se": precision,
        },
        {"theory against simulation": records(cells.drop(columns=["level", "d", "dense_d"]))},
        f"{len(cells)} comparisons: law at d = {cells['d'].max()} against theory, largest |z| {largest['z']:.2f};"
        f" experiment against law at d = {cells['dense_d'].max()}, largest |z| {largest['dense_z']:.2f}"
        f" (level {largest['level']:.2f}); {disagree} disagree",
        f"largest standard error {precision:.2%} of the value; {(cells['verdict'] == 'imprecise').sum()} above 1 %",
    )
    if disagree:
        raise Exit(1)
