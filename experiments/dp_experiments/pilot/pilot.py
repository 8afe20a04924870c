"""A pilot: a short practice run, and a classifier of real images that says whether its labels are right.

No test image is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dp_base.errors import InputError
from dp_base.progress import Progress
from dp_experiments.comparing.compare import Comparison, run_arms
from dp_experiments.looking.judge import Judge, load_judge
from dp_experiments.pilot.boundary import boundary, scores
from dp_experiments.pilot.label_agreement import Trust, agreement, judged_rows, trust
from dp_real.config import Config, parse_config
from dp_real.examples import ExampleSet, RealData
from dp_real.runs.prepare import load_data
from dp_real.runs.reader import Run

LEAST = 400  # samples, unless there are many classes
SAMPLES_PER_CLASS = 8
ROUNDS = 2  # of practice, each a quarter of the samples
MOST_STEPS = 2000
EVALUATIONS = 30
MOST_REAL = 20_000  # real examples that a judge is trained on

MOSTLY_WRONG = 0.5  # of the hard samples: if fewer are confirmed, most of what is hard is mislabelled
FAULTY_GENERATOR = 0.8  # of the judge's own accuracy: if fewer plain samples are confirmed, the generator is at fault


@dataclass(frozen=True)
class PilotPlan:
    """How large a pilot is, and who judges its labels.

    n: samples of each practice run. seeds: practice runs. steps: of every run. judge: see load_judge; None for one that
    is trained here on the real training images.
    """

    n: int
    seeds: int
    steps: int
    judge: str | None = None

    @classmethod
    def of(cls, config: Config, n: int | None, seeds: int, steps: int | None, judge: str | None) -> PilotPlan:
        """A plan with what is left open filled in.

        Raises InputError for a number of samples that is too small, and where nothing can judge the labels.
        """
        classes = config.task.n_classes
        asked = n or max(LEAST, SAMPLES_PER_CLASS * classes)
        if asked % 4 or asked < 4 * classes:
            least = 4 * max(classes, -(-asked // 4))
            raise InputError(
                f"--n {asked}: should be a multiple of 4, a quarter of it at least one of each class: {least}"
            )
        if len(config.task.sample_shape) != 3:
            raise InputError("a pilot needs a judge of labels, which looks at images, and these are none")
        return cls(asked, seeds, steps or min(config.training.steps, MOST_STEPS), judge)


def short(config: Config, plan: PilotPlan) -> Config:
    """The configuration's practice in small: half of the samples at first, then ROUNDS rounds of a quarter.

    Raises InputError for a practice without guidance.
    """
    if not config.guidance.omega and config.practice.oversample == 1:
        raise InputError("guidance.omega = 0: there is nothing to try; set guidance.omega = 'auto' or a strength")
    if config.practice.start == "real":
        raise InputError("practice.start = 'real': a pilot looks at generated samples; set it to 'generated'")
    raw = config.model_dump()
    raw["practice"] |= {
        "initial": plan.n // 2,
        "increment": plan.n // (2 * ROUNDS),
        "additions": ROUNDS,
        "patience": 1,
        "patience_policy": "fixed",
        "evaluate_every": max(1, plan.steps // EVALUATIONS),
        "branch": False,
        "examples": "generated",
    }
    raw["training"] |= {"steps": plan.steps}
    if "sets" in raw["data"]:
        raw["data"] |= {"sets": {}}
    return parse_config(raw | {"tracker": "none"}, "the pilot")


def pilot(
    config: Config, plan: PilotPlan, out: Path, workers: int, progress: Progress, accept_changes: bool = False
) -> dict[str, Any]:
    """Run a pilot in a folder, which may hold a part of it, and return its facts.

    Returns
    -------
    dict
        judge: who judged, and its accuracy on validation images. rounds: see `agreement`; round 0 is plain. boundary:
        see dp_experiments.pilot.boundary, for the labels of real images and of plain and guided samples. planned and
        additions: rounds that were asked for, and the mean of those made. seconds of all runs, and of generation.
        remarks: what the facts say, in sentences.

    Raises
    ------
    InputError
        If the judge does not know the classes, or none is named and there are no real training images.
    """
    small = short(config, plan)
    data = load_data(config, progress, test=False)
    # A judge that was named is tried before any run, since it may not know the classes.
    judged = _trusted(plan.judge, config, data) if plan.judge else None
    arms = ["practice"] if judged else ["practice", _judges_arm(config, data)]
    split = config.data.split  # the generator of this split is perhaps in the cache
    runs = run_arms(
        small, arms, plan.seeds, 1, out, workers, progress, split, test=False, accept_changes=accept_changes
    )
    comparison = Comparison(out)
    trained_here = comparison.run_folder(arms[-1], split)
    judge, own = judged or _trusted(str(trained_here), config, data)
    practice = [Run(comparison.run_folder("practice", seed)) for seed in sorted(runs["seed"].unique())]
    facts: dict[str, Any] = {
        "n": plan.n,
        "seeds": plan.seeds,
        "steps": plan.steps,
        "judge": {"what": plan.judge or str(trained_here.relative_to(out))} | own._asdict(),  # true if `out` moves
        "rounds": agreement(pd.concat([judged_rows(run, judge) for run in practice])),
        "boundary": _boundaries(practice, judge, data.validation),
        "additions": float(runs.loc[runs["arm"] == "practice", "additions"].mean()),
        "planned": ROUNDS,
        "seconds": float(runs["seconds"].sum()),
        "generation_seconds": float(runs["generation_seconds"].sum()),
    }
    return facts | {"remarks": remarks(facts)}


def _trusted(given: str, config: Config, data: RealData) -> tuple[Judge, Trust]:
    """A judge, and how often it is right about validation images."""
    judge = load_judge(given, config.task)
    return judge, trust(judge, data.validation)


def _judges_arm(config: Config, data: RealData) -> str:
    """The arm that trains on real images at the learner's size. Raises InputError if there are too few."""
    n = 0 if data.generator is None else len(data.generator.y)
    if n < config.task.n_classes:
        raise InputError("there are no real training images to train a judge of labels on: name one as --judge")
    native = "@pool.size=0" if config.pool.size else ""  # real examples have the learner's size
    return f"real-{min(n, MOST_REAL)}{native}"


def _boundaries(runs: Sequence[Run], judge: Judge, real: ExampleSet) -> dict[str, Any]:
    """Where the labels of real images, plain samples and guided samples put the boundaries of classes."""
    tables = [run.pool.table() for run in runs]
    labels = np.concatenate([table["label"].to_numpy() for table in tables])
    guided = np.concatenate([table["round"].to_numpy() for table in tables]) > 0
    z = np.concatenate([scores(judge, run.pool.x, len(run.pool)) for run in runs])
    of_real = scores(judge, real.x, len(real.y))
    found = {"real": boundary(of_real, real.y.numpy(), of_real)}
    for name, rows in (("plain", ~guided), ("guided", guided)):
        if rows.any():
            found[name] = boundary(z[rows], labels[rows], of_real)
    return {name: one._asdict() for name, one in found.items()}


def remarks(facts: dict[str, Any]) -> list[str]:
    """What a pilot's facts say of the labels, in sentences."""
    plain, *guided = facts["rounds"]
    said = [f"the judge confirms {plain['confirmed']:.0%} of the labels of plain samples"]
    if plain["confirmed"] < FAULTY_GENERATOR * facts["judge"]["accuracy"]:
        said[0] += ": the generator itself is at fault"
    if guided:
        last = guided[-1]
        said.append(f"it confirms {last['confirmed']:.0%} of those of guided samples")
        hard = last["confirmed_of_missed"]
        if hard is not None:
            said.append(f"it confirms {hard:.0%} of those that the learner misses")
            if hard < MOSTLY_WRONG:
                said[-1] += ": most of what is hard is mislabelled, so lower guidance.wrong_share, or omega"
    if facts["additions"] < facts["planned"]:
        said.append(f"practice made {facts['additions']:.1f} of {facts['planned']} additions: give it more --steps")
    return said
