"""Training: ViT-B's steps against a bare loop, the loader of JPEGs, full memory, and checkpoints."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from benchmarks._photographs import photographs
from benchmarks.gpu import models
from benchmarks.gpu.device import GIB, Bench
from benchmarks.gpu.rows import Measured
from dp_real.examples import Task
from dp_real.learners.models.classifier import Classifier
from dp_real.learners.models.network import NetworkLearner
from dp_real.pool.loader import Loader
from dp_real.runtime import pixels
from dp_real.sections import TrainingConfig

PAPER: dict[str, Any] = {"mixup": 0.5, "cutmix": 1.0, "crop": 0.35, "flip": True, "ema_decay": 0.999}


def _side(bench: Bench) -> int:
    return models.TINY_SIDE if bench.tiny else 224


def _task(bench: Bench) -> Task:
    side = _side(bench)
    return Task((3, side, side), tuple(f"class {k}" for k in range(10 if bench.tiny else 1000)))


def _classifier(bench: Bench) -> Classifier:
    torch.manual_seed(0)
    return Classifier(models.vit(bench.tiny), _side(bench), [0.5] * 3, [0.5] * 3)


def _learner(bench: Bench, **options: Any) -> NetworkLearner:
    training = TrainingConfig(**({"steps": 1000, "warmup": 0, "precision": "bfloat16"} | options))
    return NetworkLearner(_classifier(bench), _task(bench), training, 0, bench.device)


def _batch(bench: Bench, rows: int) -> tuple[Tensor, Tensor]:
    """Examples as a pool keeps them, on the CPU, pinned for a GPU."""
    task = _task(bench)
    x = torch.randint(256, (rows, *task.sample_shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y = torch.arange(rows) % task.n_classes
    return (x.pin_memory(), y.pin_memory()) if bench.gpu else (x, y)


def _step_seconds(bench: Bench, step: Any, steps: int = 10) -> float:
    return bench.seconds(lambda: [step() for _ in range(steps)], repeats=2) / steps


def steps(bench: Bench, rows: int, compiled: bool) -> Iterator[Measured]:
    """Training steps of ViT-B against a bare loop of torch in the same precision, and how often a step waits."""
    x, y = _batch(bench, rows)
    learner = _learner(bench, compile=compiled, batch_size=rows)
    ours = _step_seconds(bench, lambda: learner.train_step(x, y))
    yield Measured("images/s", rows / ours)
    if torch.bfloat16 in bench.matmul:
        flops = learner.row_flops(_task(bench).sample_shape) * rows
        yield Measured("share of a matmul's FLOP/s", flops / ours / bench.matmul[torch.bfloat16])
    yield Measured("memory", bench.peak(lambda: learner.train_step(x, y)) / GIB, "GiB")
    bare = _step_seconds(bench, _bare(bench, x, y, compiled))
    yield Measured("bare loop, images/s", rows / bare)
    yield Measured("our time of the bare loop's", ours / bare, "x", at_most=bench.bound(1.1))
    if compiled:
        torch._dynamo.reset()
        return
    learner = _learner(bench, batch_size=rows, **PAPER)
    yield Measured("with the paper's mixing, images/s", rows / _step_seconds(bench, lambda: learner.train_step(x, y)))
    if bench.gpu:
        waits = bench.waits(lambda: [learner.train_step(x, y) for _ in range(10)])
        yield Measured("waits in 10 such steps", waits, at_most=0)


def _bare(bench: Bench, x: Tensor, y: Tensor, compiled: bool) -> Any:
    """A step of a bare loop: the same network, optimizer, precision and copies."""
    module = _classifier(bench).to(bench.device).train()
    forward = torch.compile(module) if compiled else module
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.0, fused=True)

    def step() -> None:
        images = x.to(bench.device, non_blocking=True) / 127.5 - 1
        with torch.autocast(bench.device.type, torch.bfloat16):
            logits = forward(images)
        loss = F.cross_entropy(logits.float(), y.to(bench.device, non_blocking=True))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


class Files:
    """A pool of JPEG files in memory, as far as the loader needs one."""

    in_memory = False

    def __init__(self, x: Tensor) -> None:
        self.shape = x.shape[1:]
        self.files = pixels.encode(pixels.to_bytes(x))

    def __len__(self) -> int:
        return len(self.files)

    def minibatch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The images and labels of some rows."""
        return pixels.decode([self.files[row] for row in rows.tolist()], self.shape), rows % 10


def jpegs(bench: Bench, rows: int, steps: int) -> Iterator[Measured]:
    """Training steps on JPEG files that the loader decodes meanwhile, against steps on rows in memory."""
    files: Any = Files(photographs(8 if bench.tiny else 512, _side(bench)))
    draw = torch.randint(len(files), (steps, rows), generator=torch.Generator().manual_seed(1))
    loader = Loader(files, lambda step: draw[step % steps])
    x, y = loader.batch(0)
    begin = bench.now()
    for step in range(1, steps):
        loader.batch(step)
    yield Measured("loader alone, images/s", rows * (steps - 1) / (bench.now() - begin))
    yield Measured("size of a file", sum(map(len, files.files)) / len(files) / 1000, "kB")
    learner = _learner(bench, batch_size=rows)
    in_memory = _step_seconds(bench, lambda: learner.train_step(x, y), steps)
    position = iter(range(steps, 10**6))
    fed = _step_seconds(bench, lambda: learner.train_step(*loader.batch(next(position))), steps)
    yield Measured("training fed by it, images/s", rows / fed)
    yield Measured("time of training on rows in memory", fed / in_memory, "x", at_most=bench.bound(1.2))


def halve(bench: Bench, rows: int) -> Iterator[Measured]:
    """A training step with memory for about a third of the rows. Its gradient must be that of all rows."""
    x, y = _batch(bench, rows)
    _learner(bench, batch_size=rows).train_step(x[:1], y[:1])  # what a first step does once
    learner = _learner(bench, batch_size=rows)
    needed = bench.peak(lambda: learner.train_step(x, y))
    whole = _gradient(learner)
    learner = _learner(bench, batch_size=rows)
    _starve(bench, learner, rows // 2, needed / 3)
    try:
        learner.train_step(x, y)
    finally:
        if bench.gpu:
            bench.free_memory()
    yield Measured("rows that fitted together", learner.gradient.most, at_most=rows // 2)
    difference = (whole - _gradient(learner)).norm() / whole.norm()
    yield Measured("relative difference of gradients", difference.item(), at_most=0.05)


def _gradient(learner: NetworkLearner) -> Tensor:
    """The gradient of a learner's last step, as one vector on the CPU."""
    return torch.cat([p.grad.flatten().cpu() for p in learner.parameters if p.grad is not None])


def _starve(bench: Bench, learner: NetworkLearner, rows: int, left: float) -> None:
    """Leave so many bytes on a GPU. Without one, memory runs out by name for more than so many rows."""
    if bench.gpu:
        bench.limit_memory(left)
        return
    forward = learner.forward

    def limited(x: Tensor) -> Tensor:
        if len(x) > rows:
            raise torch.OutOfMemoryError("more rows than the benchmark allows")
        return forward(x)

    learner.forward = limited


def checkpoint(bench: Bench, rows: int) -> Iterator[Measured]:
    """Write a learner's state, read it into a fresh learner, and let both go on."""
    x, y = _batch(bench, rows)
    learner = _learner(bench, batch_size=rows, ema_decay=0.999)
    for _ in range(3):
        learner.train_step(x, y)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "learner.safetensors")
        begin = bench.now()
        save_file(learner.tensors(), file)
        yield Measured("written in", bench.now() - begin, "s")
        yield Measured("size", file.stat().st_size / GIB, "GiB")
        again = _learner(bench, batch_size=rows, ema_decay=0.999)
        begin = bench.now()
        again.load_tensors(load_file(file), learner.step)
        yield Measured("read in", bench.now() - begin, "s")
    yield Measured("tensors that differ", _differing(learner, again), at_most=0)
    for each in (learner, again):
        each.train_step(x, y)
    one, other = (each.losses[-1].item() for each in (learner, again))
    yield Measured("difference of the next loss", abs(one - other), at_most=1e-3)


def _differing(one: NetworkLearner, other: NetworkLearner) -> int:
    """How many tensors of two learners are not the same, bit for bit."""
    found = other.tensors()
    return sum(not torch.equal(value.cpu(), found[name].cpu()) for name, value in one.tensors().items())
