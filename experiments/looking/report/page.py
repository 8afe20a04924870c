"""Renders a report as one HTML file that needs no other."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from experiments.looking.report.facts import COSTS, Facts
from experiments.looking.report.pictures import CAPTIONS

MANY = 30  # if a run has more classes, only the ten hardest are listed


def page(facts: Sequence[Facts]) -> str:
    """The HTML for the facts of runs and comparisons. All values are escaped."""
    loader = jinja2.PackageLoader("experiments.looking.report", "")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    own = (columns, words, readable, embedded, overview, with_errors)
    environment.filters |= {function.__name__: function for function in own}
    return environment.get_template("page.html.jinja").render(
        title=", ".join(fact.get("run") or fact["comparison"] for fact in facts),
        comparisons=[shown_comparison(fact) for fact in facts if "comparison" in fact],
        runs=[shown_run(fact) for fact in facts if "run" in fact],
        captions=CAPTIONS,
    )


def shown_run(run: Facts) -> Facts:
    """A run's facts, with settings, costs and classes added in the form that the page shows."""
    origin = f"preset {run['preset']}" if run["preset"] else "default"
    many = len(run["classes"]) > MANY
    hardest = sorted(run["classes"], key=lambda row: -row["wrong"])[:10]
    settings = [
        {"key": key} | {name: json.dumps(x, ensure_ascii=False) for name, x in zip((origin, "run"), pair, strict=True)}
        for key, pair in run["settings"].items()
    ]
    return run | {
        "shown_settings": settings,
        "shown_costs": [{"": COSTS[key], "total": value} for key, value in run["costs"].items()],
        "shown_classes": hardest if many else run["classes"],
        "many_classes": many,
    }


def shown_comparison(comparison: Facts) -> Facts:
    """A comparison's facts, with its arms added under readable column names."""
    names = {"series": "arm", "generated": "samples generated", "y": "test accuracy (%)"}
    left_out = ("kind", "y_low", "y_high")
    arms = [
        {names.get(key, key): value for key, value in row.items() if key not in left_out} for row in comparison["arms"]
    ]
    return comparison | {"shown_arms": arms}


def overview(runs: Sequence[Facts]) -> list[Facts]:
    """One row per run."""
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
    rest = [{key: value for key, value in row.items() if key not in ("accuracy", "se")} for row in rows]
    return [kept | {"accuracy (%)": percent(row)} for kept, row in zip(rest, rows, strict=True)]


def percent(row: Facts) -> str:
    """The accuracy of a row in percent, with its standard error if known."""
    return f"{100 * row['accuracy']:.2f}" + ("" if row["se"] is None else f" ± {100 * row['se']:.2f}")


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, in the order in which they first occur."""
    return list(dict.fromkeys(key for row in rows for key in row))


def words(key: str) -> str:
    """A column's name with spaces for underscores."""
    return str(key).replace("_", " ")


def readable(value: Any) -> str:
    """A value as text: whole numbers below 1e9 in full, other numbers with four digits, nothing for None and nan."""
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.0f}" if value == round(value) and value < 1e9 else f"{value:.4g}"


def embedded(file: str) -> str:
    """The content of a file in base64, for a data URL."""
    return base64.b64encode(Path(file).read_bytes()).decode()
