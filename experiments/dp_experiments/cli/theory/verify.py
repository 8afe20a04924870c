"""`dp theory verify`: theory against simulation and computer algebra, with exit status 1 where they disagree."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import Seed, WorkersOrAll, cores
from dp_experiments.terminal import emit_json, progress, records, table

if TYPE_CHECKING:
    from pandas import DataFrame

DISAGREES = "DISAGREES"  # the verdict of a comparison that noise does not explain
IMPRECISE = "imprecise"  # the verdict of one whose standard error is too large to tell


def verify_command(
    derivations: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Show derivations instead: lemma1, lemma2, corollary1, scaling, keep-hard, practice, softmax.",
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
        if as_json:
            emit_json(derived)
        else:
            for name in derivations:
                found = derived[name]
                print(found["title"], *(f"  {key} = {text}" for key, text in found["formulas"].items()), "", sep="\n")
        if _wrong(derived):
            raise typer.Exit(1)
        return
    processes = workers or cores()
    with progress("verify", len(CELLS)) as advance:
        cells = verify(d=d, dense_d=dense_d, trials=trials, seed=seed, workers=processes, advance=advance)
    wrong = _wrong(_derived(()))
    if as_json:
        _show_json(cells, wrong)
    else:
        _show(cells, d, dense_d)
        print(f"\nderived formulas that do not give what they must: {', '.join(wrong) or 'none'}")
    if wrong or _count(cells, DISAGREES):
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


def _count(cells: "DataFrame", verdict: str) -> int:
    return int((cells["verdict"] == verdict).sum())


def _largest(cells: "DataFrame", column: str) -> float:
    return float(cells[column].abs().max())


def _precision(cells: "DataFrame") -> float:
    return float((cells["se"] / cells["simulation"].abs()).max())


def _show_json(cells: "DataFrame", wrong: list[str]) -> None:
    emit_json(
        {
            "cells": records(cells),
            "largest_z": _largest(cells, "z"),
            "largest_dense_z": _largest(cells, "dense_z"),
            "level": _largest(cells, "level"),
            "disagree": _count(cells, DISAGREES),
            "derivations_wrong": wrong,
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
