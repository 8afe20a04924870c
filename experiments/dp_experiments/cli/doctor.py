"""`dp doctor`: is this machine ready, and is a folder intact? It fetches and mends nothing."""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit

from dp_base.errors import Finding, InputError, MissingError
from dp_base.imports import install_command, lacking, requirements, version_of
from dp_experiments.cli.options import Json
from dp_experiments.cli.version import version_line
from dp_experiments.terminal.lines import answer

LITTLE_DISK = 2e9  # bytes; a small run of images takes less
CORES_OF_A_GPU = 2  # at least: one drives it, and one reads. dp real plan says how many a run keeps busy


def doctor_command(
    target: Annotated[
        str | None,
        Argument(metavar="RUN", help="A run's or comparison's folder.  Default: this machine."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Checks versions, devices, disk and cache, or whether a folder is intact, and says how to mend what is wrong.

    Exit status: 0 all is well, 2 a folder is damaged, 3 something is missing.
    """
    findings = list(_machine() if target is None else _folder(Path(target)))
    wrong = [finding for finding in findings if finding.problem]
    answer(
        as_json,
        {"version": version_line(), "healthy": not wrong, "findings": [vars(finding) for finding in findings]},
        [{"what": finding.what, "found": finding.found} for finding in findings],
        *(f"{finding.what}: {finding.problem}" for finding in wrong),
        f"{len(wrong)} of {len(findings)} need a look" if wrong else "all is well",
    )
    if wrong:
        raise Exit(3 if target is None else 2)


def _machine() -> Iterator[Finding]:
    yield Finding("deliberate-practice", version_line())
    yield Finding("python", f"{platform.python_version()}, {platform.platform(terse=True)}")
    yield from _packages()
    yield _disk("disk: here", Path.cwd())
    if lacking("real"):
        return  # a finding says so, and what follows needs it
    from dp_real.runtime.cache import cache_folder

    yield from _devices()
    if version_of("httpx2"):
        from dp_real.runtime.connection import connection_problem

        yield Finding("network", "proxies and certificates", connection_problem(""))
    try:
        yield _disk("disk: cache", cache_folder())
    except MissingError as error:
        yield Finding("cache", "no folder", str(error))
        return
    yield _cache()


def _packages() -> Iterator[Finding]:
    missing = lacking("real")
    unmet = [*lacking(), *missing]
    for requirement in (*requirements(), *requirements("real")):
        if version := version_of(requirement.name):
            needed = f"{requirement.name}{requirement.specifier}"
            problem = f"{version} is too old: pip install '{needed}'" if needed in unmet else None
            yield Finding(requirement.name, version, problem)
    if missing:
        yield Finding("dp real", "not ready", f"it needs {', '.join(missing)}: {install_command('real')}")


def _devices() -> Iterator[Finding]:
    from dp_real.plan.needs import this_device
    from dp_real.runtime.distributed import own_cores

    device = this_device()
    gpus = 0 if device.cores else device.count
    yield Finding("device", f"{f'{gpus} × ' if gpus else ''}{device.name}, {device.memory / 1e9:.0f} GB")
    if gpus:
        try:
            yield from _gpu(gpus)
        except RuntimeError as error:
            yield Finding("gpu", "does not work", f"{str(error).splitlines()[0]}; nvidia-smi may say more")
    cores = own_cores()
    few = f"fewer than {CORES_OF_A_GPU} for a GPU: ask for more (srun --cpus-per-task, the container's quota)"
    yield Finding("cores", f"{cores} of {os.cpu_count()} may be used", few if cores < CORES_OF_A_GPU * gpus else None)


def _gpu(count: int) -> Iterator[Finding]:
    import torch

    driver = torch._C._cuda_getDriverVersion()  # pyrefly: ignore[missing-attribute]
    for_driver = f"the driver for {driver // 1000}.{driver % 1000 // 10}"
    yield Finding("cuda", f"torch is built for {torch.version.cuda}, {for_driver}")
    if count > 1 and not torch.distributed.is_nccl_available():
        yield Finding("nccl", "not in this build of torch", "several GPUs cannot share a run: install one with NCCL")
    ones = torch.ones(64, 64, device="cuda", dtype=torch.bfloat16)
    works = torch.cuda.is_bf16_supported() and float((ones @ ones).float().sum()) == 64**3
    yield Finding("bfloat16", "works" if works else "does not work", None if works else "keep dtypes at float32")


def _disk(what: str, folder: Path) -> Finding:
    """The disk that holds a folder, which need not exist yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    problem = f"{there} is nearly full: make room, or name another folder" if free < LITTLE_DISK else None
    return Finding(what, f"{free / 1e9:.0f} GB free at {there}", problem)


def _cache() -> Finding:
    from dp_real.plan.needs import readable_size
    from dp_real.runtime.cache import cache_folder, cache_size, unwritable
    from dp_real.text.models.answers import damaged_answers

    found = f"{readable_size(cache_size())} in {cache_folder()}"
    for file, count in damaged_answers().items():
        found += f"; damaged answers, to be requested again: {count} in {file}"
    return Finding("cache", found, unwritable())


def _folder(folder: Path) -> Iterator[Finding]:
    from dp_base.checksums import damage
    from dp_real.runs.files import RunFiles
    from dp_real.runs.reader import problems

    runs = [folder] if RunFiles(folder).is_run else sorted(path.parent for path in folder.glob("**/config.toml"))
    if not runs:
        raise InputError(f"{folder}: no run is in it, which would have a config.toml; name a run or a comparison")
    problem = None if RunFiles(folder).is_run else damage(folder)
    if problem:
        yield Finding(
            str(folder), "its tables", f"{problem}; the command that wrote it, with --resume, writes it again"
        )
    for run in runs:
        complete = "complete" if RunFiles(run).result.exists() else f"not complete: {RunFiles(run).resume} goes on"
        damaged = problems(run)
        yield Finding(str(run), complete, "; ".join(damaged) or None)
