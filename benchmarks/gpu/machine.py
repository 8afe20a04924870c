"""The machine: matrix products, which all FLOP/s are a share of, and NCCL with a single process."""

import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

import diffusers
import torch
import transformers
from torch import distributed

from benchmarks.gpu.device import GIB, Bench
from benchmarks.gpu.rows import Measured


def describe(bench: Bench) -> str:
    """The machine and its libraries, in a line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}, transformers {transformers.__version__}"
    name = platform.processor() or platform.machine()
    if bench.gpu:
        facts = torch.cuda.get_device_properties(bench.device)
        name = f"{facts.name}, {facts.total_memory / GIB:.0f} GiB"
    return f"{name}, {cores} cores, Python {platform.python_version()}, {versions}"


def matmul(bench: Bench, dtype: torch.dtype) -> Iterator[Measured]:
    """FLOP/s of a large square matrix product."""
    side = 256 if bench.tiny else 8192
    a = torch.randn(side, side, device=bench.device).to(dtype)
    times = 10
    seconds = bench.seconds(lambda: [a @ a for _ in range(times)]) / times
    bench.matmul[dtype] = 2 * side**3 / seconds
    yield Measured("TFLOP/s", bench.matmul[dtype] / 1e12)


def process_group(bench: Bench) -> Iterator[Measured]:
    """Start a process group of one, add up gradients of ViT-B's size in it, and end it."""
    backend = "nccl" if bench.gpu else "gloo"
    x = torch.ones(1000 if bench.tiny else 86_000_000, device=bench.device)
    with tempfile.TemporaryDirectory() as folder:
        begin = bench.now()
        distributed.init_process_group(backend, init_method=Path(folder, "group").as_uri(), rank=0, world_size=1)
        try:
            distributed.all_reduce(x)
            yield Measured(f"{backend}, until the first sum", bench.now() - begin, "s")
            yield Measured("a sum of 86 M gradients", bench.seconds(lambda: distributed.all_reduce(x)), "s")
            yield Measured("largest error", (x - 1).abs().max().item(), at_most=0)
        finally:
            distributed.destroy_process_group()
