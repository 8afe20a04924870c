"""Tables of runs, as `run_arms` returns them, made for a test."""

import pandas as pd


def runs_of(accuracies, sizes=None, splits=1, first=0, **columns):
    """The runs with these test accuracies, by arm and then by seed, from `first` on.

    An arm that `sizes` does not have generates as many samples as its name says. columns: what is not as usual.
    """
    rows = []
    for arm, values in accuracies.items():
        size = (sizes or {}).get(arm) or int(arm.partition("@")[0].rpartition("-")[2])
        for seed, value in enumerate(values, first):
            of_run = {"arm": arm, "seed": seed, "split": seed % splits, "test_accuracy": value, "val_accuracy": value}
            rows.append(of_run | {"samples_generated": size, "pool_size": size})
    table = pd.DataFrame(rows)
    usual = {"generation_flops": 1, "training_flops": 1, "generation_seconds": 1.0, "training_seconds": 1.0}
    return table.assign(**usual | {"test_examples": 1000, "sets": [[]] * len(table)} | columns)
