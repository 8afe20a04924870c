"""The ways to spend a budget of samples, as settings of the one loop (paper sections 3, 5; design: section 2)."""

import re

from dp_base.errors import InputError
from dp_real.config.config import Config, parse_config

ARMS = {
    "practice": "the loop, guided by its own learner",
    "practice-unguided": "the loop, with plain samples (omega = 0)",
    "static": "all samples drawn before training starts",
    "prune-in-loop": "the loop; each round over-generated and the hardest kept",
    "prune-once": "one addition, over-generated, the hardest kept",
    "frozen": "guided by the learner as it was at the first addition",
    "random-direction": "pushed as far as practice does, in random directions",
    "finished": "the pushes made on finished samples instead of inside the sampler",
    "real": "the real examples that trained the generator",
}
OVERSAMPLE = 5  # of the pruning arms, unless the configuration says otherwise


def arm_config(config: Config, arm: str) -> Config:
    """The configuration of an arm of `config`; `ARM-N`, as in static-5000, changes the number of samples to N.

    Every arm trains for the same number of steps. Raises InputError for an unknown arm or an N that is out of reach.
    """
    match = re.fullmatch(r"(.+?)(?:-(\d+))?", arm)
    name, samples = (match[1], int(match[2] or config.samples)) if match else (arm, 0)
    if name not in ARMS:
        raise InputError(f"unknown arm {arm!r}: one of {', '.join(ARMS)}, each also as ARM-SAMPLES")
    plan = config.practice
    plain = {"omega": 0.0}
    oversample = plan.oversample if plan.oversample > 1 else OVERSAMPLE
    changes: dict[str, dict] = {
        "practice": {},
        "practice-unguided": {"guidance": plain},
        "static": {"practice": {"initial": samples, "additions": 0}},
        "prune-in-loop": {"guidance": plain, "practice": {"oversample": oversample}},
        "prune-once": {
            "guidance": plain,
            "practice": {"oversample": oversample, "increment": samples - plan.initial, "additions": 1},
        },
        "frozen": {"guidance": {"selector": "first"}},
        "random-direction": {"guidance": {"control": "random-direction"}},
        "finished": {"guidance": {"control": "finished"}},
        "real": {"practice": {"examples": "real", "initial": samples, "additions": 0}},
    }[name]
    if "additions" not in changes.get("practice", {}):
        additions, rest = divmod(samples - plan.initial, plan.increment)
        if additions < 0 or rest:
            raise InputError(f"arm {arm}: {samples} is not {plan.initial} plus a multiple of {plan.increment} samples")
        changes["practice"] = changes.get("practice", {}) | {"additions": additions}
    raw = config.model_dump()
    return parse_config(raw | {section: raw[section] | values for section, values in changes.items()}, where=arm)
