"""How the examples of one round come about: plain, guided by a learner, or over-generated and pruned by one.

A round is drawn in blocks of `sampling.block_size` rows, each of them whole and by one process, so that it is the same
bit for bit whoever draws it. A process keeps what it drew, as the pool is to have it: nobody needs the pixels of a
whole round at once. Blocks that a stopped run drew are read, not drawn again.
"""

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dp_base.errors import InputError, Interrupted, MissingError
from dp_base.progress import Progress, silent
from dp_real.config.config import Config, GuidanceConfig
from dp_real.evaluation.assess import assess
from dp_real.guidance.entropy import EntropyGuidance, RandomGuidance, ascend
from dp_real.pool.pool import Pool
from dp_real.protocols import Generator, Labelled, Learner
from dp_real.rounds.label_check import CALLS, LabelCheck, fit_temperature
from dp_real.runtime import processes
from dp_real.runtime.flops import count
from dp_real.runtime.seeds import Stream, rng, row_seeds

if TYPE_CHECKING:
    from dp_real.loop.practice import State

# What guidance.omega = "auto" starts from and may choose: omega times the number of guided steps, which is what counts.
PUSH_START, PUSH_RANGE = 0.2, (0.02, 1.6)
REFILLS = 3  # how often a sample that fails the label check is drawn again


@dataclass(frozen=True)
class Costs:
    """Samples drawn, kept or not; passes through the denoiser; FLOPs."""

    generated: int = 0
    forwards: int = 0
    backwards: int = 0
    flops: int = 0

    def __add__(self, other: "Costs") -> "Costs":
        return Costs(*(mine + its for mine, its in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass(frozen=True)
class Block:
    """Samples x [B, *sample_shape] of classes y int64 [B], their seeds uint64 [B] and strengths float32 [B]."""

    x: Tensor
    y: Tensor
    seeds: np.ndarray
    omega: np.ndarray
    costs: Costs


@dataclass
class Source:
    """Draws the rounds of a run by the policy of its configuration, for its pool.

    images: real ones, where a label check needs them. first: the learner at the first addition, where
    guidance.selector asks for it. stop: whether to give up, asked of all processes before each block. folder: where
    blocks are kept until their round is safe.
    """

    config: Config
    generator: Generator
    pool: Pool
    images: Labelled | None = None
    first: Learner | None = None
    progress: Progress = silent
    stop: Callable[[], bool] = lambda: False
    folder: Path | None = None
    _flops: dict[bool, int] = field(default_factory=dict, init=False)

    def draw(self, labels: Tensor, learner: Learner, state: "State") -> tuple[pa.Table, Costs]:
        """This process's rows of the next round, of the classes int64 [n], for Pool.append; and their costs.

        The initial round is plain. Moves state.push and state.temperature. Raises Interrupted if it was told to stop.
        """
        config, options, later = self.config, self.config.guidance, state.rounds > 0
        if options.selector == "first" and state.rounds == 1:
            self.first = copy.deepcopy(learner)
        fitting = self.fit_check(state, learner) if later and options.check != "none" else Costs()
        if later and config.practice.oversample > 1:
            rows, costs = self.pruned(state.rounds, labels, learner)
        elif later and options.omega:
            rows, costs, state.push = self.guided(state.rounds, labels, learner, state.push, state.temperature)
        else:
            rows, costs = self.plain(state.rounds, labels, learner)
        flops = costs.generated * self.sample_flops(later, learner, state.temperature)
        self.generator.rest()
        return rows, costs + fitting + Costs(flops=flops)

    def fit_check(self, state: "State", learner: Learner) -> Costs:
        """Set the temperature of the label check, once a run."""
        if state.temperature:
            return Costs()
        assert self.images is not None, "the configuration asks for a check"
        state.temperature, n = fit_temperature(self.config, self.generator, self.images, self.first or learner)
        return Costs(forwards=CALLS * n if processes.state().is_main_process else 0)  # all processes' are added up

    def plain(self, index: int, labels: Tensor, learner: Learner) -> tuple[pa.Table, Costs]:
        """Round `index` unguided."""
        forwards = forwards_per_sample(self.config)

        def draw(block: slice) -> Block:
            y, seeds = labels[block], row_seeds(self.config.seed, index, range(block.start, block.stop))
            n, x = len(y), self.generator.sample(y, seeds, None)
            return Block(x, y, seeds, np.zeros(n, np.float32), Costs(n, n * forwards))

        return self.in_blocks(index, slice(0, len(labels)), draw, learner)

    def pruned(self, index: int, labels: Tensor, learner: Learner) -> tuple[pa.Table, Costs]:
        """`practice.oversample` times as many plain samples; of each class what the selector finds hardest is kept."""
        drawn, costs = self.plain(index, labels.repeat(self.config.practice.oversample), learner)
        columns = (drawn[name].to_pylist() for name in ("hardness", "label", "row"))
        candidates = torch.tensor(processes.gather(list(zip(*columns, strict=True))), dtype=torch.float64)
        hardest = candidates[candidates[:, 0].argsort(descending=True, stable=True)]
        counts = labels.bincount(minlength=self.generator.n_classes).tolist()
        kept = torch.cat([hardest[hardest[:, 1] == label][:count, 2] for label, count in enumerate(counts)])
        kept, places = kept.sort().values.long().numpy(), drawn["row"].to_numpy()
        mine = np.isin(places, kept)
        row = pa.array(kept.searchsorted(places[mine]))
        return drawn.filter(pa.array(mine)).set_column(0, "row", row), costs

    def guided(
        self, index: int, labels: Tensor, learner: Learner, push: float = PUSH_START, temperature: float = 0.0
    ) -> tuple[pa.Table, Costs, float]:
        """Round `index` of samples that the selector finds hard; and the push of the next one.

        Under omega = "auto" the strength is `push` over the number of guided steps, and moves after every
        `guidance.steer_every` rows, a number that belongs to the configuration: the rows do not depend on how they
        were spread over batches or processes. Nor do they with a label check (temperature > 0), since a block sees to
        its own: a sample that fails is drawn again as row + n, row + 2n, ... of this round of n rows.
        """
        config, options, n, steps = self.config, self.config.guidance, len(labels), guided_steps(self.config)
        shares = rng(config.seed, Stream.OMEGA, index).random(n, np.float32) if options.spread else np.float32(1)
        shares = np.broadcast_to(shares, n)
        tries = range(0, n * (1 + REFILLS) if temperature else n, n)
        parts, costs = [], Costs()

        def guide(omega: np.ndarray, block: slice) -> Block:
            numbers = (range(first + block.start, first + block.stop) for first in tries)
            seeds = [row_seeds(config.seed, index, rows) for rows in numbers]
            return self.block(learner, labels[block], seeds, omega[block], temperature)

        for rows in processes.slices(slice(0, n), options.steer_every or n):
            omega = shares * (push / steps if options.omega == "auto" else options.omega)
            part, cost = self.in_blocks(index, rows, partial(guide, omega), learner)
            parts.append(part)
            costs += cost
            if options.omega == "auto":
                missed = sum(processes.gather([part["missed"].to_numpy().sum()]))
                push = steer(push, missed / (rows.stop - rows.start), options.wrong_share)
        return pa.concat_tables(parts), costs, push

    def block(
        self,
        learner: Learner,
        labels: Tensor,
        seeds: Sequence[np.ndarray],
        omega: np.ndarray,
        temperature: float = 0.0,
    ) -> Block:
        """Guided samples from the first of `seeds`, uint64 [B] each; those that fail the check, again from the next.

        A sample which never passes is the most credible one of its tries.
        """
        config, selector = self.config, self.first or learner
        check = LabelCheck(self.generator, temperature) if temperature else None
        x, kept, drawn = self.pushed(selector, labels, seeds[0], omega), seeds[0].copy(), len(labels)
        credible = check(selector, x, labels, kept) if check else torch.ones(len(labels))
        for again in seeds[1:]:
            failed = (credible < config.guidance.check_threshold).nonzero().squeeze(1)
            if not check or not len(failed):
                break
            y, row = labels[failed], failed.numpy()
            fresh = self.pushed(selector, y, again[row], omega[row])
            found = check(selector, fresh, y, again[row])
            better = found > credible[failed]
            place = failed[better]
            x[place], credible[place], kept[place.numpy()] = fresh[better], found[better], again[row][better.numpy()]
            drawn += len(y)
        forwards = drawn * (forwards_per_sample(config) + (CALLS if check else 0))
        through_denoiser = config.guidance.through == "unet" and config.guidance.control == "none"
        backwards = drawn * guided_steps(config) if through_denoiser else 0
        return Block(x, labels, kept, omega, Costs(drawn, forwards, backwards))

    def pushed(self, selector: Learner, labels: Tensor, seeds: np.ndarray, omega: np.ndarray) -> Tensor:
        """Guided samples, or those of a control."""
        options = self.config.guidance
        guidance = make_guidance(options, selector.logits, torch.from_numpy(omega))
        if options.control == "random-direction":
            guidance = replace(guidance, through="x0")  # no gradient is needed
            guidance = RandomGuidance(**vars(guidance), seeds=seeds)
        if options.control == "finished":
            return ascend(guidance, self.generator.sample(labels, seeds, None), guided_steps(self.config))
        return self.generator.sample(labels, seeds, guidance)

    def in_blocks(
        self, index: int, rows: slice, draw: Callable[[slice], Block], learner: Learner
    ) -> tuple[pa.Table, Costs]:
        """This process's blocks of these rows of a round, as `rows_of` has them."""
        blocks = list(processes.slices(rows, self.config.sampling.block_size))
        mine, here = processes.share(blocks), processes.state()
        parts, costs = [self.rows_of(slice(0, 0), self.nothing(), learner)], Costs()
        with self.progress("drawing examples", max(1, len(mine))) as advance:
            for turn in range(-(-len(blocks) // here.num_processes)):
                if self.stop():
                    raise Interrupted
                if turn < len(mine):
                    part = self.kept(index, mine[turn], draw, learner)
                    parts.append(part)
                    costs += Costs(**json.loads(part.schema.metadata[b"costs"]))
                    advance(1)
        return pa.concat_tables([part.replace_schema_metadata() for part in parts]), costs

    def kept(self, index: int, block: slice, draw: Callable[[slice], Block], learner: Learner) -> pa.Table:
        """The rows of one block, from its file if a stopped run has left it; on disk, as far as memory goes."""
        if self.folder is None:
            return self.rows_of(block, draw(block), learner)
        file = self.folder / f"round-{index}-row-{block.start}.arrow"
        if not file.exists():
            table = self.rows_of(block, draw(block), learner)
            self.folder.mkdir(exist_ok=True)
            unfinished = file.with_suffix(f".{os.getpid()}")
            with pa.ipc.new_file(str(unfinished), table.schema) as writer:
                writer.write_table(table)
            os.replace(unfinished, file)
        return pa.ipc.open_file(pa.memory_map(str(file))).read_all()

    def rows_of(self, block: slice, drawn: Block, learner: Learner) -> pa.Table:
        """What Pool.append takes, and as the selector sees it `hardness` (entropy) and `missed`; metadata: the costs.

        The learner, and the selector, are asked about what the pool will keep, which may be bytes or a JPEG.
        """
        example = self.pool.encode(drawn.x)
        x = self.pool.decode(example)
        entropy, correct = assess(learner, x, drawn.y)
        hardness, right = (entropy, correct) if self.first is None else assess(self.first, x, drawn.y)
        facts = {"row": np.arange(block.start, block.stop), "label": drawn.y, "seed": drawn.seeds, "omega": drawn.omega}
        rows = self.pool.rows(example, **facts, entropy=entropy, correct=correct)
        rows = rows.append_column("hardness", pa.array(hardness.numpy()))
        rows = rows.append_column("missed", pa.array((~right).int().numpy()))
        return rows.replace_schema_metadata({"costs": json.dumps(asdict(drawn.costs))})

    def nothing(self) -> Block:
        """No rows."""
        none = np.zeros(0, np.uint64)
        x = torch.empty(0, *self.generator.sample_shape)
        return Block(x, torch.empty(0, dtype=torch.int64), none, none.astype(np.float32), Costs())

    def forget(self) -> None:
        """A round is safe: its blocks may go."""
        if self.folder is not None and processes.state().is_main_process:
            shutil.rmtree(self.folder, ignore_errors=True)

    def sample_flops(self, later: bool, learner: Learner, temperature: float = 0.0) -> int:
        """FLOPs of drawing one sample of the initial round, or of a `later` one; each is measured once.

        0 where that does not fit into memory: attention that is counted is attention spelled out.
        """
        if later not in self._flops:
            label, seeds = torch.zeros(1, dtype=torch.int64), row_seeds(self.config.seed, 0, range(1))
            omega, self._flops[later] = np.zeros(1, np.float32), 0
            with contextlib.suppress(MissingError):
                if later and self.config.guidance.omega:
                    self._flops[later] = count(lambda: self.block(learner, label, [seeds], omega, temperature))
                else:
                    self._flops[later] = count(lambda: self.generator.sample(label, seeds, None))
        return self._flops[later]


def check_plan(config: Config, n_classes: int) -> None:
    """Raise InputError for a plan that would miss its aim without a word."""
    if config.guidance.omega:
        guided_steps(config)
    if config.practice.initial < n_classes:
        raise InputError(f"practice.initial = {config.practice.initial}: fewer examples than the {n_classes} classes")


def forwards_per_sample(config: Config) -> int:
    """Classifier-free guidance evaluates the denoiser twice a step."""
    return config.sampling.steps * (1 if config.sampling.guidance_scale == 1 else 2)


def make_guidance(
    options: GuidanceConfig, logits: Callable[[Tensor], Tensor], omega: float | Tensor
) -> EntropyGuidance:
    """Entropy guidance as configured, at a strength."""
    return EntropyGuidance(logits, omega, options.scale, options.apply, options.through, options.window, options.every)


def guided_steps(config: Config) -> int:
    """How many steps of the sampler are guided. Raises InputError if none is."""
    guidance, steps = make_guidance(config.guidance, lambda x: x, 0.0), config.sampling.steps
    guided = sum(guidance.guides(index, steps) for index in range(steps))
    if not guided:
        raise InputError(
            f"guidance.window = {list(config.guidance.window)} guides none of the {steps} sampling.steps, the last of "
            "which is never guided; widen it, or set guidance.omega = 0"
        )
    return guided


def steer(push: float, wrong: float, target: float) -> float:
    """The push for the next rows, given what share of the last ones the learner gets wrong; a factor 2 at most."""
    factor = float(np.clip(target / wrong, 0.5, 2)) if wrong else 2.0
    return float(np.clip(push * factor, *PUSH_RANGE))
