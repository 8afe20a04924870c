"""Draws a run's rounds in blocks, each by one process, so rows do not depend on their number."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from dp_base.errors import DivergedError, Interrupted
from dp_base.files import remove
from dp_base.progress import Progress, silent
from dp_base.registry import Registry
from dp_real import distributed
from dp_real.config import Config
from dp_real.data.sets.long_tail import tail_counts, tail_rows
from dp_real.evaluate.assess import assess
from dp_real.examples import ExampleSet, NearExamples, TrainingExamples, balanced_rows
from dp_real.guidance.entropy import OBJECTIVES, EntropyGuidance, RandomGuidance
from dp_real.pool import REAL_SEED, Batch, Pool
from dp_real.pool.batch import BLOCK, POSTERIOR
from dp_real.pool.marks import mark_of
from dp_real.pool.storages import Storage
from dp_real.protocols import Generator, Learner, LikelihoodGenerator
from dp_real.runtime.finite import LARGEST_SHARE, require_samples, unusable
from dp_real.runtime.pixels import to_float
from dp_real.runtime.seeds import Stream, next_seeds, rng, row_seeds

if TYPE_CHECKING:
    from dp_real.shared import Shared

log = logging.getLogger(__name__)

Kind = Literal["plain", "pruned", "chosen", "guided"]
INITIAL_TOTAL = 0.2  # total guidance (omega times the guided steps) of the first guided rows
TOTAL_RANGE = (0.02, 1.6)
DAMPING = 0.5  # the wrong share grows faster than the total guidance: moving by the whole ratio would swing about it
LARGEST_FACTOR = 2.0  # by which the total guidance changes at once
FIRST_PARTS = 8  # parts of the first guided round, between which an automatic strength finds its place
LEAST_ROWS = 20  # of such a part
CHOICE_STRENGTH = 25.0  # an automatic strength of choosing, per nat, at a total guidance of 1
END_TOLERANCE = 1.001  # a strength within this factor of an end of its range counts as being there
REDRAWS = 3  # of a row of no use


# which classes


def real_labels(config: Config, index: int) -> Int64[Tensor, " real"]:
    """The classes of a round's real examples, as far as practice.imbalance says them."""
    practice = config.practice
    if index or not practice.real or practice.imbalance <= 1:
        return torch.empty(0, dtype=torch.int64)
    counts = tail_counts(practice.real, config.task.n_classes, practice.imbalance, config.data.split)
    return torch.arange(config.task.n_classes).repeat_interleave(torch.from_numpy(counts))


def filling(counts: Int64[Tensor, " classes"], n: int) -> Int64[Tensor, " n"]:
    """The classes of n further examples, each of the class that has the fewest by then."""
    levels = torch.arange(min(int(counts.min()) + n, (int(counts.sum()) + n) // len(counts) + 1))
    _, label = (levels[:, None] >= counts).nonzero(as_tuple=True)  # a class takes one at each level from its count on
    return label[:n]


# how hard


def kind_of(config: Config, index: int) -> Kind:
    """How the samples of round `index` are drawn; the initial round, 0, is plain or pruned."""
    if (config.practice.oversample if index else config.practice.initial_oversample) > 1:
        return "pruned"
    if index and config.guidance.candidates > 1:
        return "chosen"
    return "guided" if index and config.guidance.omega else "plain"


def strength(config: Config, kind: Kind, total: float) -> float:
    """Omega for new rows; an automatic one follows from the total guidance, on which the effect depends."""
    if kind in ("plain", "pruned"):
        return 0.0
    if config.guidance.omega != "auto":
        return config.guidance.omega
    return CHOICE_STRENGTH * total if kind == "chosen" else total / len(config.guided_steps)


def steer(total: float, wrong: float, target: float) -> float:
    """The next total guidance: more if the learner gets less than `target` of the latest rows wrong."""
    factor = LARGEST_FACTOR if wrong == 0 else (target / wrong) ** DAMPING
    return float(np.clip(total * np.clip(factor, 1 / LARGEST_FACTOR, LARGEST_FACTOR), *TOTAL_RANGE))


def end_of_range(config: Config, omega: float) -> Literal["lowest", "highest"] | None:
    """At which end of its range an automatic strength is."""
    kind = kind_of(config, 1)
    if kind not in ("chosen", "guided") or config.guidance.omega != "auto":
        return None
    lowest, highest = (strength(config, kind, total) for total in TOTAL_RANGE)
    if omega <= lowest * END_TOLERANCE:
        return "lowest"
    return "highest" if omega >= highest / END_TOLERANCE else None


# samples for rows


class Samples(NamedTuple):
    """Samples for B rows."""

    x: Tensor  # [B, *sample_shape]
    seeds: np.ndarray  # uint64 [B], from which each can be drawn again
    draws: np.ndarray  # int64 [B], how many samples were generated for the row
    redrawn: np.ndarray  # int64 [B], how many of them replaced one of no use


def choose(hardness: np.ndarray, omega: float, seeds: np.ndarray) -> np.ndarray:
    """Candidate k of row b with P ∝ exp(omega·hardness[b, k]): importance resampling for p(x)·exp(omega·H(x)).

    The Gumbel noise comes from the candidates' own seeds, so a row does not depend on others.
    """
    gumbel = np.reshape([rng(int(seed), Stream.CHOICE).gumbel() for seed in seeds.flat], seeds.shape)
    return (omega * hardness + gumbel).argmax(axis=1)


@dataclass(frozen=True)
class SampleDrawer:
    """Draws samples from a generator as a configuration asks."""

    config: Config
    generator: Generator
    storage: Storage

    def draw(
        self,
        labels: Tensor,
        seeds: np.ndarray,
        guide: Callable[[np.ndarray], EntropyGuidance] | None = None,
        what: str = "samples",
    ) -> Samples:
        """Samples of the labels, plain or with the guidance of rows with these seeds. One of no use is drawn again.

        DivergedError if more than LARGEST_SHARE are of no use, or one is after REDRAWS.
        """
        seeds, redrawn = seeds.copy(), np.zeros(len(seeds), np.int64)
        x = self.generator.sample(labels, seeds, guide(seeds) if guide else None)
        for _ in range(REDRAWS):
            bad = np.flatnonzero(unusable(x).numpy())
            if not len(bad) or len(bad) > max(1, LARGEST_SHARE * len(seeds)):
                break
            seeds[bad] = next_seeds(seeds[bad])
            redrawn[bad] += 1
            x[bad] = self.generator.sample(labels[bad], seeds[bad], guide(seeds[bad]) if guide else None)
        require_samples(x, what, self.config.sample_remedy(guided=guide is not None))
        return Samples(x, seeds, 1 + redrawn, redrawn)

    def guide(self, learner: Learner, omega: float) -> Callable[[np.ndarray], EntropyGuidance]:
        """The guidance of rows with given seeds, by the learner at strength omega or in the control's directions."""
        options = self.config.guidance

        def of_rows(seeds: np.ndarray) -> EntropyGuidance:
            strengths = torch.full((len(seeds),), omega)
            if options.control == "random-direction":
                return RandomGuidance.of(options, learner.logits, strengths, through="x0", seeds=seeds)
            return EntropyGuidance.of(options, learner.logits, strengths)

        return of_rows

    def chosen(
        self, learner: Learner, labels: Tensor, seeds: Sequence[np.ndarray], omega: float, what: str = "samples"
    ) -> Samples:
        """For each row one of several plain candidates, as the pool would keep them; all count as generated."""
        several = [self.draw(labels, each, what=what) for each in seeds]
        seen = [self.storage.decode(self.storage.encode(candidate.x)) for candidate in several]
        hardness = np.stack([self.score(learner, x, labels).numpy() for x in seen], axis=1)
        used = np.stack([candidate.seeds for candidate in several], axis=1)
        best, row = choose(hardness, float(np.float32(omega)), used), np.arange(len(labels))
        return Samples(
            x=torch.stack([candidate.x for candidate in several])[best, row],
            seeds=used[row, best],
            draws=np.sum([candidate.draws for candidate in several], axis=0),
            redrawn=np.sum([candidate.redrawn for candidate in several], axis=0),
        )

    def score(self, learner: Learner, x: Tensor, labels: Tensor) -> Tensor:
        """Entropy in nats, or another objective, plus likelihood_weight·log p(label | sample), float64 [B]."""
        score = assess(learner, x, labels, hardness=OBJECTIVES[self.config.guidance.objective])[0].double()
        if weight := self.config.guidance.likelihood_weight:
            log_posterior = cast(LikelihoodGenerator, self.generator).log_posterior(x)
            score = score + weight * log_posterior.gather(1, labels.unsqueeze(1)).squeeze(1)
        return score

    def posterior(self, x: Tensor) -> Tensor:
        """The generator's own probabilities of the classes."""
        return cast(LikelihoodGenerator, self.generator).log_posterior(x).exp()


# rounds


class Drawn(NamedTuple):
    """A round as one process drew it."""

    batch: Batch  # this process's rows
    kind: Kind
    rows: int  # that were drawn here, before any was pruned or left out
    samples: int  # generated for these rows, candidates and redrawn ones included
    redrawn: int  # samples in place of one of no use
    total_guidance: float  # of the next round
    saved: float  # seconds that were spared, because other runs or a stopped one drew some blocks
    files: Sequence[Path]  # that hold this process's rows, and no others


@dataclass
class Rounds:
    """Draws the rounds of a run, whose blocks are kept in `folder` until the pool has them.

    near: has seen nothing yet. stop: all processes call it before each block.
    """

    config: Config
    pool: Pool
    generator: Generator | None = None
    real: TrainingExamples | None = None
    validation: ExampleSet | None = None
    folder: Path | None = None
    shared: Shared | None = None
    marks: frozenset[str] = frozenset()
    near: NearExamples | None = None
    stop: Callable[[], bool] = lambda: False
    progress: Progress = silent
    _knows: bool = field(default=False, init=False)  # whether `near` has the validation set and the pool

    def draw(self, index: int, labels: Tensor, learner: Learner, total: float = INITIAL_TOTAL) -> Drawn:
        """Draw round `index` of classes `labels`; all processes call it, and `total` guides its first rows."""
        self._own: list[slice] = []  # the blocks of this process
        known = self._known() if self.near and distributed.this_process().is_main_process else None  # before the round
        n_real = 0 if index else self.config.practice.real
        drawn, begin = self._empty(), time.monotonic()
        if n_real < len(labels):
            drawn, total = self._generated(index, labels[n_real:], learner, total)
        saved = float(drawn.seconds.sum()) - (time.monotonic() - begin)
        costs = len(drawn), int(drawn.draws.sum()), int(drawn.redrawn.sum())
        kind = kind_of(self.config, index)
        batch = drawn
        if kind == "pruned":
            counts = labels[n_real:].bincount(minlength=self.config.task.n_classes).numpy()
            batch = drawn.among(np.sort(KEEP[self.config.practice.keep](self, drawn, counts)))
        if n_real:
            batch = replace(batch, row=batch.row + n_real)
            batch = Batch.concatenate([self._real(labels[:n_real], learner), batch])
        if self.marks:
            batch = self._unmarked(index, batch)
        if self.near:
            batch = self._distinct(index, batch, known)
        files = self._files(index) if batch is drawn else []
        return Drawn(batch, kind, *costs, total, max(0.0, saved), files)  # a little is lost between blocks

    def forget(self) -> None:
        if self.folder is not None and distributed.this_process().is_main_process:
            remove(self.folder)

    @property
    def drawer(self) -> SampleDrawer:
        assert self.generator is not None, "a run of real examples alone draws none"
        return SampleDrawer(self.config, self.generator, self.pool.storage)

    def _generated(self, index: int, labels: Tensor, learner: Learner, total: float) -> tuple[Batch, float]:
        """This process's rows, and the next total guidance."""
        config, kind = self.config, kind_of(self.config, index)
        if kind == "pruned":
            labels = labels.repeat(config.practice.oversample)
        n = len(labels)
        steers = kind in ("chosen", "guided") and config.guidance.omega == "auto"
        part = max(LEAST_ROWS, -(-n // FIRST_PARTS)) if steers and index == 1 else n
        drawn = [self._empty()]
        for rows in distributed.slices(slice(0, n), part):
            block = partial(self._block, index, labels, learner, kind, strength(config, kind, total))
            new = self._blocks(rows, block)
            drawn += new
            if steers:
                wrong = sum(distributed.gather([sum(int((~batch.correct).sum()) for batch in new)]))
                total = steer(total, wrong / (rows.stop - rows.start), config.guidance.wrong_share)
        self.drawer.generator.offload()
        return Batch.concatenate(drawn), total

    def _blocks(self, rows: slice, draw: Callable[[slice], Batch]) -> list[Batch]:
        """This process's blocks."""
        blocks = list(distributed.slices(rows, self.config.sampling.block_size))
        own = distributed.own_share(blocks)
        self._own += own
        drawn: list[Batch] = []
        stopped: Interrupted | None = None
        with self.progress("drawing examples", max(1, len(own))) as advance:
            for turn in range(-(-len(blocks) // distributed.this_process().num_processes)):
                if self.stop():
                    raise Interrupted
                if turn < len(own):
                    try:
                        drawn.append(draw(own[turn]))
                    except Interrupted as error:
                        stopped = error
                    advance(1)
                if distributed.any_process(stopped is not None):
                    raise stopped or Interrupted
        return drawn

    def _files(self, index: int) -> list[Path]:
        return [self.folder / block_name(index, block.start) / BLOCK for block in self._own] if self.folder else []

    def _block(self, index: int, labels: Tensor, learner: Learner, kind: Kind, omega: float, rows: slice) -> Batch:
        """A block, read if a stopped run left it whole, else drawn, assessed and kept."""
        folder = self.folder / block_name(index, rows.start) if self.folder else None
        if folder and (left := Batch.read(folder)):
            return left
        # The candidates of row i have the seeds of the rows i, i + n, i + 2n, … of the round.
        n, candidates = len(labels), self.config.guidance.candidates if kind == "chosen" else 1
        starts = range(rows.start, rows.start + n * candidates, n)
        seeds = [row_seeds(self.config.seed, index, range(start, start + rows.stop - rows.start)) for start in starts]
        draw = partial(self._drawn, index, rows.start, labels[rows], learner, kind, omega, seeds)
        shared = self.shared if index == 0 else None  # the initial round is plain in every arm
        batch = shared.block(labels[rows], seeds, rows, draw) if shared else draw()
        begin = time.monotonic()
        batch = spent(self._assessed(batch, learner), begin)
        return batch.keep(folder, self.pool.metadata) if folder else batch

    def _drawn(
        self,
        index: int,
        first: int,
        labels: Tensor,
        learner: Learner,
        kind: Kind,
        omega: float,
        seeds: Sequence[np.ndarray],
    ) -> Batch:
        begin, drawer, what = time.monotonic(), self.drawer, f"round {index}"
        if kind == "chosen":
            samples = drawer.chosen(learner, labels, seeds, omega, what)
        else:
            samples = drawer.draw(labels, seeds[0], drawer.guide(learner, omega) if kind == "guided" else None, what)
        posterior = drawer.posterior(samples.x) if self.config.pool.soft_labels else None
        return spent(as_batch(index, first, labels, omega, samples, self.pool.storage, posterior), begin)

    def _assessed(self, batch: Batch, learner: Learner) -> Batch:
        """The learner sees what the pool keeps, which may be bytes or a JPEG."""
        x = self.pool.storage.decode(batch.table()["example"].combine_chunks())
        entropy, correct = assess(learner, x, torch.tensor(batch.label))
        return replace(batch, entropy=entropy.numpy(), correct=correct.numpy())

    def _empty(self) -> Batch:
        return Batch.empty(self.pool.storage.type, self.config.pool.soft_labels)

    def _real(self, labels: Tensor, learner: Learner) -> Batch:
        """Real examples of these labels, the same for all runs on one data split; the main process has all."""
        assert self.real is not None, "check_real_examples has counted them"
        split, y = self.config.data.split, self.real.y.numpy()
        if self.config.practice.imbalance > 1:
            rows = tail_rows(y, labels, split)
        else:
            rows = torch.from_numpy(balanced_rows(y, len(labels), split))
        if not distributed.this_process().is_main_process:
            rows = rows[:0]
        own, zeros = self.real.y[rows], np.zeros(len(rows), np.int64)
        samples = Samples(self.real.x[rows], np.full(len(rows), REAL_SEED, np.uint64), draws=zeros, redrawn=zeros)
        certain = F.one_hot(own, self.config.task.n_classes) if self.config.pool.soft_labels else None
        return self._assessed(as_batch(0, 0, own, 0.0, samples, self.pool.storage, certain), learner)

    # what is left out: it was generated, and counts as such

    def _unmarked(self, index: int, batch: Batch) -> Batch:
        examples = to_float(self.pool.storage.decode(batch.table()["example"].combine_chunks()))
        names = self.config.task.classes
        own = zip(batch.row.tolist(), batch.label.tolist(), examples, strict=True)
        good = [row for row, label, example in own if mark_of(example, names[label]) not in self.marks]
        kept = np.array(sorted(distributed.gather(good)), np.int64)
        dropped = sum(distributed.gather([len(batch)])) - len(kept)
        if not len(kept):
            raise DivergedError(f"round {index}: pool.marks leaves out all {dropped} examples: mark fewer")
        if dropped and distributed.this_process().is_main_process:
            log.warning("round %d: %d examples are left out, as pool.marks says", index, dropped)
        return batch.among(kept)

    def _known(self) -> NearExamples:
        """The validation set and the pool, from this process's first round on."""
        assert self.near is not None
        if self.validation is not None and not self._knows:
            self.near.add(self.near.values(self.validation.x))
            self.near.add(self.near.values(self.pool.x))
            self._knows = True
        return self.near

    def _distinct(self, index: int, batch: Batch, known: NearExamples | None) -> Batch:
        """The rows that are not nearly one of the pool, this round or the validation set."""
        mine = zip(batch.row.tolist(), batch.example.to_pylist(), strict=True)
        everybodys = sorted(distributed.gather(list(mine)))
        near = distributed.from_main(known.add([value for _, value in everybodys]) if known else np.zeros(0, bool))
        kept = np.array([row for row, _ in everybodys])[~near]
        if not len(kept):
            noun, likeness = self.config.data.examples, self.config.pool.distinct
            raise DivergedError(
                f"round {index}: all {len(near)} {noun} are like earlier ones: "
                f"raise pool.distinct = {likeness:g}, or make the generator's {noun} more varied"
            )
        return batch.among(kept)


# what is kept of an over-generated round: other packages can add theirs

KEEP: Registry[Callable[[Rounds, Batch, Int64[np.ndarray, " classes"]], Int64[np.ndarray, " kept"]]] = Registry(
    "keep", __name__
)
"""A rule takes the rows that this process drew, and how many of each class to keep, of those of all processes.

All processes call it. It returns the numbers of the rows that are kept (Batch.row), in all of them.
"""


@KEEP.named("hardest", place=1)
def hardest(rounds: Rounds, batch: Batch, counts: Int64[np.ndarray, " classes"]) -> Int64[np.ndarray, " kept"]:
    """The hardest rows for the learner; of equally hard ones the first."""
    mine = zip(batch.entropy.tolist(), batch.label.tolist(), batch.row.tolist(), strict=True)
    rows = torch.tensor(distributed.gather(list(mine)), dtype=torch.float64)
    rows = rows[rows[:, 0].argsort(descending=True, stable=True)]
    return torch.cat([rows[rows[:, 1] == label][:count, 2] for label, count in enumerate(counts)]).long().numpy()


def as_batch(
    index: int,
    first: int,
    labels: Tensor,
    omega: float,
    samples: Samples,
    storage: Storage,
    posterior: Tensor | None = None,
) -> Batch:
    """Encode samples for the pool, from row `first` of the round on, not yet assessed."""
    n = len(labels)
    return Batch(
        row=np.arange(first, first + n),
        round=np.full(n, index, np.int32),
        label=labels.numpy(),
        seed=samples.seeds,
        omega=np.full(n, omega, np.float32),
        entropy=np.full(n, np.nan, np.float32),
        correct=np.zeros(n, bool),
        example=storage.encode(samples.x),
        draws=samples.draws,
        redrawn=samples.redrawn,
        seconds=np.zeros(n),
        posterior=None if posterior is None else pa.array(list(posterior.float().numpy()), POSTERIOR),
    )


def spent(batch: Batch, begin: float) -> Batch:
    """The batch, with the time since `begin` added to its rows' seconds."""
    return replace(batch, seconds=batch.seconds + (time.monotonic() - begin) / max(1, len(batch)))


def block_name(index: int, row: int | str) -> str:
    """The folder of a round's block that begins at this row."""
    return f"round-{index}-row-{row}"
