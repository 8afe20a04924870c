"""The data equivalence of Tables 4 and 5.

It is how many static samples reach a practice run's accuracy, over its own.
"""

import pandas as pd

from dp_experiments.compare.equivalent import static_equivalent
from dp_experiments.presets.printed_tables import SCALING, reported


def data_equivalence() -> pd.DataFrame:
    """The rows of Tables 4 and 5, with the static equivalent of practice rows and its ratio to the total."""
    parts = []
    for dataset, number in SCALING.items():
        table = reported(number)
        static = table.query("method == 'static'")
        practice = table.query("method != 'static'")
        equivalent, bound = static_equivalent(
            practice["val"].to_numpy(), static["total"].to_numpy(), static["val"].to_numpy()
        )
        practice = practice.assign(static_equivalent=equivalent, bound=bound, ratio=equivalent / practice["total"])
        parts.append(pd.concat([static, practice]).assign(dataset=dataset))
    columns = ["dataset", "method", "total", "val", "static_equivalent", "bound", "ratio", "note"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)
