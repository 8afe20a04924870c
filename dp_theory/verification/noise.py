"""Whether a set of z looks like noise."""

import numpy as np


def distribution(z: np.ndarray, trials: np.ndarray | int) -> dict[str, float]:
    """Independent z of means over `trials` runs: count, mean, sd, largest |z|, and the p-value of Kolmogorov and
    Smirnov's test that they are noise: standard normal, once Student's t is transformed to it."""
    from scipy.stats import kstest, norm, t

    normal = norm.ppf(t.cdf(z, np.asarray(trials) - 1))
    return {"cells": len(normal), "mean": float(normal.mean()), "sd": float(normal.std(ddof=1)),
            "largest": float(np.abs(normal).max()), "p_value": float(kstest(normal, "norm").pvalue)}  # fmt: skip
