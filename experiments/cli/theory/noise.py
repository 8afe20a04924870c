"""`dp theory noise`: what practice and selection are worth where labels are wrong near the boundary."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_theory.numerics.costs import DIRECT_COST, TRAINING_COST
from experiments.cli.theory.options import VALUES, DirectCost, Json, TrainingCost, values
from experiments.terminal import emit_json, progress, records, say, table

if TYPE_CHECKING:
    from dp_theory.practice import RoundPlan
    from dp_theory.span import BoundaryFlips

WINDOWS = "0.25,1"
EDGE = 1e-3  # of the window that stands for the boundary itself


def noise_command(
    share: Annotated[str | None, typer.Option(help=f"Share of plain rows with a wrong label: {VALUES}.")] = None,
    confirmed: Annotated[
        float | None, typer.Option(help="Instead: the share of plain labels that a judge of real images confirms.")
    ] = None,
    judge: Annotated[
        float | None, typer.Option(help="With --confirmed: the judge's accuracy on real images.  Default: 1.")
    ] = None,
    shape: Annotated[
        str, typer.Option(help="How flips fall off the boundary: probit, logistic, exponential or window.")
    ] = "probit",
    eps: Annotated[float, typer.Option(help="Probability of a flip at the boundary.")] = 0.5,
    check: Annotated[
        float | None, typer.Option(help="A label check; the share of plain rows that it would itself label wrong.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds of practice.")] = 12,
    phi: Annotated[float, typer.Option(help="d over the rows of a round, and of the first pool.")] = 0.5,
    window: Annotated[
        str | None,
        typer.Option(help=f"Thresholds over tan(pi E), the best is taken: {VALUES}.  [default: {WINDOWS}]"),
    ] = None,
    missed: Annotated[
        str | None, typer.Option(help=f"Instead of --window: the share of new rows that the learner misses: {VALUES}.")
    ] = None,
    rho: Annotated[float | None, typer.Option(help="Also a fixed selector of this cosine, which selects once.")] = None,
    direct_cost: DirectCost = DIRECT_COST,
    training_cost: TrainingCost = TRAINING_COST,
    out: Annotated[
        Path | None, typer.Option(help="New or empty folder for noise.csv and, with --rho, selection.csv.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What practice is worth, against static data, where the generator's labels are wrong near the boundary.

    Of one share of wrong labels a row per round, of several shares the last round of each.
    """
    import pandas as pd

    from dp_base.files import write_text
    from dp_theory.noise import kept_price, require_selection, row_worth, selections, worth
    from dp_theory.numerics.costs import Costs

    if window is not None and missed is not None:
        raise InputError("--window and --missed are two ways to say which rows are added: give one")
    if rho is not None and check is not None:
        raise InputError("--rho selects once, without a label check: leave out --check, or --rho")
    laws = _laws(share, confirmed, judge, shape, eps, check)
    if rho is not None:
        require_selection(laws[0], rho)
    costs, found = Costs(direct=direct_cost, training=training_cost), []
    with claimed(out):
        with progress("noise", len(laws)) as advance:
            for law in laws:
                facts = {"share": law.share, "width": law.width}
                part = worth(law, rounds=rounds, phi=phi, plans=_plans(law, window or WINDOWS, missed), costs=costs)
                found.append(part.assign(**facts) if len(laws) == 1 else part.iloc[-1:].assign(**facts))
                advance(1)
        result = pd.concat(found, ignore_index=True)
        result = result[["share", "width", *(name for name in result if name not in ("share", "width"))]]
        if out is not None:
            write_text(out / "noise.csv", result.to_csv(index=False))
        once = [] if rho is None else [
            {"share": law.share, **row}
            for law, rows in zip(laws, result.groupby("share", sort=False)["kept"].max(), strict=True)
            for row in records(selections(law, rho, rows))
        ]  # fmt: skip
        if out is not None and once:
            write_text(out / "selection.csv", pd.DataFrame(once).to_csv(index=False))
    edge = {  # where labels at the boundary itself say which side is which, worth grows without limit
        law.share: row_worth(law, EDGE * law.width) if law(0.0) == 0.5 else None for law in laws
    }
    price = {law.share: kept_price(law, costs) for law in laws}
    if as_json:
        emit_json({"practice": records(result), "selection": once, "price": list(price.values()),
                   "worth_at_boundary": list(edge.values())})  # fmt: skip
        return
    table(records(result), title="practice against static data")
    if once:
        print()
        table(once, title="one selection of as many rows")
    for wrong, value in edge.items():
        if value is not None:
            worth_it = f"a row at the boundary is worth {value:.3g} plain ones at last, and costs {price[wrong]:.3g}"
            say(f"{wrong:.3g} wrong: {worth_it}")
    if out is not None:
        print(*sorted(out.iterdir()), sep="\n")


def _laws(
    share: str | None, confirmed: float | None, judge: float | None, shape: str, eps: float, check: float | None
) -> "list[BoundaryFlips]":
    from dp_theory.noise import judged_share
    from dp_theory.span import BoundaryFlips, LabelCheck

    if (share is None) == (confirmed is None):
        raise InputError("give one of --share and --confirmed, which say how many labels are wrong")
    if judge is not None and confirmed is None:
        raise InputError("--judge is for --confirmed: --share itself says how many labels are wrong")
    judge = 1.0 if judge is None else judge
    wrong = (
        [judged_share(confirmed, judge)] if confirmed is not None else list(dict.fromkeys(values("share", share or "")))
    )
    if confirmed is not None and confirmed >= judge:
        say(f"the judge confirms as many labels as real images: none seems wrong; share {wrong[0]:g} is assumed")
    verifier = None if check is None else LabelCheck(BoundaryFlips.of_share(check).width)
    return [BoundaryFlips.of_share(value, shape, eps=eps, check=verifier) for value in wrong]


def _plans(law: "BoundaryFlips", window: str, missed: str | None) -> "list[RoundPlan]":
    from dp_theory.noise import Missed
    from dp_theory.practice import Window

    if missed is not None:
        return [Missed(law, share) for share in values("missed", missed)]
    return [Window(kappa) for kappa in values("window", window)]
