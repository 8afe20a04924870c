"""When the paper added examples, inferred from the branch epochs of Tables 4 and 5.

A row of few additions is a branch of a longer run that left just before the next addition. Read as passes over the
current pool, the epochs do not fit: between rows 8 and 9 of Table 4 lie 44,000 steps, and the constant rate lasts for
40,000. Read as N / batch steps all rows do. They say how long a run waits, T_max times tau, and not how often it
evaluates: with tau of one such epoch T_max hardly grows, with a fifth of it by .7 (`fitted`). Table 5 fits neither.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from dp_real.practice.section import PracticeConfig

BATCHES = {4: 2048, 5: 4096}  # table -> rows of a step
GROWTH = 0.07  # of T_max: 5 -> 6.2 evaluations where rows 11 and 12 of Table 4 leave room for 6.2


def tau(initial: int, batch: int) -> int:
    """Steps between evaluations: one pass over the initial pool."""
    return max(1, round(initial / batch))


def branches(table: int) -> "pd.DataFrame":
    """The rows that are branches; `step` is when addition k + 1 was due."""
    from dp_experiments.presets.printed_tables import reported

    rows = reported(table)
    rows = rows.assign(row=rows.index + 1).dropna(subset="branch_epoch")
    rows["step"] = rows["branch_epoch"] * rows["initial"] / BATCHES[table]
    columns = ["row", "initial", "increment", "patience", "rounds"]
    return rows[columns].astype(int).assign(step=rows["step"], batch=BATCHES[table])


def replay(plan: "PracticeConfig", settling: float) -> np.ndarray:
    """The steps of the additions of a run whose accuracy follows a script.

    It rises until `settling` steps times the new share of the pool have passed since the last addition.
    """
    step, pool, new, steps = 0, plan.initial, plan.initial, []
    for _ in range(plan.additions):
        step += int(settling * new / pool / plan.evaluate_every + plan.t_max(pool)) * plan.evaluate_every
        steps.append(step)
        new = plan.increment
        pool += new
    return np.array(steps)


def log_errors(rows: "pd.DataFrame", settling: float, growth: float, epochs: float) -> np.ndarray:
    """ln (replayed step / printed step) of some `branches`, with tau = `epochs` passes over the initial pool."""
    from dp_real.practice.section import PracticeConfig

    replayed = []
    for row in rows.drop(columns="step").to_dict("records"):
        plan = PracticeConfig(
            initial=row["initial"],
            increment=row["increment"],
            additions=row["rounds"] + 1,
            patience=row["patience"],
            patience_growth=growth,
            evaluate_every=tau(round(epochs * row["initial"]), row["batch"]),
        )
        replayed.append(replay(plan, settling)[-1])
    return np.log(np.array(replayed) / rows["step"])


def fitted(table: int, growths: Sequence[float], epochs: Sequence[float]) -> "pd.DataFrame":
    """The best `settling` and r.m.s. of `log_errors`, for each growth of T_max and each tau in passes."""
    import pandas as pd
    from scipy.optimize import minimize_scalar

    rows = branches(table)

    def error(log_settling: float, growth: float, passes: float) -> float:
        return float(np.sqrt(np.mean(log_errors(rows, np.exp(log_settling), growth, passes) ** 2)))

    fits = []
    for growth in growths:
        for passes in epochs:
            best: Any = minimize_scalar(error, bounds=(6, 11), args=(growth, passes), method="bounded")
            fits.append({"growth": growth, "epochs": passes, "settling": np.exp(best.x), "error": best.fun})
    return pd.DataFrame(fits).sort_values("error", ignore_index=True)
