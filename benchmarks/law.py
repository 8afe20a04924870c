"""The law simulator against two normals for every candidate; a uniform and a normal for each kept row, which nothing
that makes these rows can beat; solving the whole banded system; and the dense experiment.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _timing import row, seconds
from scipy.linalg import solve

from dp_theory.ridge.simulators import law
from dp_theory.rules import KeepHard

RULE, RHO, LAM = KeepHard(0.5), 0.7, 0.01


def dense(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """The pool of n rows is drawn in slices of d rows, to save memory."""
    w0 = np.zeros(d)
    w0[:2] = RHO, np.sqrt(1 - RHO**2)
    gram, moment = np.zeros((d, d)), np.zeros(d)
    for start in range(0, n, d):
        x = rng.standard_normal((min(d, n - start), d))
        x = x[np.abs(x[:, 0]) <= RULE.alpha]
        gram += x.T @ x
        moment += x.T @ np.sign(x @ w0)
    gram.flat[:: d + 1] += n * LAM
    return solve(gram, moment, assume_a="pos", overwrite_a=True, check_finite=False)


def main() -> None:
    rng = np.random.Generator(np.random.SFC64(0))
    d, n = 10**6, 5 * 10**6
    drawn, normals = seconds(
        lambda: law.trial(RULE, RHO, n, d, [LAM], rng), lambda: [rng.standard_normal(10**6) for _ in range(10)]
    )
    kept = round(n * float(RULE.moments(RHO).p))
    (needed,) = seconds(lambda: [(rng.random(size), rng.standard_normal(size)) for size in (kept // 16,) * 16])
    row("law draw, d = 1e6, n = 5e6", f"{drawn:.3f} s", f"1e7 standard normals {normals:.3f} s", normals / drawn)
    row("law draw, what it needs", f"{drawn:.3f} s", f"{kept:.2g} uniforms, normals {needed:.3f} s", needed / drawn)
    d, n = 8192, 40960
    (drawn,) = seconds(lambda: [law.trial(RULE, RHO, n, d, [LAM], rng) for _ in range(100)])
    drawn /= 100
    (slow,) = seconds(lambda: dense(n, d, rng), repeats=1)
    row(f"law draw, d = {d}", f"{drawn:.2e} s", f"dense experiment {slow:.1f} s", slow / drawn)


if __name__ == "__main__":
    main()
