"""What a run needs, and whether it is available. Nothing is fetched."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import numpy as np
import psutil
import torch
from huggingface_hub.errors import RepositoryNotFoundError

from dp_base.errors import Finding, InputError, MissingError
from dp_base.imports import install_command
from dp_real.config import Config
from dp_real.data.examples import SetStatus
from dp_real.data.sets.images import decode_ahead
from dp_real.generators.diffusers import DiffusersConfig
from dp_real.learners import PretrainedConfig
from dp_real.plan import forecast
from dp_real.pool.marks import read_marks
from dp_real.runtime.cache import cache_folder, unwritable
from dp_real.runtime.distributed import own_cores
from dp_real.runtime.hub import headers_only
from dp_real.runtime.model_folders import (
    NAME_REMEDY,
    TIMM,
    download_command,
    is_hub_id,
    local_folder,
)
from dp_real.text.language_models import CausalLMConfig

CPU_DAYS = 30  # the longest that a run may take on a CPU
ELSEWHERE = "H100"  # the GPU to plan for if this CPU would take too long


@dataclass(frozen=True)
class Device:
    """The GPUs of a machine, or its CPU."""

    name: str
    count: int = 0  # 0 for a GPU on another machine
    memory: int = 0  # bytes of one device
    cores: int = 0  # of the CPU; 0 for GPUs


def this_device() -> Device:
    """The device that a run would use on this machine."""
    if torch.cuda.is_available():
        first = torch.cuda.get_device_properties(0)
        return Device(first.name, torch.cuda.device_count(), first.total_memory)
    cores = own_cores()
    return Device(f"CPU, {cores} core{'s' if cores > 1 else ''}", 1, psutil.virtual_memory().total, cores)


def planned_for(config: Config, network: forecast.Network) -> Device:
    """This machine, or a GPU elsewhere if this CPU would take too long."""
    here = this_device()
    return Device(ELSEWHERE) if _days(config, network, here) > CPU_DAYS else here


def _days(config: Config, network: forecast.Network, device: Device) -> float:
    """Days on a CPU, if known; 0 on GPUs."""
    if not device.cores:
        return 0
    estimate = forecast.hours(config, forecast.assumed(config, network, device.name, device.cores), 1)
    return np.nansum([estimate["drawing"], estimate["training"]]) / 24


def needs(config: Config, out: Path, device: Device | None = None) -> list[Finding]:
    """What a run into `out` needs, by default on this machine."""
    sets = config.data.describe()
    return [*_but_data(config, out, device), *_data(config, sets), *_looked_at(sets)]


def require(config: Config, out: Path) -> None:
    """Raise a MissingError that names all that is missing, unless only data are: reading may fetch them."""
    missing = [need.problem for need in _but_data(config, out) if need.problem]
    if missing:
        data = [need for need in _data(config, config.data.describe()) if not need.found.startswith("hub:")]
        raise MissingError(*missing, *(need.problem for need in data if need.problem))


def _but_data(config: Config, out: Path, device: Device | None = None) -> Iterator[Finding]:
    try:
        network = forecast.learner_network(config)
        yield _device(config, network, device or this_device())
        yield _disk(config, network, out)
        if config.practice.needs_generator and (seconds := config.generator.training_seconds(config.task)):
            took = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.2g} s"
            problem = None if cache_folder().exists() else unwritable()
            yield Finding("generator", f"from the cache, or trained on first use, about {took} of one core", problem)
    except MissingError:
        pass  # without data the shape is unknown; `_data` reports it
    for need in weights(config):
        yield need
        if need.what == "generator.model" and Path(need.found, "model_index.json").is_file():
            config.generator.model_copy(update={"model": need.found}).check_guidance(config.guidance)
    if config.pool.marks:
        yield _marks(config.pool.marks)
    if config.tracker != "none":
        yield tracker(config.tracker)


def tracker(package: str) -> Finding:
    """The package of a dashboard. InputError if accelerate does not know it."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    if package not in LOGGER_TYPE_TO_CLASS:
        raise InputError(f"tracker = '{package}': must be none, {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}")
    further = "" if package == "tensorboard" else f" {package}"
    problem = f"tracker = '{package}' needs that package: {install_command('track')}{further}"
    return Finding("package", package, None if find_spec(package) else problem)


def _device(config: Config, network: forecast.Network, device: Device) -> Finding:
    if not device.cores:
        return Finding("device", f"{device.count} × {device.name}" if device.count else f"{device.name}, elsewhere")
    days = _days(config, network, device)
    problem = f"no GPU: it would take this {device.name}, {days:,.0f} days; --device plans for a GPU elsewhere"
    return Finding("device", f"{device.name}; no GPU", problem if days > CPU_DAYS else None)


def _disk(config: Config, network: forecast.Network, out: Path) -> Finding:
    taken = sum(forecast.disk(config, network).values())
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    problem = f"{out} needs {readable_size(taken)} of disk, {readable_size(free)} are free: name another --out"
    return Finding("disk", f"{readable_size(taken)}; {readable_size(free)} are free", problem if taken > free else None)


def _marks(file: str) -> Finding:
    try:
        return Finding("pool.marks", f"{file}: {len(read_marks(file)):,} examples left out")
    except (InputError, MissingError) as error:
        return Finding("pool.marks", file, str(error))


def weights(config: Config) -> Iterator[Finding]:
    """The models of a run, and other requirements of their kinds."""
    for part in (*([config.generator] if config.practice.needs_generator else []), config.learner, config.practice):
        others = part.requirements()
        for key, model in part.weights().items():
            if key not in [each.what for each in others]:
                yield _weights_of(config, key, model)
        yield from others


def _weights_of(config: Config, key: str, model: str) -> Finding:
    folder = local_folder(model)
    if folder:
        try:
            with headers_only():
                _read(config, key, str(folder))
            return Finding(key, str(folder))
        except MissingError as error:
            fault = str(error)
        if folder == Path(model):
            return Finding(key, model, fault)
    else:
        fault = f"{model} is neither a folder nor in the hub's cache"
        if not is_hub_id(model):
            return Finding(key, model, f"{fault}; {NAME_REMEDY}")
    if model.startswith(f"{TIMM}/") and not find_spec(TIMM):
        return Finding(key, model, f"{model} is a model of timm, which is not installed; {install_command(TIMM)}")
    try:
        huggingface_hub.auth_check(model)
    except RepositoryNotFoundError:  # a GatedRepoError is one
        return Finding(key, model, f"{fault}: check the name, or accept its terms on its page and hf auth login")
    except Exception:  # there is no network
        command = download_command(model)
        return Finding(key, model, f"{fault}: {command} with a network, or --set {key}=FOLDER")
    return Finding(key, f"{model}, which a run will fetch")


def _read(config: Config, key: str, folder: str) -> None:
    """Load a model as a run will, if the task is known."""
    from dp_real.generators.pipelines.loading import load_tiny_decoder
    from dp_real.learners.models.classifier import load_encoder

    if key == "practice.encoder":
        load_encoder(folder)
    if key == "generator.tiny_decoder":
        load_tiny_decoder(folder)
    try:
        task = config.task
    except MissingError:  # `_data` reports it
        return
    if key == "learner.model" and isinstance(config.learner, PretrainedConfig):
        config.learner.pretrained_model(folder, task)
    if key == "generator.model" and isinstance(config.generator, DiffusersConfig | CausalLMConfig):
        alone = {"model": folder, "tiny_decoder": None, "shots": 0}
        config.generator.model_copy(update=alone).load(config.sampling, config.data)


def _looked_at(sets: Sequence[SetStatus]) -> Iterator[Finding]:
    """Check some examples; those that sets share are logged."""
    try:
        decode_ahead({each.what: each.examples for each in sets if each.examples})
    except (InputError, MissingError) as error:
        yield Finding("data: examples", "not all whole", str(error))


def _data(config: Config, sets: Sequence[SetStatus]) -> Iterator[Finding]:
    for each in sets:
        of_what = "texts" if config.data.modality == "text" else "images"
        count = "" if each.images is None else f": {each.images:,} {of_what}"
        if each.problem and not each.needed:
            yield Finding(f"data: {each.what}", f"{each.problem}; a run goes on without it")
        else:
            yield Finding(f"data: {each.what}", f"{each.found}{count}", each.problem)


def readable_size(number: float) -> str:
    """A number of bytes in a unit that fits."""
    if number < 1e6:
        return f"{number / 1e3:,.0f} kB"
    return f"{number / 1e9:,.0f} GB" if number >= 1e10 else f"{number / 1e6:,.0f} MB"
