"""`dp theory sweep`: ways to choose data held against each other, over the number of samples."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from dp_base.errors import InputError
from dp_base.files import as_input_error
from dp_base.locks import claimed
from dp_experiments.cli.options import Json, comma_list
from dp_experiments.cli.theory.options import (
    GRAMMAR,
    VALUES,
    Engine,
    Seed,
    cores,
    folder_option,
    ridge,
    several,
    values,
    write_tables,
    written,
)
from dp_experiments.terminal.lines import answer, progress, records
from dp_theory.numerics.costs import AXES
from dp_theory.rules import rule_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

UNASKED = Path("runs/sweep")  # the picture and its table, without --out
SETTINGS = ["alpha", "rho", "lam"]  # what a sweep may vary beside the number of samples
AXIS_LABELS = {
    "generated": "samples generated",
    "kept": "samples kept",
    "compute": "compute, in plain samples",
}


def sweep_command(
    alpha: Annotated[str, several("Threshold of keep-hard; other rules keep the same fraction p.")] = "0.5",
    rho: Annotated[str, several("Cosine of the selector with the truth.")] = "0.9",
    n: Annotated[str | None, several("Samples generated.  Default: d/4 to 16d.")] = None,
    lam: Annotated[str, ridge("the training rows", metavar=VALUES)] = "0.01",
    rule: Annotated[str, Option(help=f"Rules, a comma list.  {GRAMMAR}kappa=2.")] = ",".join(rule_names("swept")),
    d: Annotated[int, Option(help="Dimension.")] = 512,
    trials: Annotated[int, Option(help="Independent experiments for each point.")] = 64,
    engine: Engine = "law",
    x: Annotated[str, Option(help=f"What the sizes count: {', '.join(AXES)}.")] = AXES[0],
    out: Annotated[Path | None, folder_option("sweep.csv, with all points, .png and .pdf")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Static, pruned and directly drawn data have the same kept fraction. Shows which has the least predicted error.

    Without --out, runs/sweep.png has the picture and runs/sweep.csv all points.

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps (--n and --lam: equal ratios).
    """
    from dp_figures.curves import save

    import dp_theory
    from dp_theory.budgets.sweeps import steps
    from dp_theory.budgets.winners import noise_check, winners

    alphas, rhos, rules = values("alpha", alpha), values("rho", rho), comma_list(rule)
    lams = values("lam", lam, geometric=True)
    sizes = None if n is None else values("n", n, geometric=True)
    if n is not None and ":" not in n and any(size % 1 for size in sizes or ()):
        raise InputError(f"n = {n}: must be whole numbers, for they count samples")
    with claimed(out):
        with progress("sweep", steps(alphas, rhos, rules, trials)) as advance:
            result = dp_theory.sweep(
                alphas,
                rho=rhos,
                lam_per_row=lams,
                rules=rules,
                d=d,
                trials=trials,
                engine=engine,
                n=sizes,
                x=x,
                seed=seed,
                workers=cores(),
                advance=advance,
            )
        if out is not None:
            write_tables(out, sweep=result)
            save(picture(result, x), out / "sweep")
    best, check, varying = winners(result), noise_check(result), _varying(result)
    points = result.query("kind == 'simulated'").rename(columns={"y": "simulated"})
    columns = ["strategy", "rule", *varying, "generated", "kept", "compute", "predicted", "simulated", "se", "z"]
    remark = (
        f"largest |z| {check['largest_z']:.2f} of {check['points']} points (noise alone stays below"
        f" {check['noise_level']:.2f} in 95 % of sweeps); largest standard error {check['largest_se']:.4f}"
    )
    if trials == 1:
        remark = "one trial has no standard error, and so no z: more --trials say whether points lie on their lines"
    answer(
        as_json,
        {"table": records(points[columns]), "winners": records(best), **check},
        {f"least predicted error ({AXIS_LABELS[x]})": records(best[[*varying, "from", "to", "series"]])},
        remark,
        *written(out),
    )
    if out is None and not as_json:
        with as_input_error(UNASKED):
            drawn = save(picture(result, x), UNASKED, ["png"])
            write_tables(UNASKED.parent, sweep=result)
            answer(False, {}, *drawn, UNASKED.with_suffix(".csv"))


def _varying(result: "DataFrame") -> list[str]:
    return [name for name in SETTINGS if result[name].nunique() > 1]


def picture(result: "DataFrame", x: str) -> "Figure":
    """For each setting a panel for prune and one for direct, each with the static curve; above, what does not vary.

    Random rows that are drawn directly are static data, and not drawn twice.
    """
    import pandas as pd
    from dp_figures.curves import draw_curves
    from dp_figures.style import paper

    varying = _varying(result)
    fixed = ", ".join(f"{name} = {result[name].iloc[0]:g}" for name in (*SETTINGS, "d") if name not in varying)
    result = result[(result["strategy"] != "direct") | (result["rule"] != "random")]
    panels = []
    for _, rows in result.groupby(SETTINGS, sort=False):
        where = ", ".join(f"{name} = {rows[name].iloc[0]:g}" for name in varying)
        series = rows["rule"].where(rows["strategy"] != "static", "static")
        for strategy in ("prune", "direct"):
            shown = rows.assign(panel=f"{strategy} {where}".strip(), series=series)
            panels.append(shown[rows["strategy"].isin(["static", strategy])])
    labels = {"xlabel": AXIS_LABELS[x], "ylabel": "test error", "panel": "panel"}
    figure = draw_curves(pd.concat(panels), **labels, logx=True, logy=True)
    with paper():  # a user's settings are not this figure's
        figure.suptitle(fixed, fontsize=8)
    return figure
