"""When does it hold? Errors on penultimate features of digits and of fashion, predicted and measured."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import cpu_count

from dp_base.errors import MissingError
from dp_base.workers import in_parallel
from dp_experiments.paper.checked import GAUSSIAN, MEASURED_LAW, picture, tidy
from dp_experiments.presets.presets import load_preset
from dp_experiments.studies.digits.digits_runs import digits
from dp_experiments.terminal import aside, say
from dp_real import Run, run
from dp_real.data.examples import balanced_rows
from dp_real.evaluate.assess import penultimate
from dp_real.runs.afterwards import features
from dp_real.runs.prepare import load_data
from dp_theory import Features, check
from dp_theory.validity.check import Check

SMALL_DIGITS = "0+1+2+3+4"
LARGE_DIGITS = "5+6+7+8+9"
COAT = 4  # of fashion, with shirts the two classes that are nearest to each other
SHIRT = 6
TRAINED = 8000  # real images of fashion that train its learner


def compute(quick: bool) -> pd.DataFrame:
    """Without its images, fashion is left out."""
    trials = 8 if quick else 40
    jobs = [("digits", 5000 if quick else 20_000, trials), ("fashion", 100 if quick else 400, trials)]
    found = in_parallel(cpu_count(), _checked, jobs)
    tables = [tidy(one, name, trials) for (name, *_), one in zip(jobs, found, strict=True) if one]
    return pd.concat(tables, ignore_index=True)


def _checked(name: str, amount: int, trials: int) -> Check | None:
    try:
        return check({"digits": _digits, "fashion": _fashion}[name](amount), trials=trials)
    except MissingError as error:  # raised in a worker, it would end the other's work
        if name != "fashion":
            raise
        say(f"fig-check: without {name}: {error}")
        return None


def _digits(rows: int) -> Features:
    with tempfile.TemporaryDirectory() as folder:
        run(digits(), Path(folder) / "run", progress=aside("digits"))
        x, y = features(Run(Path(folder) / "run"), rows, aside("digits"))
    return Features.of(x, y, classes=(SMALL_DIGITS, LARGE_DIGITS))


def _fashion(steps: int) -> Features:
    plainly = (f"training.steps={steps}", "training.learning_rate=0.001", "training.randaugment=0")
    learned = (f"practice.initial={TRAINED}", f"practice.real={TRAINED}", "practice.additions=0", *plainly)
    config = load_preset("fashion", learned)
    with tempfile.TemporaryDirectory() as folder:
        run(config, Path(folder) / "run", progress=aside("fashion"))
        learner = Run(Path(folder) / "run").learner()
    images = load_data(config, aside("fashion")).generator
    assert images is not None, "fashion has them"
    y = images.y.numpy()
    unseen = np.setdiff1d(np.arange(len(y)), balanced_rows(y, TRAINED, config.data.split))
    chosen = unseen[np.isin(y[unseen], (COAT, SHIRT))]
    return Features.of(penultimate(learner, images.x[chosen]), y[chosen], classes=(COAT, SHIRT))


draw = picture


def caption(table: pd.DataFrame) -> str:
    lines = table.query("kind == 'predicted'").assign(task=table["panel"].str.split().str[0])
    z_of_law = lines.loc[lines["series"] == MEASURED_LAW, "z"].abs()
    points = table.query("kind == 'measured'")
    key = ["panel", "x"]
    joined = points.merge(lines[lines["series"] == GAUSSIAN], on=key, suffixes=("", "_theory"))
    ratios = (joined["y_theory"] / joined["y"]).groupby(joined["task"]).agg(["min", "max"])
    told = "; ".join(
        f"{task}: {row['min']:.2g} to {row['max']:.2g} times the measured error" for task, row in ratios.iterrows()
    )
    missing = "" if "fashion" in set(lines["task"]) else " (fashion is left out: its images are not on this machine.)"
    return (
        "Error of ridge regression on penultimate features of this package's learners against the number of kept rows, "
        "for random, keep-hard and keep-easy selection. digits: the small half of plain generated digits against the "
        "large one; fashion: real coats against shirts. Points: measured, mean and one standard error of "
        f"{table['n_seeds'].max():.0f} experiments. Gaussian theory: Σ, ρ and the share of flips are the features' own "
        f"({told}). Measured law: the law of the scores, the labels and the kept rows' moments too; |z| ≤ 2 in "
        f"{(z_of_law <= 2).mean():.0%} of {len(z_of_law)} cells, at most {z_of_law.max():.1f}.{missing}"
    )
