"""Error curves over 50 ridges and 20 sample sizes at d = 512, against two rivals: a plain loop over scikit-learn's
Ridge, and the best that one would write, a symmetric eigendecomposition per size and then all ridges from it.

Only 100 of the loop's 1000 fits are made: five ridges at every size. Their results are compared with ours.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _timing import row, seconds
from scipy.linalg import eigh
from sklearn.linear_model import Ridge

from dp_theory.ridge.simulators.dense import measure, truth
from dp_theory.ridge.simulators.error_curves import error_curves, selected_rows
from dp_theory.rules import KeepHard

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

    def eigen() -> np.ndarray:
        gram, moment, done, curves = np.zeros((D, D)), np.zeros(D), 0, []
        for m, ridges in zip(sizes, penalties, strict=True):
            if m < D:  # through the smaller of the two Gram matrices
                values, vectors = eigh(x[:m] @ x[:m].T, check_finite=False)
                u = (vectors.T @ y[:m]) / (values + ridges[:, None])
                along, squared = u @ (vectors.T @ (x[:m] @ w0)), (u * u) @ values
            else:
                gram, moment, done = gram + x[done:m].T @ x[done:m], moment + x[done:m].T @ y[done:m], m
                values, vectors = eigh(gram, check_finite=False)
                w = (vectors.T @ moment) / (values + ridges[:, None])
                along, squared = w @ (vectors.T @ w0), (w * w).sum(1)
            curves.append(np.stack([np.arccos(along / np.sqrt(squared)) / np.pi, along, squared], axis=-1))
        return np.array(curves)

    curves = error_curves(x, y, w0, sizes, penalties)
    np.testing.assert_allclose(curves[:, sample], loop(), rtol=1e-8)
    np.testing.assert_allclose(curves, eigen(), rtol=1e-8)
    ours, best = seconds(lambda: error_curves(x, y, w0, sizes, penalties), eigen, repeats=3)
    (fits,) = seconds(loop, repeats=1)
    theirs = fits * len(lams) / len(lams[sample])
    print(f"error curves, 50 ridges x 20 sizes, d = {D}: {ours:.2f} s of one core")
    print(
        f"  rival, scikit-learn's Ridge in a loop (100 of its 1000 fits timed): {theirs:.0f} s; "
        f"ratio {theirs / ours:.0f}x (aim: 40x); same results to 1e-8"
    )
    print(f"  rival, one eigendecomposition per size, then its ridges: {best:.2f} s; ratio {best / ours:.1f}x")
    row("error curves, 40x scikit-learn", f"{ours:.2f} s", f"Ridge in a loop {theirs:.0f} s", theirs / ours)
    row("error curves, eigendecompositions", f"{ours:.2f} s", f"eigh per size {best:.2f} s", best / ours)


if __name__ == "__main__":
    main()
