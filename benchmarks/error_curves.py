"""Error curves over 50 ridges and 20 sample sizes at d = 512, against a plain loop over scikit-learn's Ridge.

Only 100 of the loop's 1000 fits are made: five ridges at every size. Their results are compared with ours.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _timing import row, seconds
from sklearn.linear_model import Ridge

from dp_theory.rules import KeepHard
from dp_theory.simulators.curves import error_curves, selected_rows
from dp_theory.simulators.dense import measure, truth

D, RHO = 512, 0.9


def main() -> None:
    sizes = np.geomspace(D / 4, 16 * D, 20).astype(int)
    lams = np.geomspace(1e-4, 10, 50)
    x, y = selected_rows(KeepHard(0.5), RHO, sizes[-1], D, np.random.Generator(np.random.SFC64(0)))
    w0, penalties, sample = truth(RHO, D), np.outer(sizes, lams), slice(0, None, 10)

    def loop() -> np.ndarray:
        def fit(m: int, penalty: float) -> tuple[float, float, float]:
            return measure(Ridge(penalty, fit_intercept=False).fit(x[:m], y[:m]).coef_, w0)

        return np.array([[fit(m, penalty) for penalty in row[sample]] for m, row in zip(sizes, penalties, strict=True)])

    np.testing.assert_allclose(error_curves(x, y, w0, sizes, penalties)[:, sample], loop(), rtol=1e-8)
    (ours,) = seconds(lambda: error_curves(x, y, w0, sizes, penalties), repeats=3)
    (fits,) = seconds(loop, repeats=1)
    theirs = fits * len(lams) / len(lams[sample])
    print(f"error curves, 50 ridges x 20 sizes, d = {D}: {ours:.2f} s of one core")
    print(f"  rival, scikit-learn's Ridge in a loop (100 of its 1000 fits timed): {theirs:.0f} s; "
          f"ratio {theirs / ours:.0f}x (aim: 40x); same results to 1e-8")  # fmt: skip
    row("error curves, 40x scikit-learn", f"{ours:.2f} s", f"Ridge in a loop {theirs:.0f} s", theirs / ours)


if __name__ == "__main__":
    main()
