"""Warnings about finished runs that are not what was asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dp_real import Run
    from dp_real.config import Config


def too_few(made: float, additions: float, config: "Config") -> str | None:
    """A warning if runs have fewer additions than planned, in the mean, and no budget of their own ended them."""
    if additions >= config.practice.additions:
        return None
    return (
        f"{made:,.0f} of {config.samples:,} samples were made: patience took the steps; lower practice.patience or "
        "practice.evaluate_every, or raise training.steps"
    )


def judged_twice(config: "Config") -> str | None:
    """A warning if the images by which settings are chosen also give the accuracies that are compared."""
    from dp_real.data.sets.own import OwnSets

    if not isinstance(config.data, OwnSets) or config.data.test is not None:
        return None
    return "data.test is not set: arms are compared on the validation images, which chose patience and tuned settings"


def at_limit(run: "Run") -> str | None:
    """A warning if a run's automatic strength ended at an end of its range, and so missed its aim."""
    from dp_real.practice.rounds import end_of_range

    options = run.config.guidance
    rounds = run.rounds
    added = rounds[rounds["round"] > 0]
    if options.control != "none" or not len(added):
        return None
    end = end_of_range(run.config, float(added["omega"].iloc[-1]))
    if end is None:
        return None
    share = f"{added['fraction_wrong'].iloc[-1]:.0%} of the last round's rows are wrong to the learner"
    aim = f"guidance.wrong_share = {options.wrong_share:g}"
    if end == "lowest":
        why = f"plain ones are as hard as {aim} asks: raise it, or take plain samples"
    else:
        why = f"{aim} is out of reach: lower it"
    return f"the strength is at its {end}; {share}: {why}"
