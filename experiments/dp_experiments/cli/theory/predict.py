"""`dp theory predict | simulate`: one problem of Theorem 1, in the limit and in finite dimension."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import Engine, Seed, Workers, grid, named_numbers, several
from dp_experiments.terminal import emit_json, table
from dp_theory import Problem, make_rule, predict, simulate
from dp_theory.rules import RULES

THRESHOLD_RULES = ", ".join(name for name, kind in RULES.items() if kind.parameter == "alpha")
OPTIONS = ("alpha", "keep", "omega", "kappa")  # parameters of rules that have an option of their own
OTHERS = [name for name, kind in RULES.items() if kind.parameter not in ("alpha", "omega", "keep", None)]

RHO = "Cosine of the selector with the truth, in [-1, 1]."
PHI = "Aspect ratio d/n; n is the size of the pool."
LAM = "Ridge per pool row; 0 is the ridgeless limit."
ALPHA = f"Threshold of {THRESHOLD_RULES}, in standard deviations of x·w_s."
KEEP = "Kept fraction p, in place of alpha or omega."
OMEGA = "Strength of the entropy rule; above 0 it keeps hard rows."

Rule = Annotated[str, typer.Option(help=f"Selection rule: {', '.join(RULES)}.")]
Kappa = Annotated[float | None, typer.Option(help="Slope of the entropy rule's logit.  Default: 1.")]
Parameters = Annotated[
    list[str],
    typer.Option("--parameter", metavar="NAME=VALUE", hidden=not OTHERS, help=f"The parameter of {', '.join(OTHERS)}."),
]


def predict_command(
    rho: Annotated[str, several(RHO)],
    phi: Annotated[str, several(PHI)],
    lam: Annotated[str, several(LAM)] = "0",
    rule: Rule = "keep-hard",
    alpha: Annotated[str | None, several(ALPHA)] = None,
    keep: Annotated[str | None, several(KEEP)] = None,
    omega: Annotated[str | None, several(OMEGA)] = None,
    kappa: Kappa = None,
    parameter: Parameters = [],
    d: Annotated[
        int | None, typer.Option(help="Dimension: adds terms of order 1/d, and the band of experiments.")
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="With --d: share of experiments within the band.  Default: 0.95.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Theorem 1, or Corollary 1 at --lam 0, gives the test error, the overlap with the truth and the squared norm.

    They hold in the limit of large d, or at the dimension --d.

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps (--phi and --lam: equal ratios).
    Several values give a row for each combination.
    """
    if level is not None and d is None:
        raise InputError("--level is for the band of experiments: give their --d")
    texts = {"alpha": alpha, "keep": keep, "omega": omega, "rho": rho, "phi": phi, "lam": lam}
    cells, varied = grid(texts, geometric=("phi", "lam"))
    parameters = {name: cells[name] for name in ("alpha", "keep", "omega") if name in cells}
    selection = make_rule(rule, **parameters, **_slope(rule, kappa), **_further(parameter))
    problem = Problem(selection, cells["rho"], cells["phi"], cells["lam"])
    columns = _columns(problem, d, level)
    if not varied:
        emit_json(columns) if as_json else table([columns])
        return
    rows = _rows({name: cells[name] for name in varied} | columns, problem.shape)
    emit_json({"table": rows}) if as_json else table(rows)


def _columns(problem: Problem, d: int | None, level: float | None) -> dict[str, Any]:
    """The prediction by name; at a finite dimension with the band that holds a share `level` of experiments."""
    if d is None:
        return asdict(predict(problem))
    from dp_theory import FinitePrediction

    prediction = predict(problem, d=d)
    assert isinstance(prediction, FinitePrediction)
    low, high = prediction.band() if level is None else prediction.band(level)
    columns = asdict(prediction)
    return {"test_error": columns["test_error"], "low": low, "high": high, **columns}


def _rows(columns: dict[str, Any], shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """A record for each cell of a grid of this shape, from columns that broadcast to it."""
    import numpy as np

    arrays = [np.broadcast_to(value, shape).ravel().tolist() for value in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*arrays, strict=True)]


def simulate_command(
    rho: Annotated[float, typer.Option(help=RHO)],
    phi: Annotated[float, typer.Option(help=PHI)],
    lam: Annotated[float, typer.Option(help=LAM)] = 0.0,
    rule: Rule = "keep-hard",
    alpha: Annotated[float | None, typer.Option(help=ALPHA)] = None,
    keep: Annotated[float | None, typer.Option(help=KEEP)] = None,
    omega: Annotated[float | None, typer.Option(help=OMEGA)] = None,
    kappa: Kappa = None,
    parameter: Parameters = [],
    d: Annotated[int, typer.Option(help="Dimension.")] = 350,
    trials: Annotated[int, typer.Option(help="Independent experiments.")] = 20,
    engine: Engine = "dense",
    seed: Seed = 0,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """The experiment of Theorem 1 is repeated with random rows. Shows means over trials with their standard errors."""
    selection = make_rule(rule, alpha=alpha, keep=keep, omega=omega, **_slope(rule, kappa), **_further(parameter))
    problem = Problem(selection, rho, phi, lam)
    record = asdict(simulate(problem, d, trials, engine=engine, seed=seed, workers=workers))
    emit_json(record) if as_json else table([record])


def _slope(rule: str, kappa: float | None) -> dict[str, float]:
    """kappa, if it was given. Raises InputError for a rule that has none."""
    if kappa is None:
        return {}
    if rule in RULES and "kappa" not in RULES[rule].options:
        raise InputError(f"--kappa is for --rule entropy: leave it out with {rule}")
    return {"kappa": kappa}


def _further(entries: list[str]) -> dict[str, float]:
    """The parameters of --parameter. Raises InputError for one that has an option of its own."""
    found = named_numbers("--parameter", entries)
    for name in OPTIONS:
        if name in found:
            raise InputError(f"--parameter {name}={found[name]:g}: --{name} sets it")
    return found
