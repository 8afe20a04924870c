"""What a run needs, and whether it is there: device, memory, disk, weights, packages, data. Fetches nothing."""

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import psutil
import torch

from dp_base.errors import MissingError
from dp_base.extras import install_command
from dp_real.config import Config
from dp_real.estimate import clock, cost, speed, work
from dp_real.generators.diffusers import DiffusersConfig
from dp_real.runtime.hub import NAME, WHOLE, download, is_hub_id, lacking, misnamed
from dp_real.runtime.processes import own_cores

CPU_DAYS = 30
ELSEWHERE = "H100"  # the GPU to plan for if there is none here and the CPU would take too long


@dataclass(frozen=True)
class Need:
    """Something that a run needs. found: what there is. problem: what is missing and how to get it; None: nothing."""

    what: str
    found: str
    problem: str | None = None


@dataclass(frozen=True)
class Device:
    """The GPUs of a machine, or its CPU. memory: bytes of one device. cores: of the CPU; 0 for GPUs.

    count: 0 for a GPU of another machine, which is planned for.
    """

    name: str
    count: int
    memory: int
    cores: int = 0


def this_device() -> Device:
    """The device that a run would use on this machine."""
    if torch.cuda.is_available():
        first = torch.cuda.get_device_properties(0)
        return Device(first.name, torch.cuda.device_count(), first.total_memory)
    cores = own_cores()
    return Device(f"CPU, {cores} core{'s' if cores > 1 else ''}", 1, psutil.virtual_memory().total, cores)


def gpu(name: str) -> Device:
    """A GPU of speed.GPUS, on another machine."""
    return Device(name, 0, speed.GPUS[name].memory)


def planned_for(config: Config, network: work.Network | None) -> Device:
    """The device of this machine, or a GPU elsewhere if that is a CPU on which a run would take too long."""
    here = this_device()
    return gpu(ELSEWHERE) if _days(config, network, here) > CPU_DAYS else here


def _days(config: Config, network: work.Network | None, device: Device) -> float:
    """Days that a run takes on a CPU, as far as they are known; 0 on GPUs."""
    if not device.cores:
        return 0
    hours = clock.hours(config, network, speed.assumed(config, network, device.name, device.cores), 1)
    return (hours["clock"] or sum(hours[part] or 0 for part in ("drawing", "training", "validating"))) / 24


def needs(config: Config, out: Path, device: Device | None = None) -> list[Need]:
    """All that a run of this configuration into the folder `out` needs. device: to run on; None: what is found here."""
    return [*_but_data(config, out, device), *_data(config)]


def require(config: Config, out: Path) -> None:
    """Raise one MissingError that lists all that is missing, unless only data are.

    Missing data are reported when they are read, which may fetch them first.
    """
    missing = [need.problem for need in _but_data(config, out) if need.problem]
    if missing:
        data = [need.problem for need in _data(config) if need.problem and not need.found.startswith("hub:")]
        short = (problem.partition(";")[0] for problem in (*missing, *data))
        raise MissingError("; ".join((*short, "dp real plan says what to put where")))


def _but_data(config: Config, out: Path, device: Device | None = None) -> Iterator[Need]:
    try:
        network = work.learner_network(config)
        yield _device(config, network, device or this_device())
        yield from _memory(config, network, device or planned_for(config, network))
        yield _disk(config, network, out)
        yield from _trained(config)
    except MissingError:
        pass  # the data, which tell the shape, are missing; `_data` reports that
    yield from _weights(config)
    if config.tracker != "none":
        yield tracker(config.tracker)


def tracker(package: str) -> Need:
    """The package of a dashboard."""
    if importlib.util.find_spec(package):
        return Need("package", package)
    further = "" if package == "tensorboard" else f" {package}"
    return Need("package", package, f"tracker = '{package}' needs that package: {install_command('track')}{further}")


def _device(config: Config, network: work.Network | None, device: Device) -> Need:
    if not device.cores:
        return Need("device", f"{device.count} × {device.name}" if device.count else f"{device.name}, elsewhere")
    days = _days(config, network, device)
    problem = f"no GPU: it would take this {device.name}, {days:,.0f} days; --device plans for a GPU elsewhere"
    return Need("device", f"{device.name}; no GPU", problem if days > CPU_DAYS else None)


def _memory(config: Config, network: work.Network | None, device: Device) -> Iterator[Need]:
    peaks = work.memory(config, network) or {}
    if peaks and device.cores:  # a GPU takes as many rows as fit; a CPU must have memory for what it is given
        rows = config.training.rows_per_device or cost.rows_per_step(config)
        peaks["training"] += (min(rows, cost.rows_per_step(config)) - 1) * peaks["row"]
    there = _size(device.memory)
    there = f"{there} of memory" if device.count else f"the {there} of an {device.name}"
    for phase in ("training", "drawing"):
        if phase in peaks:
            found = f"{_size(peaks[phase])} of {there}"
            problem = f"{phase} takes {found}: {_remedies(config, phase, device)}"
            yield Need(f"memory: {phase}", found, problem if peaks[phase] > device.memory else None)


def _remedies(config: Config, phase: str, device: Device) -> str:
    """What makes a phase take less memory, of what is not in force already."""
    generator, training = config.generator, config.training
    through_unet = config.guidance.guides_sampler and config.guidance.through == "unet"
    if phase == "training":
        rows = min(training.rows_per_device or cost.rows_per_step(config), cost.rows_per_step(config))
        remedies = {
            "lower training.rows_per_device": device.cores and rows > 1,  # a GPU is given as many as fit
            "set training.precision = 'bfloat16'": training.precision == "float32",
            "set generator.offload = true": not device.cores and not getattr(generator, "offload", True),
            "take a smaller learner": True,
        }
    else:
        remedies = {
            "set guidance.through = 'x0'": through_unet,
            "set generator.checkpointing = true": through_unet and not getattr(generator, "checkpointing", True),
            "set generator.decoder = 'tiny'": getattr(generator, "decoder", "") == "full",
            "set generator.dtype = 'bfloat16'": getattr(generator, "dtype", "") == "float32",
            "take a smaller generator": True,
        }
    *others, last = [remedy for remedy, helps in remedies.items() if helps]
    return f"{', '.join(others)} or {last}" if others else last


def _disk(config: Config, network: work.Network | None, out: Path) -> Need:
    taken = cost.pool_bytes(config) + cost.drawing_bytes(config) + cost.checkpoint_bytes(config, network)
    there = next(folder for folder in (out.resolve(), *out.resolve().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    problem = f"{out} needs {_size(taken)} of disk, {_size(free)} are free: name another --out"
    return Need("disk", f"{_size(taken)}; {_size(free)} are free", problem if taken > free else None)


def _trained(config: Config) -> Iterator[Need]:
    """The generator that is trained here, which is never missing."""
    seconds = config.generator.training_seconds(config.task) if config.practice.draws else 0
    if seconds:
        yield Need("generator", f"from the cache, or trained on first use, {duration(seconds)} of one core")


def duration(seconds: float) -> str:
    """About how long, in words."""
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"


def _weights(config: Config) -> Iterator[Need]:
    drawing = config.generator.weights() if config.practice.draws else {}
    models = drawing | config.learner.weights()
    for key, model in models.items():
        yield _weights_of(key, model, key == "generator.model" and isinstance(config.generator, DiffusersConfig))


def _weights_of(key: str, model: str, pipeline: bool) -> Need:
    if fault := misnamed(model, pipeline):
        return Need(key, model, fault)
    try:
        own = Path(model).is_dir()
        folder = Path(model if own else huggingface_hub.snapshot_download(model, local_files_only=True))
        if key.endswith(".tokenizer"):
            lack = (f"lacks {file}", f"it {WHOLE}") if (file := _lacking_tokenizer(folder)) else None
        else:
            lack = lacking(folder, pipeline)
        if own or not lack:
            return Need(key, str(folder), f"{folder} {'; '.join(lack)}" if lack else None)
        fault = f"{folder} {lack[0]}"
    except (OSError, ValueError):  # not in the hub's cache
        fault = f"{model} is neither a folder nor in the hub's cache"
        if not is_hub_id(model):
            return Need(key, model, f"{fault}; {NAME}")
    try:
        huggingface_hub.auth_check(model)
    except Exception:  # no network, no such model, or one whose terms must be accepted first
        return Need(key, model, f"{fault}: {download(model)} where there is a network, or --set {key}=FOLDER")
    return Need(key, f"{model}, which a run will fetch")


def _lacking_tokenizer(folder: Path) -> str | None:
    """What of a tokenizer is not in its folder."""
    there = any(any(folder.glob(files)) for files in ("tokenizer*.json", "vocab*", "*.model"))
    return None if there else "a tokenizer.json"


def _data(config: Config) -> Iterator[Need]:
    for each in config.data.describe():
        count = "" if each.images is None else f": {each.images:,} images"
        if each.problem and not each.needed:
            yield Need(f"data: {each.name}", f"{each.problem}; a run goes on without it")
        else:
            yield Need(f"data: {each.name}", f"{each.where}{count}", each.problem)


def _size(number: float) -> str:
    return f"{number / 1e9:,.0f} GB" if number >= 1e10 else f"{number / 1e6:,.0f} MB"
