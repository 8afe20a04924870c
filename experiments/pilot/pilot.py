"""A pilot: static runs of three small sizes, practice of the largest, and a judge that was trained on real images.

No test image is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dp_base.errors import InputError
from dp_base.progress import Progress
from dp_real.config import Config, parse_config
from dp_real.evaluation.assess import logits
from dp_real.examples import ExampleSet
from dp_real.pool import Pool
from dp_real.runs.prepare import load_data
from dp_real.runs.reader import Run
from dp_real.runtime.processes import slices
from experiments.comparing.compare import Comparison, run_arms
from experiments.looking.judge import Judge, load_judge
from experiments.pilot.agreement import ROWS, agreement, judged_rows, trust
from experiments.pilot.boundary import boundary, scores
from experiments.pilot.verdict import verdict
from experiments.pilot.worth import worth

LEAST = 400  # samples, unless there are many classes
OF_A_CLASS = 8
ROUNDS = 2  # of practice, each a quarter of the samples
MOST_STEPS = 2000
EVALUATIONS = 30
MOST_REAL = 20_000  # real examples that a judge is trained on


@dataclass(frozen=True)
class Plan:
    """n: samples of the largest static arm and of practice. steps: of every run. judge: see load_judge; None: trained
    here on the data's real training images, if there are any.
    """

    n: int
    seeds: int
    steps: int
    judge: str | None = None

    @classmethod
    def of(cls, config: Config, n: int | None, seeds: int, steps: int | None, judge: str | None) -> Plan:
        """A plan with what is left open filled in. Raises InputError for a number of samples that is too small."""
        classes = config.task.n_classes
        asked = n or max(LEAST, OF_A_CLASS * classes)
        if asked % 4 or asked < 4 * classes:
            least = 4 * max(classes, -(-asked // 4))
            raise InputError(
                f"--n {asked}: should be a multiple of 4, a quarter of it at least one of each class: {least}"
            )
        return cls(asked, seeds, steps or min(config.training.steps, MOST_STEPS), judge)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Of the static arms."""
        return self.n // 4, self.n // 2, self.n


def short(config: Config, plan: Plan) -> Config:
    """The configuration's practice in small: half of the samples at first, then ROUNDS rounds of a quarter.

    Raises InputError for a practice without guidance.
    """
    if not config.guidance.omega and config.practice.oversample == 1:
        raise InputError("guidance.omega = 0: there is nothing to try; set guidance.omega = 'auto' or a strength")
    if config.practice.start == "real":
        raise InputError("practice.start = 'real': a pilot compares generated samples; set it to 'generated'")
    raw, increment = config.model_dump(), plan.n // (2 * ROUNDS)
    raw["practice"] |= {
        "initial": plan.n // 2,
        "increment": increment,
        "additions": ROUNDS,
        "patience": 1,
        "patience_policy": "fixed",
        "evaluate_every": max(1, plan.steps // EVALUATIONS),
        "branch": False,
        "examples": "generated",
    }
    raw["training"] |= {"steps": plan.steps}
    raw["data"] |= {"sets": {}} if "sets" in raw["data"] else {}
    return parse_config(raw | {"tracker": "none"}, "the pilot")


def pilot(config: Config, plan: Plan, out: Path, workers: int, progress: Progress) -> dict[str, Any]:
    """Run the pilot in a folder, which may hold a part of it. Returns its facts.

    judge: its accuracy on validation images, or None; rounds: see agreement, round 0 being plain; boundary: see
    experiments.pilot.boundary, of real, plain and guided labels, empty without a judge; static and practice: see
    _accuracies, and of practice the samples made, the share guided, the additions made and planned; exponent and
    ratio: see Worth; cost: what a guided sample costs in FLOPs or, where they are not counted, in seconds, in plain
    ones; seconds, of all runs and of generation; verdict. Raises as dp_real.run does.
    """
    small, data = short(config, plan), load_data(config, progress, test=False)
    is_image = len(config.task.sample_shape) == 3
    if plan.judge and not is_image:
        raise InputError(f"--judge {plan.judge}: a judge looks at images, and these are none; leave it out")
    judge = load_judge(plan.judge, config.task) if plan.judge else None
    trusted = trust(judge, data.validation) if judge else None  # before any run, as it may not know the classes
    real = 0 if data.generator is None else len(data.generator.y)
    needed = is_image and plan.judge is None and real >= config.task.n_classes
    native = "@pool.size=0" if config.pool.size else ""  # real examples have the learner's size
    real_arm = f"real-{min(real, MOST_REAL)}{native}" if needed else None
    arms = [*(f"static-{n}" for n in plan.sizes), "practice", *([real_arm] if real_arm else [])]
    first = config.data.split  # the generator of this split is perhaps in the cache
    runs = run_arms(small, arms, plan.seeds, 1, out, workers, progress, first, test=False)
    comparison = Comparison(out)
    given = plan.judge or (str(comparison.run_folder(real_arm, first)) if real_arm else None)
    if given and judge is None:
        judge = load_judge(given, config.task)
        trusted = trust(judge, data.validation)
    seeds = sorted(runs["seed"].unique())
    of_arm = {arm: [Run(comparison.run_folder(arm, seed)) for seed in seeds] for arm in arms}
    by_arm = {arm: runs[runs["arm"] == arm] for arm in arms}
    static = [by_arm[f"static-{n}"] for n in plan.sizes]
    errors = {float(of_size["pool_size"].mean()): (1 - of_size["val_accuracy"]).tolist() for of_size in static}
    images = int(runs["val_examples"].iloc[0])
    made, additions = (float(by_arm["practice"][key].mean()) for key in ("pool_size", "additions"))
    found = worth(errors, (1 - by_arm["practice"]["val_accuracy"]).tolist(), made, images)
    practice, largest = of_arm["practice"], [run.pool for run in of_arm[f"static-{plan.n}"]]
    rows = pd.concat([judged_rows(run, judge) for run in practice]) if judge else None
    generation = float(runs["generation_seconds"].sum())
    facts: dict[str, Any] = {
        "n": plan.n,
        "seeds": plan.seeds,
        "steps": plan.steps,
        "judge": None if trusted is None else {"what": given} | trusted._asdict(),
        "rounds": agreement(rows) if rows is not None else [],
        "boundary": _boundaries(practice, judge, data.validation) if judge else {},
        "static": [_accuracies(n, by_arm[f"static-{n}"], _unseen(of_arm[f"static-{n}"], largest)) for n in plan.sizes],
        "practice": _accuracies(plan.n, by_arm["practice"], _unseen(practice, largest))
        | {"made": made, "guided": _guided(practice), "additions": additions, "planned": ROUNDS},
        "exponent": found.exponent._asdict(),
        "ratio": found.ratio._asdict(),
        "cost": _cost(pd.concat([run.rounds for run in practice])),
        "seconds": float(runs["seconds"].sum()),
        "generation_seconds": generation,
    }
    return facts | verdict(facts)


def _guided(runs: Sequence[Run]) -> float:
    """The share of the runs' rows that were added to the first ones."""
    return float(np.mean([(run.pool.table()["round"].to_numpy() > 0).mean() for run in runs]))


def _boundaries(runs: Sequence[Run], judge: Judge, real: ExampleSet) -> dict[str, Any]:
    """See experiments.pilot.boundary: of the real images' own labels, and of plain and guided ones."""
    tables = [run.pool.table() for run in runs]
    labels, rounds = (np.concatenate([table[key].to_numpy() for table in tables]) for key in ("label", "round"))
    guided = rounds > 0
    z, seen = np.concatenate([scores(judge, run.pool.x, len(run.pool)) for run in runs]), len(real.y)
    of_real = scores(judge, real.x, seen)
    found = {"real": boundary(of_real, real.y.numpy(), of_real)}
    for name, rows in (("plain", ~guided), ("guided", guided)):
        if rows.any():
            found[name] = boundary(z[rows], labels[rows], of_real)
    return {name: one._asdict() for name, one in found.items()}


@torch.no_grad()
def _unseen(runs: Sequence[Run], largest: Sequence[Pool]) -> float | None:
    """Percent of plain samples that the learners get right, of those of the largest pools which they have not seen.

    The largest pools begin with the plain samples of the runs' own. None if there are no others.
    """
    right: list[torch.Tensor] = []
    for run, pool in zip(runs, largest, strict=True):
        seen = int((run.pool.table()["round"].to_numpy() == 0).sum())
        if seen < len(pool):
            learner, rest = run.learner(), slices(slice(seen, len(pool)), ROWS)
            right += [logits(learner, pool.x[rows]).argmax(1) == pool.y[rows] for rows in rest]
    return 100 * float(torch.cat(right).double().mean()) if right else None


def _accuracies(n: int, runs: pd.DataFrame, plain: float | None) -> dict[str, Any]:
    """Mean accuracies in percent: on validation images, with its standard error over the runs (None for one run), and
    on plain samples, see _unseen.
    """
    validation = 100 * runs["val_accuracy"]
    return {
        "samples": n,
        "validation": float(validation.mean()),
        "se": float(validation.sem()) if len(runs) > 1 else None,
        "plain": plain,
    }


def _cost(rounds: pd.DataFrame) -> float | None:
    """What a row of an addition costs, in plain samples; None if no addition was made."""
    first, later = rounds[rounds["round"] == 0], rounds[rounds["round"] > 0]
    if not len(later):
        return None
    spent = "flops" if first["flops"].sum() > 0 else "seconds"
    plain, pushed = (each[spent].sum() / each["count"].sum() for each in (first, later))
    return float(pushed / plain)
