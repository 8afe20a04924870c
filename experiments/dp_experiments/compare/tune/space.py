"""What is searched, arm by arm; the defaults are in space.toml."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from importlib import resources
from importlib.util import find_spec
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from dp_base.errors import InputError, warn_once
from dp_base.reading import foreign_file, toml_value
from dp_experiments.compare.tune.tuned import with_settings
from dp_real.config import Config
from dp_real.config.arms import Arm, ArmName, arm_config
from dp_real.config.load import key_of
from dp_real.practice.section import flat

Space = dict[str, BaseDistribution]
"""Key of the configuration -> its range, or a choice among values that are written as JSON."""

RANGE = re.compile(r"(x?)([^:x]+):(x?)([^:x]+)(:log)?")
OF_IMAGES = ("training.crop", "training.cutmix", "training.randaugment")  # not of vectors, which nothing else refuses
SEARCHABLE = ("training", "sampling", "practice", "guidance", "generator", "pool", "learner")  # sections
SIZES = ("practice.initial", "practice.increment", "practice.additions")
NEAR_END = 0.02  # of a range's length, or of its logarithm's
DIGITS = 3  # significant ones of a proposed number


def read_searches(searches: Iterable[str]) -> dict[str, Any]:
    """KEY -> what `--search KEY=LOW:HIGH` or `KEY=[VALUE, …]` asks for."""
    domains: dict[str, Any] = {}
    for search in searches:
        key, equals, text = (part.strip() for part in search.partition("="))
        if key in domains:
            raise InputError(f"--search {key} is given twice: give it once")
        with foreign_file(f"--search {key}=…"):
            domains[key] = toml_value(text)
        usable = (isinstance(domains[key], list) and domains[key]) or RANGE.fullmatch(str(domains[key]))
        if not equals or not all(key.split(".")) or not usable:
            raise InputError(
                f"--search {search}: must read KEY=LOW:HIGH, KEY=LOW:HIGH:log or KEY=[VALUE, …], for example "
                "training.learning_rate=1e-4:1e-2:log"
            )
    return domains


def space_of(config: Config, arm: str, searches: Mapping[str, Any]) -> Space:
    """The defaults, and the user's `searches` in place of theirs.

    What the arm's name sets, and defaults that the configuration cannot have, are left out; as `searches` they are
    errors.
    """
    _require_searchable(searches)
    if Arm.parse(arm).run:
        raise InputError(f"arm {arm} trains no learner of the configuration: it has nothing to be tuned")
    cell = arm_config(config, arm)
    name = ArmName.parse(arm)
    settled = set(map(key_of, name.settings))
    adds = cell.practice.additions > 0
    prunes = cell.practice.oversample > 1
    is_image = len(config.task.sample_shape) == 3
    sections = {"guidance": adds and bool(cell.guidance.omega), "practice": adds}
    defaults = tomllib.loads(
        (resources.files("dp_experiments.compare.tune") / "space.toml").read_text(encoding="utf-8")
    )
    automatic = cell.guidance.omega == "auto" and "guidance.omega" not in searches
    defaults.pop("guidance.omega" if automatic else "guidance.wrong_share")
    defaults = {key: domain for key, domain in defaults.items() if is_image or key not in OF_IMAGES}
    if find_spec("kornia") is None and defaults.pop("training.randaugment", None):
        warn_once("kornia is not installed: training.randaugment is not searched")
    base = cell if prunes else config  # which may be guided, so that it cannot prune
    space: Space = {}
    for key, domain in (defaults | dict(searches)).items():
        used = prunes if key == "practice.oversample" else sections.get(key.partition(".")[0], True)
        if used and key not in settled:
            if key in SIZES and name.samples is None:
                raise InputError(f"--search {key}: it changes how many samples {arm} makes; name the arm {arm}-N")
            if key == "practice.additions":
                raise InputError(f"--search {key}: it follows from {name.samples} samples; search practice.increment")
            with suppress(InputError) if key not in searches else nullcontext():
                if key not in searches and isinstance(domain, list):
                    domain = [value for value in domain if _can_have(base, key, value)]
                    if len(domain) < 2:
                        continue
                distribution = _distribution(base, key, domain)
                with suppress(InputError):  # what the arm's own settings exclude is not searched
                    _distribution(cell, key, domain)
                    space[key] = distribution
    return space


def _require_searchable(keys: Iterable[str]) -> None:
    """Refuse a key that decides what is asked, and not how a run answers it."""
    for key in keys:
        if key in ("seed", "data.split"):
            raise InputError(f"--search {key}: every trial has the same seeds and splits; see --seeds and --splits")
        section = key.partition(".")[0]
        if section in Config.model_fields and section not in SEARCHABLE:
            raise InputError(
                f"--search {key}: every trial has the same task, so that the best is no easier one; search keys of "
                f"{', '.join(SEARCHABLE)}"
            )


def _can_have(config: Config, key: str, value: Any) -> bool:
    try:
        with_settings(config, {key: value}, key)
    except InputError:
        return False
    return True


def _distribution(config: Config, key: str, domain: Any) -> BaseDistribution:
    where = f"--search {key}={domain if isinstance(domain, str) else json.dumps(domain)}"
    if isinstance(domain, list):
        for value in domain:
            with_settings(config, {key: value}, where)
        return CategoricalDistribution([json.dumps(value) for value in domain])
    own = flat(config.model_dump(mode="json")).get(key)
    match = RANGE.fullmatch(domain)
    is_number = isinstance(own, int | float) and not isinstance(own, bool)
    assert match, "read_searches has checked it"
    if isinstance(own, bool):
        raise InputError(f"{where}: is true or false, which has no range: --search {key}=[false, true]")
    try:
        low, high = (_bound(match[at], match[at + 1], own if is_number else None) for at in (1, 3))
        if low > high:
            raise ValueError("the smaller end comes first")
        searched = (
            IntDistribution(round(low), round(high), log=match[5] is not None)
            if is_number and isinstance(own, int)
            else FloatDistribution(low, high, log=match[5] is not None)
        )
        for value in (searched.low, searched.high):
            with_settings(config, {key: value}, where)
        return searched
    except InputError:
        raise
    except (ValueError, OverflowError) as error:
        raise InputError(f"{where}: {error}") from None


def _bound(factor: str, text: str, own: float | None) -> float:
    if factor and own is None:
        raise ValueError("x is a multiple of the configuration's own value, which is no number")
    return float(text) * (own if factor and own is not None else 1)


def at_end(distribution: BaseDistribution, value: float) -> str | None:
    """Which end of its range a value lies at, if any; 0 counts as none."""
    if not isinstance(distribution, FloatDistribution | IntDistribution) or distribution.low == distribution.high:
        return None
    ends_and_value = np.array([distribution.low, distribution.high, value], float)
    low, high, own = np.log(ends_and_value) if distribution.log else ends_and_value
    place = (own - low) / (high - low)
    return "highest" if place > 1 - NEAR_END else "lowest" if place < NEAR_END and distribution.low else None


def own_parameters(config: Config, space: Space) -> dict[str, Any]:
    """The configuration's own values as a trial's, or the nearest that the space has."""
    own = flat(config.model_dump(mode="json"))
    return {key: _nearest(distribution, own.get(key)) for key, distribution in space.items()}


def _nearest(distribution: BaseDistribution, own: Any) -> Any:
    number = float(own) if isinstance(own, int | float) else None
    if isinstance(distribution, CategoricalDistribution):
        values = [json.loads(str(choice)) for choice in distribution.choices]
        if own in values:
            return distribution.choices[values.index(own)]
        if number is not None and all(isinstance(value, int | float) for value in values):
            return distribution.choices[min(range(len(values)), key=lambda place: abs(values[place] - number))]
        return distribution.choices[0]
    return _within(distribution, float("-inf") if number is None else own)


def proposed(distribution: BaseDistribution, value: Any) -> Any:
    """A parameter as a sampler proposes it, with few digits, so that people can write it down."""
    return _within(distribution, float(f"{value:.{DIGITS}g}")) if isinstance(distribution, FloatDistribution) else value


def _within(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return min(max(value, distribution.low), distribution.high)
    return value


def settings_of(space: Space, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the configuration's keys that a trial's parameters stand for."""
    return {
        key: json.loads(value) if isinstance(space[key], CategoricalDistribution) else value
        for key, value in parameters.items()
    }
