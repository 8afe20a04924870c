"""The page of a report: one HTML file that needs no other."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dp_experiments.compare.compare import MINUS
from dp_experiments.compare.ratios import AXIS_LABELS
from dp_experiments.compare.verdict import two_digits
from dp_experiments.show.report.facts import COSTS, Facts, percent
from dp_experiments.show.report.pictures import CAPTIONS
from dp_experiments.terminal.pages import rendered

PASSES = ("denoiser_forwards", "denoiser_backwards")
JUDGED = ("confirmed", "coverage", "vendi")  # what a judge says of an arm's samples
MORE = {">": "≥ ", "<": "≤ "}  # the static samples that match an arm lie beyond the sizes that were tried


def page(facts: Sequence[Facts]) -> str:
    """The HTML of runs and comparisons, all values escaped."""
    return rendered(
        "dp_experiments.show.report",
        "page.html.jinja",
        *(columns, readable, embedded, overview, with_errors),
        title=", ".join(fact.get("run") or fact["comparison"] for fact in facts),
        comparisons=[shown_comparison(fact) for fact in facts if "comparison" in fact],
        runs=[shown_run(fact) for fact in facts if "run" in fact],
        captions=CAPTIONS,
    )


def shown_run(run: Facts) -> Facts:
    """The facts of a run in the form that the page shows."""
    origin = f"preset {run['preset']}" if run["preset"] else "default"
    settings = []
    for key, values in run["settings"].items():
        before, own = (json.dumps(value, ensure_ascii=False) for value in values)
        settings.append({"key": key, origin: before, "run": own})
    is_idle = {key for key in PASSES if not run["costs"].get(key)}  # of texts, which no denoiser draws
    return run | {
        "shown_settings": settings,
        "shown_costs": [{"": COSTS[key], "total": cost} for key, cost in run["costs"].items() if key not in is_idle],
        "shown_rounds": [{key: row[key] for key in row if key not in is_idle} for row in run["rounds"]],
        "shown_quality": named_rounds(run.get("quality", [])),
    }


def named_rounds(rows: Sequence[Facts]) -> list[Facts]:
    """Rows of round_quality, in which real test examples have a name in place of a round."""
    return [row | {"round": "real, test" if row["round"] is None else row["round"]} for row in rows]


def shown_comparison(comparison: Facts) -> Facts:
    """The facts of a comparison, with tables of what its arms reached and cost."""
    arms, costs, counted = [], [], AXIS_LABELS[comparison["axis"]]
    for row in comparison["arms"]:
        worth = {}
        if row.get("ratio") is not None:
            bound = MORE.get(row["bound"], "")
            worth["worth, times"] = f"{bound}{two_digits(row['ratio'])}"
            if row["ratio_low"] != row["ratio_high"]:  # a point of the static curve is worth itself
                worth["95 % interval"] = f"{two_digits(row['ratio_low'])} to {two_digits(row['ratio_high'])}"
            worth[f"static data to match ({counted})"] = f"{bound}{readable(row['static_to_match'])}"
        shown = {"arm": row["series"]} | worth
        shown |= {"samples": row["generated"], "test accuracy (%)": _with_error(row["y"], row["se"])}
        shown |= _differences(row) | {key: row[key] for key in JUDGED if key in row}
        arms.append(shown)
        of_cost = ("generated", "kept", "compute", "seconds", "validation", "n_seeds", "units")
        costs.append({"arm": row["series"]} | {key: row[key] for key in of_cost if key in row})
    sets = [
        {"set": row["set"], "arm": row["series"], "accuracy (%)": _with_error(row["accuracy"], row["se"])}
        | _differences(row)
        for row in comparison["sets"]
    ]
    return comparison | {"shown_arms": arms, "shown_sets": sets, "shown_costs": costs}


def _differences(row: Facts) -> Facts:
    minus = [str(key) for key in row if str(key).startswith(MINUS)]
    return {f"lead over {key.removeprefix(MINUS)}": _with_error(row[key], row["difference_se"]) for key in minus}


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:z.2f}" + ("" if not error else f" ± {error:.2f}")


def overview(runs: Sequence[Facts]) -> list[Facts]:
    """A row for each run: how far it is, and its accuracies."""
    return [
        {
            "run": run["run"],
            "status": "complete" if run["complete"] else f"step {run['step']} of {run['steps']}",
            "seed": run["seed"],
            "examples": run["pool_size"],
            **{part["set"]: percent(part) for part in run["accuracies"]},
        }
        for run in runs
    ]


def with_errors(rows: Sequence[Facts]) -> list[Facts]:
    """The rows with accuracy and standard error in one column, in percent."""
    shown = []
    for row in rows:
        rest = {"examples" if key == "images" else key: row[key] for key in row if key not in ("accuracy", "se")}
        shown.append(rest | {"accuracy (%)": percent(row)})
    return shown


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, in the order in which they first occur."""
    return list(dict.fromkeys(key for row in rows for key in row))


def readable(value: Any) -> str:
    """Numbers below 1e9 in full if they are whole or above 1e4, others with four digits, nothing for None and nan."""
    if value is None or value != value:  # nan is not equal to itself
        return ""
    if isinstance(value, str):
        return value
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.0f}" if value == round(value) < 1e9 or 1e4 <= value < 1e9 else f"{value:.4g}"


def embedded(file: str) -> str:
    """The content of a file in base64, for a data URL."""
    return base64.b64encode(Path(file).read_bytes()).decode()
