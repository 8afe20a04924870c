"""`dp theory verify`: theory against simulation and computer algebra, with exit status 1 where they disagree."""

from collections.abc import Collection
from typing import Annotated, Any

import typer

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import Seed, WorkersOrAll, cores
from dp_experiments.terminal import answer, progress, records

DISAGREES = "DISAGREES"  # the verdict of a comparison that noise does not explain
IMPRECISE = "imprecise"  # the verdict of one whose standard error is too large to tell


def verify_command(
    derivations: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Show derivations instead: lemma1, lemma2, corollary1, scaling, keep-hard.",
        ),
    ] = None,
    d: Annotated[int, typer.Option(help="Dimension at which the law is held against theory.")] = 20_000,
    dense_d: Annotated[int, typer.Option(help="Dimension at which the experiment is held against the law.")] = 200,
    trials: Annotated[int, typer.Option(help="Experiments for each cell.")] = 200,
    seed: Seed = 0,
    workers: WorkersOrAll = None,
    as_json: Json = False,
) -> None:
    """Holds Theorem 1 against its exact law, and the law against the experiment, over a set of problems.

    Derives the formulas by computer algebra, too. Exit status: 0 they agree, 1 they disagree somewhere.
    """
    from dp_theory.verification import CELLS, verify

    if derivations:
        derived = _derived(derivations)
        shown = {
            derived[name]["title"]: [{"": key, "=": text} for key, text in derived[name]["formulas"].items()]
            for name in derivations
        }
        answer(as_json, derived, shown)
        if _wrong(derived):
            raise typer.Exit(1)
        return
    processes = workers or cores()
    with progress("verify", len(CELLS)) as advance:
        cells = verify(d=d, dense_d=dense_d, trials=trials, seed=seed, workers=processes, advance=advance)
    wrong = _wrong(_derived(()))
    largest = cells[["z", "dense_z", "level"]].abs().max()
    precision = float((cells["se"] / cells["simulation"].abs()).max())
    disagree = int((cells["verdict"] == DISAGREES).sum())
    answer(
        as_json,
        {
            "cells": records(cells),
            "largest_z": largest["z"],
            "largest_dense_z": largest["dense_z"],
            "level": largest["level"],
            "disagree": disagree,
            "derivations_wrong": wrong,
            "largest_relative_se": precision,
        },
        {"theory against simulation": records(cells.drop(columns=["level", "trials", "d", "dense_d"]))},
        f"{len(cells)} comparisons: law at d = {d} against theory, largest |z| {largest['z']:.2f};"
        f" experiment against law at d = {dense_d}, largest |z| {largest['dense_z']:.2f}"
        f" (level {largest['level']:.2f}); {disagree} disagree",
        f"largest standard error {precision:.2%} of the value; {(cells['verdict'] == IMPRECISE).sum()} above 1 %",
        f"derived formulas that do not give what they must: {', '.join(wrong) or 'none'}",
    )
    if wrong or disagree:
        raise typer.Exit(1)


def _derived(names: Collection[str]) -> dict[str, Any]:
    import sympy

    from dp_theory.derive import DERIVATIONS

    derived = {}
    for name in names or DERIVATIONS:
        if name not in DERIVATIONS:
            raise InputError(f"there is no derivation '{name}': one of {', '.join(DERIVATIONS)}")
        found = DERIVATIONS[name]()
        formulas = {
            key: sympy.sstr(value, full_prec=False) for key, value in (found.results | found.identities).items()
        }
        derived[name] = {"title": found.title, "formulas": formulas, "zero": list(found.identities)}
    return derived


def _wrong(derived: dict[str, Any]) -> list[str]:
    return [key for found in derived.values() for key in found["zero"] if found["formulas"][key] != "0"]
