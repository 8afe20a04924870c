"""`dp theory derive | errata`: where formulas come from, and where the printed ones are wrong."""

from typing import Annotated, Any

import typer

from dp_base.errors import InputError
from experiments.cli.theory.options import Json, Seed
from experiments.terminal import emit_json, table


def derive_command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; all by default.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="LaTeX instead of text.")] = False,
    as_json: Json = False,
) -> None:
    """Derive the formulas by computer algebra: lemma1, lemma2, corollary1, scaling, keep-hard."""
    from dp_theory.derive import DERIVATIONS

    for name in names or ():
        if name not in DERIVATIONS:
            raise InputError(f"there is no derivation '{name}': one of {', '.join(DERIVATIONS)}")
    import sympy

    from dp_theory.derive import beta_tilde

    def write(expression: Any) -> str:
        if latex:
            return sympy.latex(expression, symbol_names={beta_tilde: r"\tilde\beta"})
        return sympy.sstr(expression, full_prec=False)

    answer = {}
    for name in names or DERIVATIONS:
        derived = DERIVATIONS[name]()
        results = {key: write(value) for key, value in derived.results.items()}
        identities = {key: write(value) for key, value in derived.identities.items()}
        answer[name] = {"title": derived.title, "results": results, "identities": identities}
        if as_json:
            continue
        print(f"{'% ' if latex else ''}{derived.title}")
        for key, text in {**results, **identities}.items():
            name = key.replace("_", r"\_")
            print(rf"\[ \text{{{name}}} = {text} \]" if latex else f"  {key} = {text}")
        print(flush=True)
    if as_json:
        emit_json(answer)


def errata_command(
    d: Annotated[int, typer.Option(min=20, help="Dimension of the simulations.")] = 200,
    trials: Annotated[int, typer.Option(min=2, help="Simulated experiments.")] = 40,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Where the printed paper and the truth differ: a value as printed, as it should be, and simulated."""
    from experiments.paper.errata import errata

    rows = errata(d, trials, seed)
    emit_json({"errata": rows}) if as_json else table(rows, title="errata: docs/errata.md explains each")
