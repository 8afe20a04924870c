"""What a run needs, and whether it is there: device, memory, disk, weights, packages, data. Fetches nothing."""

import importlib.util
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import psutil
import torch

from dp_base.errors import MissingError
from dp_real.config import Config
from dp_real.estimate import clock, cost, speed, work
from dp_real.runtime.hub import download
from dp_real.runtime.processes import own_cores

CPU_DAYS = 30


@dataclass(frozen=True)
class Need:
    """Something that a run needs. found: what there is. problem: what is missing and how to get it; None: nothing."""

    what: str
    found: str
    problem: str | None = None


@dataclass(frozen=True)
class Device:
    """The GPUs of a machine, or its CPU. memory: bytes of one device. cores: of the CPU; 0 for GPUs."""

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


def too_long(hours: float | None) -> bool:
    """Whether `hours` on the CPU are more than CPU_DAYS, so that a run needs a GPU. False if they are not known."""
    return hours is not None and hours > 24 * CPU_DAYS


def needs(config: Config, out: Path) -> list[Need]:
    """All that a run of this configuration into the folder `out` needs."""
    return [*_but_data(config, out), *_data(config)]


def require(config: Config, out: Path) -> None:
    """Raise one MissingError that lists all that is missing, unless only data are.

    Missing data are reported when they are read, which may fetch them first.
    """
    missing = [need.problem for need in _but_data(config, out) if need.problem]
    if missing:
        data = [need.problem for need in _data(config) if need.problem and not need.found.startswith("hub:")]
        short = (problem.partition(";")[0] for problem in (*missing, *data))
        raise MissingError("; ".join((*short, "dp real plan says what to put where")))


def _but_data(config: Config, out: Path) -> Iterator[Need]:
    try:
        network, device = work.learner_network(config), this_device()
        yield _device(config, network, device)
        yield from _memory(config, network, device)
        yield _disk(config, network, out)
        yield from _trained(config)
    except MissingError:
        pass  # the data, which tell the shape, are missing; `_data` reports that
    yield from _weights(config)
    if config.tracker != "none":
        yield tracker(config.tracker)


def tracker(package: str) -> Need:
    """The package of a dashboard."""
    there = importlib.util.find_spec(package)
    return Need(
        "package", package, None if there else f"tracker = '{package}' needs that package: pip install {package}"
    )


def _device(config: Config, network: work.Network | None, device: Device) -> Need:
    if not device.cores:
        return Need("device", f"{device.count} × {device.name}")
    seconds = speed.assumed(config, network, device.name, device.cores)
    hours = clock.hours(config, network, seconds, 1)["clock"]
    problem = f"no GPU: it would take this {device.name}, {(hours or 0) / 24:,.0f} days" if too_long(hours) else None
    return Need("device", f"{device.name}; no GPU", problem)


def _memory(config: Config, network: work.Network | None, device: Device) -> Iterator[Need]:
    remedies = {
        "training": "lower training.rows_per_device, set training.precision = 'bfloat16' or generator.offload = true",
        "drawing": "set guidance.through = 'x0', generator.decoder = 'tiny' or dtype = 'bfloat16'",
    }
    peaks = work.memory(config, network) or {}
    if peaks and device.cores:  # a GPU takes as many rows as fit; a CPU must have memory for what it is given
        rows = config.training.rows_per_device or cost.rows_per_step(config)
        peaks["training"] += (min(rows, cost.rows_per_step(config)) - 1) * peaks["row"]
    for phase, remedy in remedies.items():
        if phase in peaks:
            found = f"{_size(peaks[phase])} of {_size(device.memory)}"
            short = peaks[phase] > device.memory
            yield Need(f"memory: {phase}", found, f"{phase} takes {found} of memory: {remedy}" if short else None)


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
    drawing = config.generator.weights() | config.guidance.weights() if config.practice.draws else {}
    models = drawing | config.learner.weights()
    for key, model in models.items():
        yield _weights_of(key, model)


def _weights_of(key: str, model: str) -> Need:
    try:
        cached = None if Path(model).is_dir() else huggingface_hub.snapshot_download(model, local_files_only=True)
        folder = Path(cached or model)
        if not (lacking := _lacking_tokenizer(folder) if key.endswith(".tokenizer") else _lacking_weights(folder)):
            return Need(key, str(folder))
        fault = f"{folder} lacks {lacking}"
    except (OSError, ValueError):  # not in the hub's cache; not a hub id
        fault = f"{model} is neither a folder nor in the hub's cache"
    try:
        huggingface_hub.auth_check(model)
    except Exception:  # no network, no such model, or one whose terms must be accepted first
        return Need(key, model, f"{fault}: {download(model)} where there is a network, or --set {key}=FOLDER")
    return Need(key, f"{model}, which a run will fetch")


def _lacking_weights(folder: Path) -> str | None:
    """What of a model or a pipeline is not in its folder."""
    parts = [file.parent for file in folder.rglob("config.json") if _is_used(file.parent.name, folder)]
    whole = parts and all(any(part.glob("*.safetensors")) for part in parts)
    return None if whole else "safetensors or a config.json"


def _lacking_tokenizer(folder: Path) -> str | None:
    """What of a tokenizer is not in its folder."""
    there = any(any(folder.glob(files)) for files in ("tokenizer*.json", "vocab*", "*.model"))
    return None if there else "a tokenizer.json"


def _is_used(part: str, pipeline: Path) -> bool:
    """Whether a part is one that is loaded: a published folder may also hold the parts for other libraries."""
    index = pipeline / "model_index.json"
    parts = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {part: True}
    return part in parts and part != "safety_checker"


def _data(config: Config) -> Iterator[Need]:
    for each in config.data.describe():
        count = "" if each.images is None else f": {each.images:,} images"
        if each.problem and not each.needed:
            yield Need(f"data: {each.name}", f"{each.problem}; a run goes on without it")
        else:
            yield Need(f"data: {each.name}", f"{each.where}{count}", each.problem)


def _size(number: float) -> str:
    return f"{number / 1e9:,.0f} GB" if number >= 1e10 else f"{number / 1e6:,.0f} MB"
