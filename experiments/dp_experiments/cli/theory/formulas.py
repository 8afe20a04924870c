"""`dp theory derive | errata`: where formulas come from, and where the printed ones are wrong."""

from typing import Annotated, Any

import typer

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import Seed
from dp_experiments.terminal import emit_json, table


def derive_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Derivations to show.  Default: all.")
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Write LaTeX instead of text.")] = False,
    as_json: Json = False,
) -> None:
    """Derives them by computer algebra. NAME: lemma1, lemma2, corollary1, scaling, keep-hard, practice, softmax."""
    from dp_theory.derive import DERIVATIONS

    for name in names or ():
        if name not in DERIVATIONS:
            raise InputError(f"there is no derivation '{name}': one of {', '.join(DERIVATIONS)}")
    answer = {}
    for name in names or DERIVATIONS:
        derivation = DERIVATIONS[name]()
        results = _written(derivation.results, latex)
        identities = _written(derivation.identities, latex)
        answer[name] = {"title": derivation.title, "results": results, "identities": identities}
        if not as_json:
            _show(derivation.title, results | identities, latex)
    if as_json:
        emit_json(answer)


def _written(expressions: dict[str, Any], latex: bool) -> dict[str, str]:
    """Expressions of sympy as text or LaTeX, by name."""
    import sympy

    from dp_theory.derive import beta_tilde

    if latex:
        symbols = {beta_tilde: r"\tilde\beta"}
        return {name: sympy.latex(value, symbol_names=symbols) for name, value in expressions.items()}
    return {name: sympy.sstr(value, full_prec=False) for name, value in expressions.items()}


def _show(title: str, formulas: dict[str, str], latex: bool) -> None:
    """Print a derivation as soon as it is there, since each takes a while."""
    print(f"% {title}" if latex else title)
    for name, text in formulas.items():
        if latex:
            label = name.replace("_", r"\_")
            print(rf"\[ \text{{{label}}} = {text} \]")
        else:
            print(f"  {name} = {text}")
    print(flush=True)


def errata_command(
    d: Annotated[int, typer.Option(min=20, help="Dimension of the simulations.")] = 200,
    trials: Annotated[int, typer.Option(min=2, help="Simulated experiments.")] = 40,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Shows each value as it is printed, as it should be, and as it is simulated. docs/errata.md explains each."""
    from dp_experiments.paper.errata import errata

    rows = errata(d, trials, seed)
    emit_json({"errata": rows}) if as_json else table(rows, title="errata: docs/errata.md explains each")
