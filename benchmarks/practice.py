"""The practice loop's theory against one simulated run."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _timing import row, seconds

from dp_theory import PracticeProblem, Window, predict, simulate


def main() -> None:
    loop = PracticeProblem(0.25, 1e-6, [Window(1)] * 8)
    prediction, runs = predict(loop), []
    (theory,) = seconds(lambda: predict(loop))
    (both,) = seconds(lambda: runs.append(simulate(loop, 1000, 2)), repeats=1)
    run = (both - theory) / 2  # simulate first computes the thresholds from the theory
    row("practice theory, 8 rounds, 2 s", f"{theory:.3f} s", f"a run at d = 1000 {run:.1f} s", run / theory)
    print(f"  last test error {prediction.test_error[-1]:.6f}; two runs' mean {runs[0].test_error[-1]:.6f}")


if __name__ == "__main__":
    main()
