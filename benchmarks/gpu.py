"""`python -m benchmarks.gpu`: what only a GPU can tell of this project, within ten minutes, the most important first.

First comes the preset imagenet100 as it is configured, with random weights of true size: its images a second, plain and
guided, and the hours that follow. Then training steps, the levers that lower the hours, and whether GPU and CPU agree.
A row stands in the CSV file as soon as it is known. `--tiny` checks this file itself, on a CPU.

A machine without a network lacks some packages. Elsewhere, `python -m benchmarks.gpu --wheels 3.12` puts them for that
Python into the folder `wheels`, which is unpacked here if they cannot be imported.
"""

import argparse
import csv
import faulthandler
import gc
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

ROOT = Path(__file__).parents[1]
PRESETS = ROOT / "experiments" / "dp_experiments" / "studies" / "imagenet"
WHEELS = ROOT / "wheels"
TRAVELLING = ("diffusers", "pydantic", "pydantic-core", "typing-inspection", "annotated-types")
NEEDED = ("torch", "transformers", "accelerate", "jaxtyping", "safetensors", "diffusers", "pydantic")
GB = 1e9
GRACE = 60.0  # seconds after the last minute when a GPU that no longer answers ends the process
TOLERANCE = 2e-2  # of images in [-1, 1] in float32, where a GPU rounds to a relative 5e-4


class Found(NamedTuple):
    """With a bound, the row fails if the value is larger or no number."""

    quantity: str
    value: float
    unit: str = ""
    at_most: float | None = None

    @property
    def verdict(self) -> str:
        if self.at_most is None:
            return "measured"
        return "passed" if self.value <= self.at_most else "FAILED"


class Row(NamedTuple):
    name: str
    seconds: float
    work: Callable[[], Iterator[Found]]


@dataclass
class Table:
    path: Path
    minutes: float
    bad: list[str] = field(default_factory=list)

    def run(self, rows: list[Row]) -> None:
        deadline = time.monotonic() + 60 * self.minutes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["row", "quantity", "value", "unit", "at most", "verdict", "error"])
            for row in rows:
                for cells in self.lines(row, deadline - time.monotonic()):
                    writer.writerow(cells)
                    file.flush()
                    print("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip())
                    if cells[5] in ("FAILED", "ERROR") and row.name not in self.bad:
                        self.bad.append(row.name)

    def lines(self, row: Row, left: float) -> Iterator[list[str]]:
        """An error is a line, too."""
        if left <= 0:
            yield [row.name, "", "", "", "", "left out", "no time was left"]
            return
        try:
            with time_limit(min(row.seconds, left)):
                for measured in row.work():
                    bound = "" if measured.at_most is None else f"{measured.at_most:g}"
                    yield [
                        row.name,
                        measured.quantity,
                        f"{measured.value:.4g}",
                        measured.unit,
                        bound,
                        measured.verdict,
                        "",
                    ]
        except Exception as error:
            words = str(error).strip().splitlines() or [""]
            yield [row.name, "", "", "", "", "ERROR", f"{type(error).__name__}: {words[0]}"[:300]]


WIDTHS = (34, 34, 10, 10, 6, 8, 0)


class NoTime(Exception):
    """A row took longer than it may."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise NoTime after this time; a running kernel is waited for."""

    def end(number: int, frame: FrameType | None) -> None:
        raise NoTime(f"it took longer than {seconds:.3g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Bench:
    def __init__(self, device: str, tiny: bool) -> None:
        import torch

        from dp_real.config import load_config

        self.gpu, self.tiny = device == "cuda", tiny
        self.device = torch.device(device)
        self.config = load_config(PRESETS / f"imagenet100{'-smoke' if tiny else ''}.toml")
        if not tiny:
            self.weights = tempfile.TemporaryDirectory()
            own = save_random_weights(Path(self.weights.name), self.config.generator.precision)
            generator = self.config.generator.model_copy(update=own)
            self.config = self.config.model_copy(update={"generator": generator})
        self.matmul = float("nan")  # FLOP/s
        self.seconds: dict[str, float] = {}  # of an image or a training row, by what was measured

    def timed(self, work: Callable[[], object]) -> float:
        import torch

        wait = torch.cuda.synchronize if self.gpu else int
        wait()
        begin = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - begin

    def peak(self, work: Callable[[], object]) -> tuple[float, float]:
        """Returns the seconds, and the most bytes beside what was there."""
        import torch

        if not self.gpu:
            return self.timed(work), float("nan")
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        seconds = self.timed(work)
        return seconds, torch.cuda.max_memory_allocated() - before

    def learner(self, **training: Any) -> Any:
        options = self.config.training.model_copy(update=training)
        return self.config.learner.fresh(self.config.task, options, 0)

    def generator(self, **changes: Any) -> Any:
        sampling = self.config.sampling
        if steps := changes.pop("steps", None):
            sampling = sampling.model_copy(update={"steps": steps})
        if not self.tiny:
            return self.config.generator.model_copy(update=changes).load(sampling, self.config.data)
        from dp_real.generators.pipelines.generator import pipeline_generator

        task = self.config.task
        asked = [[name] for name in task.classes]
        sizes = sampling.steps, sampling.guidance_scale
        return pipeline_generator(tiny_pipeline(), asked, task.sample_shape, *sizes, **changes)


# -- the preset --------------------------------------------------------------------------------------------------------


def machine(bench: Bench) -> Iterator[Found]:
    """What all rates are a share of."""
    import torch

    side, times = (256, 2) if bench.tiny else (8192, 20)
    a = torch.randn(side, side, device=bench.device).to(torch.bfloat16)
    bench.timed(lambda: a @ a)
    bench.matmul = 2 * side**3 * times / bench.timed(lambda: [a @ a for _ in range(times)])
    yield Found("matrix product in bfloat16", bench.matmul / 1e12, "TFLOP/s")


def draw(
    bench: Bench, name: str, rows: int, guided: bool = True, through: str = "unet", baseline: str = "", **changes: Any
) -> Iterator[Found]:
    """Images are drawn as a run draws them, decoding included, and compared with the row `baseline`."""
    import torch

    from dp_real.guidance.entropy import EntropyGuidance
    from dp_real.runtime.seeds import row_seeds

    channels_last = changes.pop("channels_last", False)
    generator = bench.generator(**changes)
    if channels_last:
        for part in (generator.network, generator.pipe.vae):
            part.to(memory_format=torch.channels_last)
    options = bench.config.guidance.model_copy(update={"through": through})
    guidance = EntropyGuidance.from_config(options, bench.learner().logits, 0.05) if guided else None
    labels = torch.arange(rows) % generator.n_classes
    few = labels[: rows // 2]
    begin = bench.timed(lambda: generator.sample(few, row_seeds(0, 1, range(len(few))), guidance))
    if changes.get("compile"):
        yield Found("first images", begin, "s")
    seconds, peak = bench.peak(lambda: generator.sample(labels, row_seeds(0, 0, range(rows)), guidance))
    bench.seconds[name] = seconds / rows
    yield Found("images/s", rows / seconds)
    together = min(rows, max(generator.batches.fitting.values(), default=rows))
    if bench.gpu:
        yield Found("rows together", together)
        yield Found("memory a row", peak / together / GB, "GB")
    if baseline in bench.seconds:
        yield Found(f"time of {baseline}", bench.seconds[name] / bench.seconds[baseline], "x")


def hours(bench: Bench) -> Iterator[Found]:
    from dp_real.plan.forecast import Seconds, assumed, learner_network
    from dp_real.plan.forecast import hours as planned

    plain, guided, row = (bench.seconds.get(name, math.nan) for name in (PLAIN, GUIDED, TRAINING))
    measured = Seconds(plain, guided, row, "measured")
    of_plan = assumed(bench.config, learner_network(bench.config), "H100")
    for what, seconds in (("measured", measured), ("as planned for an H100", of_plan)):
        for part, value in planned(bench.config, seconds, 1).items():
            if part in ("drawing", "training") and not math.isnan(value):
                yield Found(f"{part}, {what}", value, "h")


def train(bench: Bench, name: str, rows: int, **training: Any) -> Iterator[Found]:
    """The steps are on rows in memory, with the preset's augmentation; the bare loop has none."""
    import torch
    import torch.nn.functional as F

    learner = bench.learner(batch_size=rows, **training)
    shape = bench.config.task.sample_shape
    x = torch.randint(256, (rows, *shape), dtype=torch.uint8)
    y = torch.arange(rows) % bench.config.task.n_classes
    if bench.gpu:
        x, y = x.pin_memory(), y.pin_memory()
    first = bench.timed(lambda: learner.train_step(x, y))
    yield Found("first step", first, "s")
    steps = 2 if bench.tiny else 10
    seconds, peak = bench.peak(lambda: [learner.train_step(x, y) for _ in range(steps)])
    bench.seconds[name] = seconds / steps / rows
    yield Found("images/s", 1 / bench.seconds[name])
    yield Found("share of a matrix product", learner.row_flops(shape) / bench.seconds[name] / bench.matmul)
    if bench.gpu:
        yield Found("memory", peak / GB, "GB")
    if training:
        return
    module = bench.learner().module
    optimizer = torch.optim.AdamW(module.parameters(), fused=bench.gpu)

    def step() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            logits = module(x.to(bench.device, non_blocking=True) / 127.5 - 1)
        F.cross_entropy(logits.float(), y.to(bench.device, non_blocking=True)).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    bare = bench.timed(lambda: [step() for _ in range(steps)]) / steps / rows
    yield Found("time of a bare loop", bench.seconds[name] / bare, "x")


# -- whether the GPU is right ------------------------------------------------------------------------------------------


def agree(bench: Bench, through: Literal["unet", "x0"]) -> Iterator[Found]:
    """A tiny float32 pipeline, guided by the own loop, against the CPU's."""
    import copy

    from dp_real.generators.pipelines.generator import sample_images
    from dp_real.guidance.entropy import EntropyGuidance

    pipe = tiny_pipeline()
    guidance = EntropyGuidance(judge, 0.02, through=through)
    expected = sample_images(pipe, ["crane"] * 4, guidance, steps=4)
    plain = sample_images(pipe, ["crane"] * 4, None, steps=4)
    images = sample_images(copy.deepcopy(pipe).to(bench.device), ["crane"] * 4, guidance, steps=4).cpu()
    difference = (images - expected).abs().max().item()
    yield Found("largest difference", difference, at_most=TOLERANCE)
    effect = (plain - expected).abs().max().item()
    yield Found("difference of what guidance changes", difference / effect, at_most=0.1)


def agree_by_solver(bench: Bench, solver: str) -> Iterator[Found]:
    import copy

    import diffusers
    import torch

    import dp_real

    pipe = tiny_pipeline()
    pipe.scheduler = getattr(diffusers, solver).from_config(pipe.scheduler.config)
    images = []
    for each in (pipe, copy.deepcopy(pipe).to(bench.device)):
        dp_real.guide(each, judge, 0.02)
        noise = [torch.Generator().manual_seed(row) for row in range(4)]
        images.append(each(["crane"] * 4, num_inference_steps=6, generator=noise, output_type="pt").images.cpu())
    yield Found("largest difference", (images[0] - images[1]).abs().max().item(), at_most=TOLERANCE)


def save_random_weights(folder: Path, dtype: str) -> dict[str, str]:
    """Save Stable Diffusion 1.5 and its tiny decoder with random weights; returns the keys of [generator]."""
    import diffusers
    import torch

    from dp_real.generators.models.stable_diffusion import assembled, make_tokenizer, vae_blocks

    tokenizer = make_tokenizer([""])
    tokenizer.model_max_length = 77
    vae = diffusers.AutoencoderKL(**vae_blocks(128, 256, 512, 512), layers_per_block=2, sample_size=512)
    unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    parts: dict[str, Any] = {
        "model": assembled(vae, unet, tokenizer, text),
        "tiny_decoder": diffusers.AutoencoderTiny(),
    }
    for key, part in parts.items():
        part.to(getattr(torch, dtype)).save_pretrained(folder / key)
    return {key: str(folder / key) for key in parts}


def tiny_pipeline() -> Any:
    import torch

    from dp_real.generators.models.stable_diffusion import make_pipeline

    torch.manual_seed(0)
    pipe = make_pipeline(32, ["crane"]).to("cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def judge(images: Any) -> Any:
    """Logits of three classes: the means of the colours."""
    return 20 * images.mean((2, 3))


def memory_runs_out(bench: Bench) -> Iterator[Found]:
    """Rows that do not fit are halved: their images are those of rows drawn alone."""
    import torch

    from dp_real.runtime.seeds import row_seeds

    generator = bench.generator(batch_size=16)
    labels, seeds = torch.arange(16) % generator.n_classes, row_seeds(0, 0, range(16))
    alone, peak = [], 0.0
    for row in range(2):
        _, peak = bench.peak(lambda: alone.append(generator.sample(labels[row : row + 1], seeds[row : row + 1], None)))  # noqa: B023
    if bench.gpu:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + 4 * peak) / total))
    try:
        together = generator.sample(labels, seeds, None)
    finally:
        if bench.gpu:
            torch.cuda.set_per_process_memory_fraction(1.0)
    if bench.gpu:
        yield Found("rows together", next(iter(generator.batches.fitting.values()), 16), at_most=15)
    difference = (together[:2] - torch.cat(alone)).abs().mean() / together.std()
    yield Found("mean difference over deviation", difference.item(), at_most=0.1)


# -- all ---------------------------------------------------------------------------------------------------------------

PLAIN, GUIDED, TRAINING = "imagenet100, plain", "imagenet100, guided", "ViT step"


def rows_of(bench: Bench) -> list[Row]:
    many, few, batch = (4, 2, 4) if bench.tiny else (64, 32, 256)
    rows = [
        Row("machine", 20, partial(machine, bench)),
        Row(PLAIN, 90, partial(draw, bench, PLAIN, many, guided=False)),
        Row(GUIDED, 150, partial(draw, bench, GUIDED, many, baseline=PLAIN)),
        Row(TRAINING, 60, partial(train, bench, TRAINING, batch)),
        Row("hours of imagenet100", 30, partial(hours, bench)),
        Row("ViT step, compiled", 120, partial(train, bench, "ViT step, compiled", batch, compile=True)),
    ]
    levers: dict[str, dict[str, Any]] = {
        "through x0": {"through": "x0"},
        "channels last": {"channels_last": True},
        "30 steps": {"steps": 30},
    }
    if not bench.tiny:
        levers["own decoder"] = {"tiny_decoder": None}
        levers["own decoder, through x0"] = {"tiny_decoder": None, "through": "x0"}
        levers["compiled"] = {"compile": True}
    for name, changes in levers.items():
        rows.append(
            Row(f"guided, {name}", 180, partial(draw, bench, f"guided, {name}", few, baseline=GUIDED, **changes))
        )
    rows += [Row(f"GPU and CPU, {through}", 30, partial(agree, bench, through)) for through in ("unet", "x0")]
    for solver in ("DDIM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep"):
        rows.append(Row(f"GPU and CPU, {solver}", 30, partial(agree_by_solver, bench, f"{solver}Scheduler")))
    rows.append(Row("memory runs out in drawing", 60, partial(memory_runs_out, bench)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to check this file itself")
    parser.add_argument("--minutes", type=float, default=9.0, help="of the whole run")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rows with one of these in their names")
    parser.add_argument("--out", type=Path, help="a CSV file; by default docs/results/gpu.csv, of a CPU out/gpu.csv")
    parser.add_argument("--wheels", metavar="PYTHON", help="fetch the packages for another machine's Python, and end")
    options = parser.parse_args()
    if options.wheels:
        sys.exit(fetch_wheels(options.wheels))
    unpack_wheels()
    if options.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    import torch
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no GPU that torch can use; --device cpu --tiny checks this benchmark itself")
    faulthandler.dump_traceback_later(60 * options.minutes + GRACE, exit=True)
    torch.set_float32_matmul_precision("high")  # as a run in bfloat16 has it
    of_diffusers.set_verbosity_error()
    of_transformers.set_verbosity_error()
    bench = Bench(options.device, options.tiny)
    every = rows_of(bench)
    chosen = [row for row in every if not options.only or any(part in row.name for part in options.only)]
    if not bench.gpu and not options.only:
        chosen = [row for row in chosen if "compiled" not in row.name]  # compiling takes minutes on a CPU
    if not chosen:
        names = "\n".join(row.name for row in every)
        sys.exit(f"no row has {' or '.join(options.only)} in its name; they are:\n{names}")
    name = torch.cuda.get_device_name() if bench.gpu else "CPU"
    print(f"{name}, Python {sys.version.split()[0]}, torch {torch.__version__}")
    table = Table(options.out or ROOT / ("docs/results/gpu.csv" if bench.gpu else "out/gpu.csv"), options.minutes)
    patience = 1 if bench.gpu else 10
    table.run([Row(row.name, patience * row.seconds, partial(freeing, row.work)) for row in chosen])
    faulthandler.cancel_dump_traceback_later()
    print(f"{len(chosen)} rows, in {table.path}")
    sys.exit(f"failed: {', '.join(table.bad)}" if table.bad else 0)


def freeing(work: Callable[[], Iterator[Found]]) -> Iterator[Found]:
    import torch

    try:
        yield from work()
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def fetch_wheels(python: str) -> int:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(WHEELS)]
    return subprocess.run([*command, f"--python-version={python}", *TRAVELLING]).returncode


def unpack_wheels() -> None:
    if any(find_spec(name) is None for name in NEEDED) and WHEELS.is_dir():
        unpacked = ROOT / "out" / "wheels"
        for wheel in WHEELS.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(unpacked)
        sys.path.insert(0, str(unpacked))
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        sys.exit(
            f"missing: {', '.join(missing)}; where there is a network, python -m benchmarks.gpu --wheels "
            f"{sys.version_info[0]}.{sys.version_info[1]} fetches them into {WHEELS.name}, which travels with the tree"
        )


if __name__ == "__main__":
    main()
