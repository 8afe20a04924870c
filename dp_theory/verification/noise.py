"""Whether many z together look like noise."""

import numpy as np


def distribution(z: np.ndarray, trials: np.ndarray | int) -> dict[str, float]:
    """How independent z (cells,) of means over `trials` runs, one number or (cells,), are distributed.

    Student's t is transformed to a normal first. Keys: cells, mean, sd, largest |z|, and p_value, that of Kolmogorov
    and Smirnov's test that they are standard normal.
    """
    from scipy.stats import kstest, norm, t

    normal = norm.ppf(t.cdf(z, np.asarray(trials) - 1))
    return {"cells": len(normal), "mean": float(normal.mean()), "sd": float(normal.std(ddof=1)),
            "largest": float(np.abs(normal).max()), "p_value": float(kstest(normal, "norm").pvalue)}  # fmt: skip
