"""The ways to spend a budget of samples, as settings of the one loop (paper sections 3, 5; design: section 2)."""

import re

from dp_real.config import Config, parse_config
from dp_real.errors import InputError

ARMS = {
    "practice": "the loop, guided by its own learner",
    "practice-unguided": "the loop, with plain samples (omega = 0)",
    "static": "all samples drawn before training starts",
}


def arm_config(config: Config, arm: str) -> Config:
    """The configuration of an arm of `config`; `ARM-N`, as in static-5000, changes the number of samples to N.

    Every arm trains for the same number of steps. Raises InputError for an unknown arm or an N that is out of reach.
    """
    match = re.fullmatch(r"(.+?)(?:-(\d+))?", arm)
    name, samples = (match[1], int(match[2] or config.samples)) if match else (arm, 0)
    if name not in ARMS:
        raise InputError(f"unknown arm {arm!r}: one of {', '.join(ARMS)}, each also as ARM-SAMPLES")
    plan = config.practice
    changes: dict[str, dict] = {}
    if name == "static":
        changes["practice"] = {"initial": samples, "additions": 0}
    else:
        additions, rest = divmod(samples - plan.initial, plan.increment)
        if additions < 0 or rest:
            raise InputError(f"arm {arm}: {samples} is not {plan.initial} plus a multiple of {plan.increment} samples")
        changes["practice"] = {"additions": additions}
    if name == "practice-unguided":
        changes["guidance"] = {"omega": 0.0}
    raw = config.model_dump()
    return parse_config(raw | {section: raw[section] | values for section, values in changes.items()}, where=arm)
