"""`dp theory verify`: theory against simulation and computer algebra, with exit status 1 where they disagree."""

from typing import Annotated

from typer import Argument, Exit, Option

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import cores
from dp_experiments.terminal import answer, progress, records


def verify_command(
    derivations: Annotated[
        list[str] | None,
        Argument(
            metavar="NAME",
            help="Show derivations instead: lemma1, lemma2, corollary1, scaling, keep-hard.",
        ),
    ] = None,
    trials: Annotated[int, Option(min=4, help="Experiments for each cell.")] = 200,
    as_json: Json = False,
) -> None:
    """Holds Theorem 1 against its exact law, and the law against the experiment, over a set of problems.

    Derives the formulas by computer algebra, too. Exit status: 0 they agree, 1 they disagree somewhere.
    """
    from dp_experiments.verification import CELLS, verify
    from dp_theory.derive import DERIVATIONS

    for name in derivations or ():
        if name not in DERIVATIONS:
            raise InputError(f"there is no derivation '{name}': one of {', '.join(DERIVATIONS)}")
    if derivations:
        _show(derivations, as_json)
        return
    with progress("verify", len(CELLS)) as advance:
        cells = verify(trials=trials, workers=cores(), advance=advance)
    wrong = [key for derive in DERIVATIONS.values() for key, value in derive().identities.items() if value != 0]
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
            "derivations_wrong": wrong,
            "largest_relative_se": precision,
        },
        {"theory against simulation": records(cells.drop(columns=["level", "trials", "d", "dense_d"]))},
        f"{len(cells)} comparisons: law at d = {cells['d'].max()} against theory, largest |z| {largest['z']:.2f};"
        f" experiment against law at d = {cells['dense_d'].max()}, largest |z| {largest['dense_z']:.2f}"
        f" (level {largest['level']:.2f}); {disagree} disagree",
        f"largest standard error {precision:.2%} of the value; {(cells['verdict'] == 'imprecise').sum()} above 1 %",
        f"derived formulas that do not give what they must: {', '.join(wrong) or 'none'}",
    )
    if wrong or disagree:
        raise Exit(1)


def _show(names: list[str], as_json: bool) -> None:
    import sympy

    from dp_theory.derive import DERIVATIONS

    derived = {name: DERIVATIONS[name]() for name in names}
    formulas = {
        name: {key: sympy.sstr(value, full_prec=False) for key, value in (found.results | found.identities).items()}
        for name, found in derived.items()
    }
    shown = {
        derived[name].title: [{"": key, "=": text} for key, text in texts.items()] for name, texts in formulas.items()
    }
    answer(as_json, formulas, shown)
    if any(value != 0 for found in derived.values() for value in found.identities.values()):
        raise Exit(1)
