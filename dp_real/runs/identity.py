"""What a run depends on, as digests, recorded when it begins and compared later."""

import logging
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata

from torch import Tensor

from dp_base.checksums import digest, json_digest
from dp_base.errors import InputError, MissingError
from dp_base.reading import read_json
from dp_base.registry import code_digest
from dp_real.config import Config, load_config
from dp_real.data.examples import ExampleSet, RealData
from dp_real.data.sets.images import SAMPLED, ImageFiles
from dp_real.guidance.entropy import OBJECTIVES
from dp_real.pool.marks import read_marks
from dp_real.pool.pool import FORMAT
from dp_real.pool.storages import STORAGES
from dp_real.practice.objects import GIVEN, GIVEN_PIPELINE
from dp_real.practice.rounds import KEEP
from dp_real.practice.section import flat
from dp_real.runs.files import STATE, RunFiles, checkpoints
from dp_real.runtime.cache import fingerprints
from dp_real.runtime.section import HUB

log = logging.getLogger(__name__)
CONFIG = "config"
VERSIONS = ("deliberate-practice", "torch", "diffusers", "transformers", "scikit-learn")
WEIGHTS = "weights of "  # before the key of a model
NAMES = {
    "validation": "validation set",
    "few": "real examples that are trained on",
    "training": "training examples",
    "code": "code of the generator",
    "marks": "marked examples",
    "test": "test set",
    **{
        f"{part}.digest": f"{part} that was given, or globals of its code," for part in ("generator", "learner", "data")
    },
    "generator.model": "pipeline that was given",
}
"""Names in messages of what a run depends on, if they differ from the key."""
OF_DRAWING = ("classes", "validation", "training", "code", "data code", "storage code", f"{WEIGHTS}generator")
"""What the samples of a generator depend on."""


def input_digests(config: Config, data: RealData | None, *, test: bool = True) -> dict[str, str]:
    """Digests of what a run depends on besides its configuration, whatever the files' names.

    With `data`, they include the validation set, training examples if used, and with `test` the test and further sets.
    """
    needs_generator, marks = config.practice.needs_generator, config.pool.marks
    objective = config.guidance.objective
    digests = {
        "classes": json_digest(config.task.classes),
        "code": config.generator.code_digest() if needs_generator else "",
        "learner code": config.learner.code_digest(),
        "data code": config.data.code_digest(),
        "storage code": code_digest(STORAGES[config.pool.storage].__module__),
        "keep code": code_digest(KEEP[config.practice.keep].__module__),
        "objective code": "" if objective.startswith(GIVEN) else code_digest(OBJECTIVES[objective].__module__),
        "marks": json_digest(sorted(read_marks(marks))) if marks else "",
        **object_digests(config),
    }
    for part in (*([config.generator] if needs_generator else []), config.learner, config.practice):
        digests |= {f"{WEIGHTS}{key}": value for key, value in part.weights_digests().items()}
    if data is not None:
        digests["validation"] = _set_digest(data.validation)
        if data.few is not None:
            digests["few"] = _set_digest(data.few)
        if data.train is not None and config.uses_training_examples:
            digests["training"] = json_digest(data.train.fingerprint())
        if test:
            digests["test"] = _set_digest(data.test)
            digests |= {f"set {name}": _set_digest(examples) for name, examples in data.sets.items()}
    return {name: value for name, value in digests.items() if value}


def object_digests(config: Config) -> dict[str, str]:
    """Digests of the given Python objects, by key."""
    keys = flat(config.model_dump(mode="json"))
    return {
        key: str(each)
        for key, each in keys.items()
        if key.endswith(".digest")
        or str(each).startswith(f"{GIVEN} ")
        or (key == "generator.model" and config.generator.kind == GIVEN_PIPELINE)
    }


def _set_digest(examples: ExampleSet) -> str:
    """A digest of labels, of about SAMPLED examples, and of all values, or the sizes (not times) of files."""
    x = examples.x
    rest = x.sizes() if isinstance(x, ImageFiles) else fingerprints(x) if isinstance(x, Tensor) else []
    return json_digest([fingerprints(x[:: max(1, len(examples.y) // SAMPLED)], examples.y), rest])


def drawing_identity(config: Config, now: Mapping[str, str]) -> str:
    """A digest of what the initial samples depend on."""
    sections = config.model_dump(mode="json", include={"data", "generator", "sampling", "pool", "seed", "threads"})
    parts = {name: value for name, value in now.items() if name.startswith(OF_DRAWING)}
    if not config.generator.trained_here:
        parts.pop("training", None)
    return json_digest([FORMAT, sections, config.training.precision, parts], sort_keys=True)[:16]


def versions() -> dict[str, str]:
    """Versions of Python and of what computes."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in VERSIONS}


def recorded_inputs(files: RunFiles) -> dict[str, str]:
    """What a run depended on, from its result, newest readable checkpoint, or first blocks."""
    if (result := files.read_result()) is not None:
        return result.get("inputs", {})
    for checkpoint in checkpoints(files.checkpoints):
        if checkpoint.problem([STATE]) is None:
            return checkpoint.record.get("inputs", {})
    return read_json(files.drawn_with) if files.drawn_with.exists() else {}


def input_changes(files: RunFiles, config: Config | None = None) -> list[str]:
    """A line for each change in what a run depends on. Missing data are not compared."""
    before = recorded_inputs(files)
    if not before:
        return []
    config = config or load_config(files.config)
    changes = input_differences(files, before, {CONFIG: digest(files.config)})
    try:
        now = input_digests(config, _data_here(config), test="test" in before)
    except (InputError, MissingError) as error:  # a command that needs it raises its own error
        log.warning("%s: not all that it depends on can be compared: %s", files.path, error)
        return changes
    return [*changes, *input_differences(files, before, now)]


def _data_here(config: Config) -> RealData | None:
    """The data, without fetching. If some are missing, None with a warning."""
    try:
        for each in config.data.describe():
            if each.problem and each.found.startswith(HUB):
                raise MissingError(each.problem)
        return config.real_data()
    except MissingError as error:
        log.warning("the data are missing, so they are not compared with the run's: %s", error)
        return None


def input_differences(files: RunFiles, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A line for each recorded input that differs now."""
    changed = sorted(name for name in now.keys() & before.keys() if now[name] != before[name])
    called = {name: files.config if name == CONFIG else f"the {NAMES.get(name, name)}" for name in changed}
    return [f"{called[name]} changed since {files.path} began" for name in changed]


def accept_inputs(changed: Iterable[str], accept: bool, effect: str = "results may not be the run's own") -> list[str]:
    """Log and return these changes. InputError unless `accept`."""
    changed = list(changed)
    if changed and not accept:
        raise InputError(
            f"{'; '.join(changed)}: restore it, or continue nevertheless by --accept-changes (accept_changes=True)"
        )
    for change in changed:
        log.warning("%s: %s", change, effect)
    return changed
