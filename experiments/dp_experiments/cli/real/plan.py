"""`dp real plan`: what a run needs, costs and lacks."""

from collections.abc import Iterator
from contextlib import suppress
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any

from typer import Exit, Option

from dp_base.errors import InputError, MissingError
from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import Preset, Set, default_folder
from dp_experiments.presets.presets import load_preset
from dp_experiments.presets.variants import variants
from dp_experiments.terminal.lines import answer, say

if TYPE_CHECKING:
    from dp_real.config import Config
    from dp_real.plan.needs import Device

QUICK = "dp real run with --quick tries every part in about a minute"
GPU_COUNTS = [1, 8, 32]  # for which hours are shown


def plan_command(
    preset: Preset,
    settings: Set = [],
    device: Annotated[
        str | None,
        Option(help="Plan for this GPU of another machine: H200, H100, A100, L40S.  Default: this machine's device."),
    ] = None,
    measure: Annotated[bool, Option("--measure", help="Time a few images and training steps here.")] = False,
    as_json: Json = False,
) -> None:
    """Shows disk and device-hours as well. Exit status 3 if something is missing."""
    config = load_preset(preset, settings)
    from dp_real.plan.needs import needs
    from dp_real.runs.prepare import check_plan

    target = _target(device, measure)
    with suppress(MissingError):  # the data that tell the task; the table below names them
        check_plan(config)
    needed = [vars(need) for need in needs(config, default_folder(config), target)]
    ready = not any(need["problem"] for need in needed)
    try:
        costs = _costs(config, target, measure)
    except MissingError:  # the data that tell the task, or the weights to measure with
        if ready:
            raise
        costs = {}
        say("disk and hours are known once that is there")
    note = variants()[preset].note if preset in variants() else ""
    facts = {"preset": config.name, "ready": ready, "needs": needed, "note": note}
    answer(as_json, facts | costs, needed, note, *(_lines(costs) if costs else ()), QUICK)
    raise Exit(0 if ready else MissingError.exit_status)


def _target(name: str | None, measured: bool) -> "Device | None":
    """The GPU of that name, or this machine's if it is to be measured; None as in dp_real.plan.needs.planned_for."""
    from dp_real.plan.forecast import GPUS
    from dp_real.plan.needs import Device, this_device

    if name is None:
        return this_device() if measured else None
    if name.upper() not in GPUS:
        raise InputError(f"--device {name}: its speed is not known; these can be planned for: {', '.join(GPUS)}")
    if measured:
        raise InputError(f"--device {name} is of another machine, and --measure times this one: leave one out")
    return Device(name.upper())


def _costs(config: "Config", target: "Device | None", measured: bool) -> dict[str, Any]:
    from dp_real.plan import forecast
    from dp_real.plan.needs import planned_for
    from dp_real.runs.prepare import fresh_learner, load_data, load_generator

    network = forecast.learner_network(config)
    device = target or planned_for(config, network)
    if measured:
        data = None
        with suppress(MissingError):  # most generators need none
            data = load_data(config)
        generator = load_generator(config, data)
        seconds = forecast.measure(config, generator, fresh_learner(config), device.name)
    else:
        seconds = forecast.assumed(config, network, device.name, device.cores)
    return forecast.costs(config, network, seconds, [1] if device.cores else GPU_COUNTS)


def _lines(costs: dict[str, Any]) -> Iterator[Any]:
    from dp_real.plan.needs import readable_size

    images = costs["images"]
    yield (
        f"{images['plain']:,} plain and {images['guided']:,} guided samples, {costs['steps']:,} steps "
        f"of {costs['rows_per_step']:,} rows"
    )
    if any(costs["tokens"].values()):
        yield "tokens, about: " + ", ".join(f"{count:,} {what}" for what, count in costs["tokens"].items())
    yield "disk: " + ", ".join(f"{what} {readable_size(size)}" for what, size in costs["bytes"].items())
    waiting = costs["waiting_steps"]
    constant = costs["constant_steps"]
    yield f"patience takes at least {waiting:,} of the {constant:,} steps between warm-up and cool-down"
    if waiting > constant:
        yield "NOT EVERY ADDITION WILL BE MADE: lower practice.evaluate_every or practice.patience"
    first = costs["hours"][0]
    if isnan(first["clock"]):
        yield "hours are not known: --measure times a few samples and steps here"
        return
    spread = costs["seconds"]["spread"]
    yield f"device-hours of each part, and hours by the clock; {costs['seconds']['source']}"
    yield costs["hours"]
    share = first["validating"] / sum(first[part] for part in ("drawing", "training", "validating"))
    validating = f"validation takes {share:.0%} of them; " if share > 0 else ""
    yield f"{validating}the truth may be {spread:g} times less or more (docs/results/cost.md)"
