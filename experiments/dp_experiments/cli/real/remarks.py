"""Warnings about finished runs that are not what was asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dp_real import Run
    from dp_real.config import Config


def too_few(additions: float, config: "Config") -> str | None:
    """A warning if runs have fewer additions than planned, in the mean."""
    if additions >= config.practice.additions:
        return None
    made = config.practice.initial + additions * config.practice.increment  # the pool may have real ones, too
    return (
        f"{made:,.0f} of {config.samples:,} samples came into the pool: patience took the steps; lower "
        "practice.patience or practice.evaluate_every, or raise training.steps"
    )


def judged_twice(config: "Config") -> str | None:
    """A warning if the images by which settings are chosen also give the accuracies that are compared."""
    from dp_real.data.sets.own import OwnSets

    if not isinstance(config.data, OwnSets) or config.data.test is not None:
        return None
    return "data.test is not set: arms are compared on the validation images, which chose patience and tuned settings"


def missed_aim(run: "Run") -> str | None:
    """A warning if a run's automatic strength ended at an end of its range."""
    from dp_real.practice.rounds import at_limit

    rounds = run.rounds
    last = rounds[rounds["round"] > 0].tail(1)
    if not len(last) or not (limit := at_limit(run.config, float(last["omega"].item()))):
        return None
    return f"{last['fraction_wrong'].item():.0%} of the last round's rows are wrong to the learner, and {limit}"
