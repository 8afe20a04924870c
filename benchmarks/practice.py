"""The practice loop's exact theory against one simulated run of the same loop."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time

from dp_theory.practice import Practice, Window, predict, simulate


def main() -> None:
    loop = Practice(0.25, 1e-6, [Window(1, power=2)] * 8)
    predict(loop)
    start = time.perf_counter()
    prediction = predict(loop)
    theory = time.perf_counter() - start
    start = time.perf_counter()
    runs = simulate(loop, 1000, 2)
    run = (time.perf_counter() - start - theory) / 2
    print(f"practice loop, 8 rounds, accumulated pool: theory {theory:.3f} s (aim: 2 s)")
    print(f"  rival, one run at d = 1000: {run:.1f} s; ratio {run / theory:.0f}x")
    print(f"  last test error {prediction.test_error[-1]:.6f}; two runs' mean {runs.test_error[-1]:.6f}")


if __name__ == "__main__":
    main()
