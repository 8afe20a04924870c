"""`dp theory predict | simulate`: Theorem 1 in the limit and in finite dimension."""

from dataclasses import asdict
from typing import Annotated, Any

from typer import Option

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import GRAMMAR, VALUES, Engine, Seed, grid, ridge, several
from dp_experiments.terminal.lines import answer
from dp_theory import Prediction, Problem, make_rule, predict, simulate
from dp_theory.rules import RULES, fields_of, read_rule

THRESHOLD_RULES = ", ".join(name for name in RULES if "alpha" in fields_of(name))

RHO = "Cosine of the selector with the truth, in [-1, 1]."
PHI = "Aspect ratio d/n; n is the size of the pool."
POOL = "the rows of the pool"
ALPHA = f"Threshold of {THRESHOLD_RULES}, in standard deviations of x·w_s."
DOUBTFUL = 0.25  # certificate of a finite dimension
USUAL_D = 200  # of an experiment on a laptop
FAR = 0.02  # part of the limit by which the mean there must differ to be mentioned
KEEP = "Kept fraction p, in place of the rule's first parameter."

Rule = Annotated[str, Option(help=f"Selection rule: {', '.join(RULES)}.  {GRAMMAR}omega=4.")]


def predict_command(
    rho: Annotated[str, several(RHO)],
    phi: Annotated[str, several(PHI)],
    lam: Annotated[str, ridge(POOL, metavar=VALUES)] = "0",
    rule: Rule = "keep-hard",
    alpha: Annotated[str | None, several(ALPHA)] = None,
    keep: Annotated[str | None, several(KEEP)] = None,
    d: Annotated[
        int | None,
        Option(help="Dimension: adds terms of order 1/d, and the band of 95 % of experiments."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Theorem 1, or Corollary 1 at --lam 0, gives the test error, the overlap with the truth and the squared norm.

    They hold in the limit of large d, or at the dimension --d.

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps (--phi and --lam: equal ratios).
    Several values give a row for each combination. A parameter in --rule is VALUES, too.
    """
    name, parameters = read_rule(rule, alpha=alpha, keep=keep)
    cells, varied = grid(parameters | {"rho": rho, "phi": phi, "lam": lam}, geometric=("phi", "lam"))
    selection = make_rule(name, **{key: cells[key] for key in parameters})
    problem = Problem(selection, cells["rho"], cells["phi"], cells["lam"])
    facts, remark = (asdict(limit := predict(problem)), _off_limit(problem, limit)) if d is None else _at(problem, d)
    rows = _rows({name: cells[name] for name in varied} | facts, problem.shape) if varied else [facts]
    answer(as_json, {"table": rows} if varied else facts, rows, remark)


def _at(problem: Problem, d: int) -> tuple[dict[str, Any], str]:
    """The prediction, and a remark where first order is not enough."""
    import numpy as np

    prediction = predict(problem, d=d)
    low, high = prediction.band()
    facts = {"test_error": prediction.test_error, "low": low, "high": high, **asdict(prediction)}
    worst = np.max(prediction.certificate)
    remark = f"certificate {worst:.2g}: the first order in 1/d is not enough there; dp theory simulate shows it"
    return facts, remark if worst > DOUBTFUL else ""


def _off_limit(problem: Problem, limit: Prediction) -> str:
    """A remark where a usual dimension is far off the limit."""
    import numpy as np

    try:
        off = np.ravel(predict(problem, d=USUAL_D).test_error / limit.test_error - 1)
    except InputError:  # there is no mean at the ridgeless peak, or no row in this dimension
        return ""
    largest: Any = max(off, key=abs)
    if not abs(largest) > FAR:
        return ""
    start = f"this is the limit of large d: in dimension {USUAL_D} the mean test error is {'up to ' * (off.size > 1)}"
    if abs(largest) >= 1:
        return f"{start}far off, more than first order can say; dp theory simulate shows it"
    return f"{start}{abs(largest):.0%} {'higher' if largest > 0 else 'lower'}, to first order; --d gives it"


def _rows(columns: dict[str, Any], shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """A record for each cell of a grid, from columns that broadcast to it."""
    import numpy as np

    arrays = [np.broadcast_to(value, shape).ravel().tolist() for value in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*arrays, strict=True)]


def simulate_command(
    rho: Annotated[float, Option(help=RHO)],
    phi: Annotated[float, Option(help=PHI)],
    lam: Annotated[float, ridge(POOL)] = 0.0,
    rule: Rule = "keep-hard",
    alpha: Annotated[float | None, Option(help=ALPHA)] = None,
    keep: Annotated[float | None, Option(help=KEEP)] = None,
    d: Annotated[int, Option(help="Dimension.")] = 350,
    trials: Annotated[int, Option(help="Independent experiments.")] = 20,
    engine: Engine = "dense",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """The experiment of Theorem 1 is repeated with random rows. Shows means over trials with their standard errors."""
    problem = Problem(make_rule(rule, alpha=alpha, keep=keep), rho, phi, lam)
    record = asdict(simulate(problem, d, trials, engine=engine, seed=seed))
    answer(as_json, record, [record])
