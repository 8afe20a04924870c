"""All rows, the most important ones first, with the seconds that each may take."""

from functools import partial

import torch

from benchmarks.gpu import agreement, drawing, machine, training
from benchmarks.gpu.device import Bench
from benchmarks.gpu.drawing import Cell, Way, short
from benchmarks.gpu.models import OWN_LOOP_SIZES
from benchmarks.gpu.rows import Row

BF16 = torch.bfloat16
FP16 = torch.float16
FULL = Way("unet", "full")  # as the paper has it
CHEAP = Way("x0", "tiny")
WAYS = (FULL, CHEAP, Way("x0", "full"), Way("unet", "tiny"))


def rows(bench: Bench) -> list[Row]:
    """All rows in the order in which they are run. Those of the same pipeline follow each other, as far as may be."""
    few, usual, many = (2, 3, 4) if bench.tiny else (8, 32, 64)
    train = 8 if bench.tiny else 256
    return [
        *(Row(f"matmul {short(dtype)}", 20, partial(machine.matmul, bench, dtype)) for dtype in (BF16, FP16)),
        *_agreement(bench),
        *_draw(bench, "SD-1.5", BF16, few, (None, FULL, CHEAP), diffusers=True),
        Row("ViT-B step", 40, partial(training.steps, bench, train, False)),
        *_draw(bench, "SD-1.5", BF16, 1, (None, FULL, CHEAP), diffusers=True),
        *_draw(bench, "SD-1.5", BF16, usual, (None, FULL, CHEAP), diffusers=True),
        *_draw(bench, "SD-1.5", BF16, many, (None, FULL, CHEAP), diffusers=True),
        Row("memory runs out in drawing", 30, partial(drawing.halve, bench, BF16, 8)),
        Row("memory runs out in training", 30, partial(training.halve, bench, train)),
        Row("decode 64 images", 30, partial(drawing.decode_many, bench, BF16, 8 if bench.tiny else 64)),
        Row("checkpoint of ViT-B", 30, partial(training.checkpoint, bench, 4)),
        Row("JPEGs to ViT-B", 40, partial(training.jpegs, bench, train, 2 if bench.tiny else 10)),
        Row("process group of one", 30, partial(machine.process_group, bench)),
        *_draw(bench, "SD-1.5", BF16, few, WAYS[2:]),
        *(_solver(bench, name, few) for name, (size, _) in drawing.SOLVERS.items() if size == "SD-1.5"),
        Row("SD-1.5 channels last", 40, partial(drawing.draw_channels_last, bench, Cell("SD-1.5", BF16, few))),
        *_draw(bench, "SDXL", BF16, few, (None, FULL, CHEAP), diffusers=True),
        *(_solver(bench, name, few) for name, (size, _) in drawing.SOLVERS.items() if size == "SD-3"),
        Row("ViT-B step compiled", 120, partial(training.steps, bench, train, True)),
        Row("SD-1.5 compiled", 180, partial(drawing.draw_compiled, bench, Cell("SD-1.5", BF16, few))),
        *_draw(bench, "SD-1.5", FP16, few, (None, FULL, CHEAP), diffusers=True),
        *_draw(bench, "SDXL", BF16, 1, (None, FULL, CHEAP)),
        *_draw(bench, "SDXL", BF16, usual, (None, CHEAP)),
        *_draw(bench, "SDXL", BF16, many, (None, CHEAP)),
        *_draw(bench, "SDXL", FP16, few, (None, FULL, CHEAP)),
        *(row for batch in (1, usual, many) for row in _draw(bench, "SD-1.5", FP16, batch, (None, FULL, CHEAP))),
    ]


def _agreement(bench: Bench) -> list[Row]:
    """GPU against CPU, and batches against rows."""
    found = [Row("training gradients, batch and rows", 20, partial(agreement.training_gradients, bench))]
    for size in OWN_LOOP_SIZES:
        for through in ("unet", "x0"):
            images = partial(agreement.images, bench, size, through)
            gradients = partial(agreement.guidance_gradients, bench, size, through)
            found.append(Row(f"GPU and CPU, {size} {through}", 30, images))
            found.append(Row(f"batch and rows, {size} {through}", 20, gradients))
    return found


def _draw(
    bench: Bench, size: str, dtype: torch.dtype, batch: int, ways: tuple[Way | None, ...], diffusers: bool = False
) -> list[Row]:
    """Drawing in several ways, the plain one first, as others are compared with it."""
    cell = Cell(size, dtype, batch)
    found = []
    for way in ways:
        words = f"{way.through} {way.decoder}" if way else "plain"
        found.append(Row(f"{cell.name} {words}", 40, partial(drawing.draw, bench, cell, way)))
    if diffusers:
        found.insert(1, Row(f"{cell.name} diffusers", 40, partial(drawing.draw_by_diffusers, bench, cell)))
    return found


def _solver(bench: Bench, name: str, batch: int) -> Row:
    return Row(f"solver {name}", 30, partial(drawing.solve, bench, name, BF16, batch))
