"""Do the bands of practice in finite dimension hold 95 % of single runs?

    python -m benchmarks.practice_bands

PracticePrediction.band, from 100 dimensions, is tried on runs of other seeds in 200, 400 and 800. Four minutes of a
core.
"""

import numpy as np

from dp_theory import predict, simulate
from dp_theory.loop import Addition, PracticeProblem, Window
from dp_theory.rules import KeepHard

LOOPS = {
    "window": PracticeProblem(0.25, 0.0, (Window(1.0, 1.0),) * 4),
    "threshold, flips": PracticeProblem(0.5, 0.1, (Addition(kept=0.5, keep=KeepHard(0.8)),) * 3, flip=0.05),
    "newest rows": PracticeProblem(0.4, 0.05, (Addition(kept=1.0, keep=KeepHard(0.5)),) * 3, accumulate=False),
}
FROM = (100, 400)  # dimension and trials of the simulation that the band is made from
AT = ((200, 300), (400, 200), (800, 60))  # of the runs that are judged


def main() -> None:
    shares = []
    for name, loop in LOOPS.items():
        prediction, small = predict(loop), simulate(loop, *FROM, seed=1)
        for d, trials in AT:
            low, high = prediction.band(small, d)
            errors = simulate(loop, d, trials, seed=d).test_errors
            share = ((low <= errors) & (errors <= high)).mean(axis=0)
            shares.append(share)
            print(f"{name}, d = {d}: {np.round(share, 3)}", flush=True)
    print(f"mean of all {np.concatenate(shares).mean():.3f}")


if __name__ == "__main__":
    main()
