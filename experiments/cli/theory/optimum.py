"""`dp theory optimum`, `derive` and `errata`: the best selection, where formulas come from, and misprints."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dp_base.errors import InputError
from dp_base.files import claimed
from dp_theory.costs import DIRECT_COST, SMALLEST_KEEP, TRAINING_COST
from experiments.cli.terminal import emit_json, say, table

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]


def optimum(
    rho: Annotated[float | None, typer.Option(help="cos(w_s, w0) of a fixed selector; leave out with --loop.")] = None,
    psi: Annotated[float | None, typer.Option(help="d over training rows (with --loop: over half of them).")] = None,
    budget: Annotated[float | None, typer.Option(help="Instead of --psi: what may be spent per dimension.")] = None,
    candidate_cost: Annotated[float, typer.Option(help="Cost of a plain sample.")] = 1.0,
    guided_cost: Annotated[
        float | None, typer.Option(help=f"Cost of a directly drawn sample; {DIRECT_COST:g} plain ones by default.")
    ] = None,
    training_cost: Annotated[float, typer.Option(help="Cost of training on a row.")] = TRAINING_COST,
    keep: Annotated[float | None, typer.Option(help="Kept fraction p; the best by default (--loop: 0.2).")] = None,
    lam: Annotated[float | None, typer.Option(help="Ridge per training row; the best by default, 0: none.")] = None,
    flip: Annotated[float, typer.Option(help="Probability that a label is flipped.")] = 0.0,
    d: Annotated[float, typer.Option(help="Dimension; infinite by default.")] = float("inf"),
    smallest_keep: Annotated[float, typer.Option(help="Least kept fraction to consider.")] = SMALLEST_KEEP,
    loop: Annotated[bool, typer.Option("--loop", help="The learner selects the second half of its rows.")] = False,
    out: Annotated[Path | None, typer.Option(help="New or empty folder for optimum.csv.")] = None,
    as_json: Json = False,
) -> None:
    """The best rule, kept fraction, ridge and strategy for a number of training rows or for a budget."""
    from dp_base.files import whole_file
    from dp_theory.optimum import loop as best_of_loop
    from dp_theory.optimum import optimum as best

    if loop:
        if psi is None or rho is not None or budget is not None:
            raise InputError("--loop takes --psi, and neither --rho nor --budget: the learner itself selects")
        result = best_of_loop(psi, keep=0.2 if keep is None else keep, lam=lam, flip=flip)
    else:
        if rho is None:
            raise InputError("--rho is missing: the selector's cosine to the truth (--loop: the learner selects)")
        result = best(
            rho, psi=psi, budget=budget, candidate_cost=candidate_cost, guided_cost=guided_cost,
            training_cost=training_cost, keep=keep, lam=lam, flip=flip, smallest_keep=smallest_keep, d=d,
        )  # fmt: skip
    if out is not None:
        with claimed(out), whole_file(out / "optimum.csv") as partial:
            result.to_csv(partial, index=False)
    records = [{str(key): value for key, value in row.items()} for row in result.to_dict("records")]
    if as_json:
        emit_json({"best": records[0], "table": records})
        return
    table(records, title="least test error, the best first")
    if not loop and records[0]["needs_d"] > 1e3 and d == float("inf"):
        say(f"the winner selects so hard that this needs d well above {records[0]['needs_d']:.0f}: give yours as --d")
    if out is not None:
        print(out / "optimum.csv")


def derive(
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


def errata(
    d: Annotated[int, typer.Option(min=20, help="Dimension of the simulations.")] = 200,
    trials: Annotated[int, typer.Option(min=2, help="Simulated experiments.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
    as_json: Json = False,
) -> None:
    """Where the printed paper and the truth differ: a value as printed, as it should be, and simulated."""
    from experiments.paper.errata import errata as recompute

    rows = recompute(d, trials, seed)
    emit_json({"errata": rows}) if as_json else table(rows, title="errata: docs/errata.md explains each")
