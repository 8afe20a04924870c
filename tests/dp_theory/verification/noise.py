"""Whether many z together look like noise."""

from collections.abc import Mapping

import numpy as np

LEVEL = 0.001  # of each of the two tests of is_noise


def distribution(z: np.ndarray, trials: np.ndarray | int) -> dict[str, float]:
    """How independent z (cells,) of means over `trials` runs, one number or (cells,), are distributed.

    Student's t is transformed to a normal first. Keys: cells, mean, sd, largest |z|, and p_value, that of Kolmogorov
    and Smirnov's test that they are standard normal.
    """
    from scipy.stats import kstest, norm, t

    normal = np.sign(z) * np.minimum(norm.isf(t.sf(np.abs(z), np.asarray(trials) - 1)), 38)  # beyond, 0 is their share
    return {
        "cells": len(normal),
        "mean": float(normal.mean()),
        "sd": float(normal.std(ddof=1)),
        "largest": float(np.abs(normal).max()),
        "p_value": float(kstest(normal, "norm").pvalue),
    }


def is_noise(found: Mapping[str, float]) -> bool:
    """Whether neither all z together (p_value) nor the largest of them (Bonferroni) speak against a `distribution`."""
    from scipy.stats import norm

    return found["p_value"] >= LEVEL and found["largest"] <= float(norm.isf(LEVEL / (2 * found["cells"])))
