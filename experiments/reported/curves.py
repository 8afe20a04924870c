"""The scaling curves of the paper's Tables 4 and 5, for a fit."""

from dp_base.errors import InputError
from dp_theory.fitting import Curve
from experiments.reported.tables import table_rows

CURVES = {"table4": 4, "table5": 5}


def reported_curve(name: str) -> Curve:
    """Validation errors of static data and of Deliberate Practice, of ImageNet-100 (table4) or ImageNet-1k (table5).

    Single runs without standard errors. Raises InputError for another name.
    """
    if name not in CURVES:
        raise InputError(f"unknown curve '{name}': one of {', '.join(CURVES)}")
    rows = table_rows(CURVES[name])
    return Curve.of(
        {
            "strategy": ["static" if row["method"] == "static" else "practice" for row in rows],
            "kept": [float(row["total"]) for row in rows],
            "error": [1 - float(row["val"]) / 100 for row in rows],
            "initial": [float(row["initial"]) for row in rows],
            "increment": [float(row["increment"] or row["total"]) for row in rows],
        }
    )
