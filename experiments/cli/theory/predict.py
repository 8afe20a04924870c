"""`dp theory predict | simulate`: one problem of Theorem 1, in the limit and at finite dimension."""

from dataclasses import asdict
from typing import Annotated

import typer

import dp_theory
from dp_base.errors import InputError
from dp_theory.ridge.problem import Problem
from dp_theory.rules import RULES
from experiments.cli.theory.options import VALUES, Engine, Json, Seed, Workers, grid
from experiments.terminal import emit_json, table

THRESHOLD_RULES = ", ".join(name for name, kind in RULES.items() if kind.parameter == "alpha")
Rule = Annotated[str, typer.Option(help=f"Selection rule: {', '.join(RULES)}.")]
Alpha = Annotated[float | None, typer.Option(help=f"Threshold of {THRESHOLD_RULES}, in units of std(x·w_s).")]
Keep = Annotated[float | None, typer.Option(help="Kept fraction p, instead of alpha or omega.")]
Omega = Annotated[float | None, typer.Option(help="Strength of the entropy rule; positive: hard rows.")]
Kappa = Annotated[float | None, typer.Option(help="Slope of the entropy rule's logit.  [default: 1]")]
OPTIONS = {"alpha", "keep", "omega", "kappa"}
OTHERS = [name for name, kind in RULES.items() if kind.parameter not in ("alpha", "omega", "keep", None)]
Parameters = Annotated[
    list[str],
    typer.Option("--parameter", metavar="NAME=VALUE", hidden=not OTHERS, help=f"What fixes {', '.join(OTHERS)}."),
]
Rho = Annotated[float, typer.Option(help="cos(w_s, w0), in [-1, 1].")]
Phi = Annotated[float, typer.Option(help="Aspect ratio d/n, n the size of the pool.")]
Lam = Annotated[float, typer.Option(help="Ridge per pool row; 0: the ridgeless limit.")]


def predict_command(
    rho: Annotated[str, typer.Option(help=f"cos(w_s, w0), in [-1, 1]: {VALUES}.")],
    phi: Annotated[str, typer.Option(help=f"Aspect ratio d/n, n the size of the pool: {VALUES} (geometric).")],
    lam: Annotated[str, typer.Option(help=f"Ridge per pool row, 0: the ridgeless limit: {VALUES} (geometric).")] = "0",
    rule: Rule = "keep-hard",
    alpha: Annotated[str | None, typer.Option(help=f"Threshold of {THRESHOLD_RULES}, in std(x·w_s): {VALUES}.")] = None,
    keep: Annotated[str | None, typer.Option(help=f"Kept fraction p, instead of alpha or omega: {VALUES}.")] = None,
    omega: Annotated[str | None, typer.Option(help=f"Strength of the entropy rule; > 0: hard rows: {VALUES}.")] = None,
    kappa: Kappa = None,
    parameter: Parameters = [],  # noqa: B006 (typer reads the default)
    d: Annotated[int | None, typer.Option(help="Dimension: means of order 1/d and the band of experiments.")] = None,
    level: Annotated[
        float | None, typer.Option(help="With --d: the share of experiments within the band.  [default: 0.95]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Theorem 1 (Corollary 1 at --lam 0): test error, overlap and squared norm, for large d or at a given --d."""
    import numpy as np

    if level is not None and d is None:
        raise InputError("--level is for the band of experiments: give their --d")
    texts = {"alpha": alpha, "keep": keep, "omega": omega, "rho": rho, "phi": phi, "lam": lam}
    cells, varied = grid(texts, geometric=("phi", "lam"))
    given = {name: cells[name] for name in ("alpha", "keep", "omega") if name in cells}
    chosen = dp_theory.make_rule(rule, **given, **_slope(rule, kappa), **further(parameter))
    problem = Problem(chosen, *(cells[name] for name in ("rho", "phi", "lam")))
    prediction = dp_theory.predict(problem) if d is None else dp_theory.predict(problem, d=d)
    columns = asdict(prediction)
    if isinstance(prediction, dp_theory.FinitePrediction):
        low, high = prediction.band() if level is None else prediction.band(level)
        columns = {"test_error": columns["test_error"], "low": low, "high": high, **columns}
    if not varied:
        _show(columns, as_json)
        return
    columns = {name: cells[name] for name in varied} | columns
    arrays = [np.broadcast_to(value, problem.shape).ravel().tolist() for value in columns.values()]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*arrays, strict=True)]
    emit_json({"table": rows}) if as_json else table(rows)


def simulate_command(
    rho: Rho, phi: Phi, lam: Lam = 0.0, rule: Rule = "keep-hard", alpha: Alpha = None, keep: Keep = None,
    omega: Omega = None, kappa: Kappa = None, parameter: Parameters = [],  # noqa: B006 (typer reads the default)
    d: Annotated[int, typer.Option(help="Dimension.")] = 350,
    trials: Annotated[int, typer.Option(help="Independent experiments.")] = 20,
    engine: Engine = "dense", seed: Seed = 0, workers: Workers = 1,
    as_json: Json = False,
) -> None:  # fmt: skip
    """The same experiment at finite d: means over trials with their standard errors."""
    chosen = dp_theory.make_rule(rule, alpha=alpha, keep=keep, omega=omega, **_slope(rule, kappa), **further(parameter))
    problem = Problem(chosen, rho, phi, lam)
    _show(asdict(dp_theory.simulate(problem, d, trials, engine=engine, seed=seed, workers=workers)), as_json)


def _slope(rule: str, kappa: float | None) -> dict[str, float]:
    """kappa, if it was given. Raises InputError for a rule that has none."""
    if kappa is not None and rule in RULES and "kappa" not in RULES[rule].options:
        raise InputError(f"--kappa is for --rule entropy: leave it out with {rule}")
    return {} if kappa is None else {"kappa": kappa}


def further(parameters: list[str]) -> dict[str, float]:
    """The parameters of a rule that have no option. Raises InputError for one that has."""
    found = named(parameters)
    for name in OPTIONS & found.keys():
        raise InputError(f"--parameter {name}={found[name]:g}: --{name} sets it")
    return found


def named(parameters: list[str], option: str = "--parameter") -> dict[str, float]:
    """Numbers by name, from NAME=VALUE. Raises InputError for another form; option: what to call it."""
    pairs = [entry.partition("=") for entry in parameters]
    try:
        return {name: float(value) for name, _, value in pairs}
    except ValueError:
        raise InputError(f"{option} {' '.join(parameters)} must read NAME=VALUE, VALUE a number") from None


def _show(record: dict, as_json: bool) -> None:
    emit_json(record) if as_json else table([record])
