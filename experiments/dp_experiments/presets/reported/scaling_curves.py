"""The scaling curves of the paper's Tables 4 and 5, for a fit."""

from collections.abc import Mapping

from dp_base.errors import InputError
from dp_experiments.curve_files import chosen_rows
from dp_experiments.presets.reported.printed_tables import table_rows
from dp_theory.fitting import Curve

CURVES = {"table4": 4, "table5": 5}


def reported_curve(name: str, where: Mapping[str, str] | None = None) -> Curve:
    """Validation errors of ImageNet-100 (table4) or ImageNet-1k (table5): single runs without standard errors."""
    if name not in CURVES:
        raise InputError(f"unknown curve '{name}': one of {', '.join(CURVES)}")
    import pandas as pd

    rows = table_rows(CURVES[name])
    table = pd.DataFrame(
        {
            "strategy": ["static" if row["method"] == "static" else "practice" for row in rows],
            "kept": [float(row["total"]) for row in rows],
            "error": [1 - float(row["val"]) / 100 for row in rows],
            "initial": [float(row["initial"]) for row in rows],
            "increment": [float(row["increment"] or row["total"]) for row in rows],
        }
    )
    return Curve.of(chosen_rows(name, table, where or {}))
