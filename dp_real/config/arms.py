"""Arms: ways to spend a budget of samples, as settings of the same loop (paper sections 3 and 5).

All arms train for the same number of steps.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dp_base.errors import InputError
from dp_base.registry import LAST, Registry
from dp_real.config.config import Config
from dp_real.config.load import key_of, override_key, parse_config, set_key
from dp_real.practice.section import differences

Changes = Mapping[str, Mapping[str, Any]]  # section -> key -> value
Settings = Callable[[Config, int], Changes]


@dataclass(frozen=True)
class Arm:
    """`settings` change a configuration for a number of samples; `run` replaces the loop and returns a result.json."""

    help: str
    settings: Settings
    run: Callable[[Config], dict[str, Any]] | None = None

    @classmethod
    def parse(cls, text: str) -> "Arm":
        return ARMS[ArmName.parse(text).arm]


ARMS: Registry[Arm] = Registry("arms", "dp_real.config")
PRUNED = {"omega": 0.0, "candidates": 1, "likelihood_weight": 0.0}  # [guidance] of the pruning arms
OVERSAMPLE = 5  # practice.oversample of the pruning arms, unless the configuration sets it
FEW_ALONE: Changes = {"practice": {"initial": 0, "additions": 0}}
OF_SAMPLES = ("practice.initial", "practice.increment", "practice.additions")  # an arm keeps their total alone
NOT_OF_AN_ARM = ("seed", "data.split", "name")


class ArmName(NamedTuple):
    """The parts of NAME, NAME-SAMPLES and NAME@KEY=VALUE, such as practice-5000@guidance.omega=0.04."""

    arm: str
    samples: int | None
    settings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "ArmName":
        plain, *settings = text.split("@")
        match = None if plain in ARMS else re.fullmatch(r"(.+)-(\d{1,18})", plain)
        name, samples = match.groups() if match else (plain, None)
        _ = ARMS[name]  # raises for an unknown one
        for setting in settings:
            if "=" not in setting:
                raise InputError(f"arm {text!r}: {setting!r} must read KEY=VALUE, as in {plain}@guidance.omega=0.04")
            if (key := key_of(setting)) in NOT_OF_AN_ARM:
                raise InputError(f"arm {text!r}: {key} is the same for all arms, which are compared in pairs")
        return cls(name, int(samples) if samples else None, tuple(settings))


def split_names(text: str) -> list[str]:
    """Split a list at commas, except those within a value's brackets: [[0.2,1]]."""
    names, depth = [""], 0
    for letter in text:
        depth = max(0, depth + (letter in "[{") - (letter in "]}"))
        if letter == "," and not depth:
            names.append("")
        else:
            names[-1] += letter
    return [name.strip() for name in names]


def arm_config(config: Config, text: str, settings: Mapping[str, Any] | None = None, where: str = "") -> Config:
    """`config` with `settings`, those in the arm's name, then what the arm itself changes."""
    name, samples_named, own = ArmName.parse(text)
    of_arm = ARMS[name].settings
    if own or settings:  # such as practice.oversample = 2 for a pruning arm, which is valid only without guidance
        changed = _laid_over(config, {**of_arm(config, samples_named or config.samples), "practice": {}})
        for key, value in (settings or {}).items():
            set_key(changed, key, value, where or text)
        for setting in own:
            override_key(changed, setting)
        config = parse_config(changed, where=where or text)
    samples = config.samples if samples_named is None else samples_named
    changes = {section: dict(values) for section, values in of_arm(config, samples).items()}
    practice = changes.setdefault("practice", {})
    if "additions" not in practice:
        initial = config.practice.initial
        increment = config.practice.increment
        practice["additions"], rest = divmod(samples - initial, increment)
        if samples < initial or rest:
            raise InputError(f"arm {text}: {samples} is not {initial} plus a multiple of {increment} samples")
    settled = parse_config(_laid_over(config, changes), where=text)
    fixed = differences(config, settled, OF_SAMPLES)
    for key in filter(fixed.__contains__, map(key_of, own)):
        raise InputError(f"arm {text}: in this arm {key} is {fixed[key][1]!r}: leave out that setting")
    return settled


def _laid_over(config: Config, changes: Changes) -> dict[str, Any]:
    raw = config.model_dump()
    laid = {section: raw[section] | values for section, values in changes.items()}
    if laid.get("learner", raw["learner"])["kind"] != raw["learner"]["kind"]:
        laid["learner"] = changes["learner"]  # another kind has other keys
    return raw | laid


def arm(
    name: str, help: str, *, place: int = LAST, run: Callable[[Config], dict[str, Any]] | None = None
) -> Callable[[Settings], Settings]:
    """Register an arm's settings; `place` is its position in lists."""

    def register(settings: Settings) -> Settings:
        ARMS.register(name, Arm(help, settings, run), place=place)
        return settings

    return register


def oversample(config: Config) -> int:
    """How many times an arm that prunes draws its rows."""
    return config.practice.oversample if config.practice.oversample > 1 else OVERSAMPLE


@arm("practice", "the loop, guided by its own learner", place=1)
def _practice(config: Config, samples: int) -> Changes:
    return {}


@arm("practice-unguided", "the loop, with plain samples (omega = 0)", place=2)
def _unguided(config: Config, samples: int) -> Changes:
    return {"guidance": {"omega": 0.0}}


@arm("static", "all samples drawn before training starts", place=3)
def static(config: Config, samples: int) -> Changes:
    """The settings of a run that adds nothing."""
    return {"practice": {"initial": samples, "additions": 0}}


@arm("prune-in-loop", "the loop; each round over-generated and the hardest kept", place=4)
def _prune_in_loop(config: Config, samples: int) -> Changes:
    return {"guidance": PRUNED, "practice": {"oversample": oversample(config)}}


@arm("prune-once", "one addition, over-generated, the hardest kept", place=5)
def _prune_once(config: Config, samples: int) -> Changes:
    once = {"oversample": oversample(config), "increment": samples - config.practice.initial, "additions": 1}
    return {"guidance": PRUNED, "practice": once}


@arm("random-direction", "guided in random directions; an automatic strength is searched for these", place=6)
def _random_direction(config: Config, samples: int) -> Changes:
    return {"guidance": {"control": "random-direction"}}


@arm(
    "real", "only those of data.real_per_class; without that key, the real examples that trained the generator", place=7
)
def _real(config: Config, samples: int) -> Changes:
    if config.data.real_per_class:
        return FEW_ALONE
    return {"practice": {"initial": samples, "real": samples, "additions": 0}}


@arm("finetune", "practice.encoder, trained further on the real examples of data.real_per_class alone", place=8)
def _finetune(config: Config, samples: int) -> Changes:
    encoder = config.practice.encoder
    if not (encoder and config.data.real_per_class):
        raise InputError("arm finetune: set practice.encoder and data.real_per_class, in the file or by --set")
    return {"learner": {"kind": "transformers", "model": encoder}, **FEW_ALONE}
