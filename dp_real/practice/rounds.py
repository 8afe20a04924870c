"""Draws a run's rounds in blocks, each in one process: rows do not depend on the number of processes."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from dp_base.errors import DivergedError, InputError, Interrupted
from dp_base.progress import progress
from dp_base.registry import Registry
from dp_real.data.examples import Examples, ExampleSet, NearExamples, RealData
from dp_real.data.sets.real_rows import balanced_rows, tail_counts, tail_rows
from dp_real.guidance.entropy import OBJECTIVES, EntropyGuidance, Logits, RandomGuidance, assess, cpu_logits, identity
from dp_real.pool.marks import mark_of, read_marks
from dp_real.pool.pool import COLUMNS, REAL_SEED, Blocks, Pool, cache_block, cached_block, shared_block, with_columns
from dp_real.pool.storages import Storage
from dp_real.practice.section import DrawingConfig
from dp_real.protocols import INEXACT, AnySize, Generator, LikelihoodGenerator
from dp_real.runtime import distributed
from dp_real.runtime.computing import TOLERATED, FlopCounter, require_samples, unusable
from dp_real.runtime.pixels import to_float
from dp_real.runtime.seeds import Stream, next_seeds, rng, row_seeds

log = logging.getLogger(__name__)

Kind = Literal["plain", "pruned", "chosen", "guided"]
INITIAL_BUDGET = 0.2  # guidance budget (omega times the guided steps) of the first guided rows
BUDGET_RANGE = (0.02, 1.6)
DAMPING = 0.5  # the wrong share grows faster than the guidance budget: the whole ratio would oscillate
MAX_FACTOR = 2.0  # of one change of the guidance budget
FIRST_PARTS = 8  # parts of the first guided round, between which an automatic strength is adapted
MIN_ROWS = 20  # of such a part
COMPARED = 20  # images whose range of values is checked
DARK = -0.5  # a pixel that no image in [0, 1] has
CHOICE_STRENGTH = 25.0  # automatic strength of a selection, per nat, at a guidance budget of 1
ROUNDING = 0.05  # at most, of values in [-1, 1]
END_TOLERANCE = 1.001  # a strength within this factor of an end of its range counts as there


# which classes


def real_labels(config: DrawingConfig, index: int) -> Int64[Tensor, " real"]:
    """The classes of a round's real examples, if practice.imbalance determines them."""
    practice = config.practice
    if index or not practice.real or practice.imbalance <= 1:
        return torch.empty(0, dtype=torch.int64)
    counts = tail_counts(practice.real, config.task.n_classes, practice.imbalance, config.data.split)
    return torch.arange(config.task.n_classes).repeat_interleave(torch.from_numpy(counts))


def filling(counts: Int64[Tensor, " classes"], n: int) -> Int64[Tensor, " n"]:
    """The classes of n further examples, each of the class that has the fewest by then."""
    levels = torch.arange(min(int(counts.min()) + n, (int(counts.sum()) + n) // len(counts) + 1))
    _, label = (levels[:, None] >= counts).nonzero(as_tuple=True)  # a class gets one at each level from its count on
    return label[:n]


# how hard


def kind_of(config: DrawingConfig, index: int) -> Kind:
    """How the samples of round `index` are drawn; the initial ones, if there are any, are plain or pruned."""
    is_addition = index >= first_addition(config)
    if (config.practice.oversample if is_addition else config.practice.initial_oversample) > 1:
        return "pruned"
    if is_addition and config.guidance.candidates > 1:
        return "chosen"
    return "guided" if is_addition and config.guidance.omega else "plain"


def first_addition(config: DrawingConfig) -> int:
    """The first round that depends on a learner."""
    return 1 if config.practice.initial or config.data.real_per_class else 0


def strength(config: DrawingConfig, kind: Kind, budget: float) -> float:
    """Omega for new rows. If automatic, it follows from the guidance budget, on which the effect depends."""
    if kind in ("plain", "pruned"):
        return 0.0
    if config.guidance.omega != "auto":
        return config.guidance.omega
    return CHOICE_STRENGTH * budget if kind == "chosen" else budget / len(config.guided_steps)


def steer(budget: float, wrong: float, target: float) -> float:
    """The next guidance budget: higher if the learner got less than `target` of the latest rows wrong."""
    factor = MAX_FACTOR if wrong == 0 else (target / wrong) ** DAMPING
    return float(np.clip(budget * np.clip(factor, 1 / MAX_FACTOR, MAX_FACTOR), *BUDGET_RANGE))


def at_limit(config: DrawingConfig, omega: float) -> str | None:
    """A warning if an automatic strength is at an end of its range, and so misses its aim."""
    kind, options = kind_of(config, 1), config.guidance
    if kind not in ("chosen", "guided") or options.omega != "auto" or options.control != "none":
        return None
    lowest, highest = (strength(config, kind, budget) for budget in BUDGET_RANGE)
    aim = f"guidance.wrong_share = {options.wrong_share:g}"
    if omega <= lowest * END_TOLERANCE:
        return f"the strength is at its lowest: plain samples are as hard as {aim} asks: raise it, or set omega = 0"
    if omega >= highest / END_TOLERANCE:
        return f"the strength is at its highest: {aim} is out of reach: lower it"
    return None


# samples for rows


class Samples(NamedTuple):
    """Samples for B rows."""

    x: Tensor  # [B, *sample_shape]
    seeds: np.ndarray  # uint64 [B], with which each can be drawn again
    n_draws: np.ndarray  # int64 [B], samples generated for the row
    redrawn: np.ndarray  # int64 [B], those of them that replaced a useless one


def choose(hardness: np.ndarray, omega: float, seeds: np.ndarray) -> np.ndarray:
    """Candidate k of row b with P ∝ exp(omega·hardness[b, k]): importance resampling for p(x)·exp(omega·H(x)).

    The Gumbel noise comes from the candidates' seeds, so rows do not depend on each other.
    """
    gumbel = np.reshape([rng(int(seed), Stream.CHOICE).gumbel() for seed in seeds.flat], seeds.shape)
    return (omega * hardness + gumbel).argmax(axis=1)


@dataclass
class SampleDrawer:
    """Draws samples by a configuration."""

    config: DrawingConfig
    generator: Generator
    storage: Storage

    def __post_init__(self) -> None:
        self.objective = OBJECTIVES[self.config.guidance.objective]

    def draw(
        self,
        labels: Tensor,
        seeds: np.ndarray,
        guide: Callable[[np.ndarray], EntropyGuidance] | None = None,
        what: str = "samples",
    ) -> Samples:
        """Samples of the labels, plain or guided. `guide` returns the guidance of rows with given seeds.

        A useless sample is drawn again. DivergedError if there are more than TOLERATED.
        """
        seeds, redrawn = seeds.copy(), np.zeros(len(seeds), np.int64)
        x = self._sample(labels, seeds, guide)
        share, redraws = TOLERATED[x.is_floating_point()]
        for left in reversed(range(redraws + 1)):
            bad = np.flatnonzero(unusable(x).numpy())
            if not len(bad):
                break
            if not left or len(bad) > max(1, share * len(seeds)):
                if guide:
                    cpu_logits(guide(seeds).logits, torch.zeros_like(x[:2]))  # is it the learner that has diverged?
                require_samples(x, what, self.config.sample_remedy(guided=guide is not None))
            seeds[bad] = next_seeds(seeds[bad])
            redrawn[bad] += 1
            x[bad] = self._sample(labels[bad], seeds[bad], guide)
        return Samples(x, seeds, 1 + redrawn, redrawn)

    def _sample(
        self, labels: Tensor, seeds: np.ndarray, guide: Callable[[np.ndarray], EntropyGuidance] | None
    ) -> Tensor:
        """Copies protect labels, seeds and samples from a generator that changes or reuses its tensors."""
        return self.generator.sample(labels.clone(), seeds.copy(), guide(seeds) if guide else None).clone()

    def remark(self, samples: Samples, labels: Tensor, repeats: bool) -> None:
        """Warn if samples of a class are equal or, with `repeats`, if a resume would draw others."""
        x = samples.x
        first, place = np.unique(labels, return_index=True, return_inverse=True)[1:]
        alike = first[place] if len(first) < len(x) else 0 * place  # the first row of each one's class, or of all
        if len(x) > 1 and (x == x[alike]).all():
            log.warning("%d samples differ by class alone: the generator should draw another for each seed", len(x))
        elif repeats and not torch.allclose(self._sample(labels[:1], samples.seeds[:1], None), x[:1], atol=ROUNDING):
            log.warning("the generator draws another sample for the same label and seed: %s", INEXACT)

    def guidance(self, logits: Logits, omega: float, seeds: np.ndarray) -> EntropyGuidance:
        """Guidance of rows with these seeds, by the learner or in the control's directions."""
        options = self.config.guidance
        if options.control == "random-direction":
            return RandomGuidance.from_config(options, logits, omega, through="x0", seeds=seeds)
        return EntropyGuidance.from_config(options, logits, omega, objective=self.objective)

    def chosen(
        self, logits: Logits, labels: Tensor, seeds: Sequence[np.ndarray], omega: float, what: str = "samples"
    ) -> Samples:
        """One of several plain candidates for each row, scored as the pool stores them. All count as generated."""
        x, used, n_draws, redrawn = zip(*(self.draw(labels, each, what=what) for each in seeds), strict=True)
        stored = [self.storage.decode(self.storage.encode(each)) for each in x]
        hardness = np.stack([self.score(logits, each, labels).numpy() for each in stored], axis=1)
        used = np.stack(used, axis=1)
        best, row = choose(hardness, float(np.float32(omega)), used), np.arange(len(labels))
        return Samples(torch.stack(x)[best, row], used[row, best], np.sum(n_draws, axis=0), np.sum(redrawn, axis=0))

    def score(self, logits: Logits, x: Tensor, labels: Tensor) -> Tensor:
        """Entropy in nats, or another objective, plus likelihood_weight·log p(label | sample), float64 [B]."""
        score = assess(logits, x, labels, objective=self.objective)[0].double()
        if weight := self.config.guidance.likelihood_weight:
            log_posterior = cast(LikelihoodGenerator, self.generator).log_posterior(x)
            score = score + weight * log_posterior.gather(1, labels.unsqueeze(1)).squeeze(1)
        return score

    def posterior(self, x: Tensor) -> Tensor:
        """The generator's probabilities of the classes."""
        return cast(LikelihoodGenerator, self.generator).log_posterior(x).exp()


# rounds


def check_drawing(config: DrawingConfig) -> None:
    """Raise InputError for an objective that gives no number a row, an unknown rule, a wrong task, or no step."""
    _ = KEEP[config.practice.keep]
    x, y = torch.eye(2, config.task.n_classes, device="cpu"), torch.arange(2, device="cpu")
    assess(identity, x, y, OBJECTIVES[config.guidance.objective])
    if config.practice.needs_generator:
        config.generator.check_task(config.task)
    if config.guidance.guides_sampler and not config.guided_steps:
        raise InputError(
            f"guidance.window = {list(config.guidance.window)} guides none of the {config.sampling.steps} "
            "sampling.steps, the last of which is never guided; widen it, or set guidance.omega = 0"
        )


def loaded(config: DrawingConfig, data: RealData | None = None) -> Generator:
    """The generator of a configuration, for samples of the pool's size."""
    check_drawing(config)
    config.generator.check_guidance(config.guidance)
    generator = config.generator.load(config.sampling, config.data, data)
    return cast(AnySize, generator).resized(config.pool_shape) if config.pool.size else generator


class Drawn(NamedTuple):
    """One process's part of a round."""

    rows: pa.Table  # of this process, with Pool.schema
    costs: Counter[str]  # of all processes: generated, redrawn, forwards, backwards, flops
    guidance_budget: float  # of the next round
    saved: float  # seconds saved by blocks that other runs or a stopped one drew
    files: Sequence[Path]  # they hold this process's rows, and no others


@dataclass
class Rounds:
    """Draws the rounds of a run. Their blocks stay in `folder` until the pool has them.

    All processes call `stop` before each block.
    """

    config: DrawingConfig
    pool: Pool
    folder: Path
    generator: Generator | None = None
    data: RealData | None = None
    shared: Path | None = None
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.marks = read_marks(self.config.pool.marks)
        self._compared: tuple[Pool, int, NearExamples] | None = None  # a pool, its version, and its examples

    def draw(self, index: int, labels: Tensor, logits: Logits | None, budget: float = INITIAL_BUDGET) -> Drawn:
        """Draw round `index` of classes `labels`, the first rows at guidance budget `budget`. All processes call this.

        The initial round needs no `logits`.
        """
        n_real = 0 if index else self.config.practice.real
        few = self.data.few if self.data and not index else None
        drawn, files = self.pool.schema.empty_table(), []
        begin = time.monotonic()
        if n_real < len(labels):
            drawn, files, budget = self._generated(index, labels[n_real:], logits, budget)
            if not index and len(drawn) > COMPARED:
                self._check_range(decoded(drawn.slice(0, COMPARED), self.pool.storage))
        # At least 0: the sum itself takes time.
        saved = max(0.0, sum(drawn["seconds"].to_pylist()) - (time.monotonic() - begin))
        rows = drawn
        if n_real < len(labels) and kind_of(self.config, index) == "pruned":
            counts = labels[n_real:].bincount(minlength=self.config.task.n_classes).numpy()
            rows = select_rows(drawn, np.sort(KEEP[self.config.practice.keep](self, drawn, counts)))
        if few is None and n_real:
            few = self._training(labels[:n_real])
        if few is not None:
            rows = with_columns(rows, row=rows["row"].to_numpy() + len(few.y))
            rows = pa.concat_tables([self._real(few, logits), rows])
        if self.marks:
            rows = self._unmarked(index, rows)
        if self.config.pool.distinct and self.generator:
            rows = self._distinct(index, rows)
        return Drawn(rows, self._costs(index, drawn), budget, saved, files if rows is drawn else [])

    def _check_range(self, x: Tensor) -> None:
        if self.data:
            real = self.data.validation.x
            require_one_range(real[:: -(-real.shape[0] // COMPARED)], x)
        elif x.dim() == 4 and to_float(x.min()) > DARK:
            log.warning("no pixel of the first %d images is dark: are they in [0, 1]? [-1, 1] is 2 * x - 1", len(x))

    @cached_property
    def _drawer(self) -> SampleDrawer:
        assert self.generator is not None, "a run of real examples alone draws none"
        return SampleDrawer(self.config, self.generator, self.pool.storage)

    def try_out(self, logits: Logits, x: Tensor) -> None:
        """Raise an error for logits that cannot be computed of samples, or not differentiated for a guided sampler."""
        cpu_logits(logits, x)
        if kind_of(self.config, 1) == "guided":
            leaf = to_float(x.to(distributed.device())).clone().requires_grad_()
            self._drawer.guidance(logits, 0.0, np.arange(len(x), dtype=np.uint64)).gradient(leaf, leaf)

    def _costs(self, index: int, drawn: pa.Table) -> Counter[str]:
        """A round's costs. The first block's FLOPs stand for all blocks'."""
        config, guidance = self.config, self.config.guidance
        n_draws, redraws, flops = (drawn[name].to_numpy() for name in ("draws", "redrawn", "flops"))
        own = [n_draws.sum(), redraws.sum(), flops.sum(), n_draws[flops > 0].sum()]
        samples, redrawn, counted, of_samples = np.sum(distributed.gather([own]), axis=0).tolist()
        # Only guidance through the denoiser needs its backward pass, and the control none.
        through = guidance.through == "unet" and guidance.control == "none" and kind_of(config, index) == "guided"
        return Counter(
            generated=samples,
            redrawn=redrawn,
            forwards=samples * config.forwards,
            backwards=samples * len(config.guided_steps) if through else 0,
            flops=samples * counted // max(1, of_samples),
        )

    def _generated(
        self, index: int, labels: Tensor, logits: Logits | None, budget: float
    ) -> tuple[pa.Table, list[Path], float]:
        """This process's rows, their files, and the next guidance budget."""
        config, kind = self.config, kind_of(self.config, index)
        if kind == "pruned":
            labels = labels.repeat(config.practice.oversample)
        n = len(labels)
        steers = kind in ("chosen", "guided") and config.guidance.omega == "auto"
        part = max(MIN_ROWS, -(-n // FIRST_PARTS)) if steers and index == first_addition(config) else n
        drawn = Blocks()
        for rows in distributed.slices(slice(0, n), part):
            omega = strength(config, kind, budget)
            blocks = list(distributed.slices(rows, config.sampling.block_size))
            own = distributed.own_share(blocks)
            wrong = 0
            with progress("drawing examples", max(1, len(own))) as advance:
                for turn in range(-(-len(blocks) // distributed.this_process().num_processes)):
                    stopped: Interrupted | None = None
                    if self.stop():
                        raise Interrupted
                    if turn < len(own):
                        try:
                            block = self._block(index, labels, logits, omega, own[turn])
                            drawn.add(self.folder / block_name(index, own[turn].start), block)
                            wrong += int((~block["correct"].to_numpy()).sum())
                        except Interrupted as error:
                            stopped = error
                        advance(1)
                    if distributed.any_process(stopped is not None):
                        raise stopped or Interrupted
            if steers:
                wrong = sum(distributed.gather([wrong])) / (rows.stop - rows.start)
                budget = steer(budget, wrong, config.guidance.wrong_share)
        drawn.join()
        return pa.concat_tables([self.pool.schema.empty_table(), *drawn.tables]), drawn.files, budget

    def _block(self, index: int, labels: Tensor, logits: Logits | None, omega: float, rows: slice) -> pa.Table:
        kind, folder = kind_of(self.config, index), self.folder / block_name(index, rows.start)
        if left := cached_block(folder, rows):
            return left
        drawer, what, own, n = self._drawer, f"round {index}", labels[rows], len(labels)
        hard_for = cast(Logits, logits)  # rounds without a learner are plain
        # The candidates of row i have the seeds of the rows i, i + n, i + 2n, … of the round.
        starts = range(0, n * self.config.guidance.candidates if kind == "chosen" else n, n)
        seeds = [row_seeds(self.config.seed, index, range(start + rows.start, start + rows.stop)) for start in starts]

        def draw() -> pa.Table:
            begin = time.monotonic()
            with nullcontext() if rows.start else FlopCounter() as counter:
                if kind == "chosen":
                    samples = drawer.chosen(hard_for, own, seeds, omega, what)
                else:
                    guide = partial(drawer.guidance, hard_for, omega) if kind == "guided" else None
                    samples = drawer.draw(own, seeds[0], guide, what)
                posterior = drawer.posterior(samples.x) if self.config.pool.soft_labels else None
            if not index and not rows.start:
                drawer.remark(samples, own, repeats=kind == "plain" and self.config.generator.modality is None)
            flops = counter.total // len(own) if counter else 0
            return add_elapsed(self._table(index, rows.start, own, samples, posterior, omega=omega, flops=flops), begin)

        shared = self.shared if index == 0 else None  # the initial round is plain in every arm
        drawn = shared_block(shared, own, seeds, rows, draw) if shared else draw()
        return cache_block(folder, self._assessed(drawn, logits))

    def _table(
        self, index: int, first: int, labels: Tensor, samples: Samples, posterior: Tensor | None, **facts: float
    ) -> pa.Table:
        """Rows for the pool. `facts` are equal in all rows; other columns are still empty."""
        n = len(labels)
        columns: dict[str, Any] = {name: np.full(n, facts.get(name, 0), kind) for name, kind in COLUMNS.items()}
        columns |= {
            "row": np.arange(first, first + n),
            "round": np.full(n, index, np.int32),
            "label": labels.numpy(),
            "seed": samples.seeds,
            "draws": samples.n_draws,
            "redrawn": samples.redrawn,
            "example": self.pool.storage.encode(samples.x),
        }
        if posterior is not None:
            columns["posterior"] = list(posterior.float().numpy())
        return pa.table(columns, schema=self.pool.schema)

    def _assessed(self, rows: pa.Table, logits: Logits | None) -> pa.Table:
        """Assess rows in the form that the pool stores, such as a JPEG. Without a learner the entropy is unknown."""
        if logits is None:
            return with_columns(rows, entropy=np.full(len(rows), np.nan, np.float32))
        begin = time.monotonic()
        entropy, correct = assess(logits, decoded(rows, self.pool.storage), torch.tensor(rows["label"].to_numpy()))
        return add_elapsed(with_columns(rows, entropy=entropy.numpy(), correct=correct.numpy()), begin)

    def _training(self, labels: Tensor) -> Examples:
        """Real training examples, equal in all runs on one data split."""
        real, split = self.data.train if self.data else None, self.config.data.split
        assert real is not None, "check_real_examples has counted them"
        if self.config.practice.imbalance > 1:
            counts = labels.bincount(minlength=self.config.task.n_classes).numpy()
            rows = torch.from_numpy(tail_rows(real.y.numpy(), counts, split))
        else:
            rows = torch.from_numpy(balanced_rows(real.y.numpy(), len(labels), split))
        return Examples(real.x[rows], real.y[rows])

    def _real(self, real: ExampleSet, logits: Logits | None) -> pa.Table:
        """Rows of real examples, all in the main process."""
        rows = slice(None if distributed.this_process().is_main_process else 0)
        own = real.y[rows]
        zeros = np.zeros(len(own), np.int64)
        samples = Samples(to_float(real.x[rows]), np.full(len(own), REAL_SEED, np.uint64), n_draws=zeros, redrawn=zeros)
        certain = F.one_hot(own, self.config.task.n_classes) if self.config.pool.soft_labels else None
        return self._assessed(self._table(0, 0, own, samples, certain), logits)

    # what is left out; it still counts as generated

    def _unmarked(self, index: int, rows: pa.Table) -> pa.Table:
        examples, names = to_float(decoded(rows, self.pool.storage)), self.config.task.classes
        own = zip(rows["row"].to_pylist(), rows["label"].to_pylist(), examples, strict=True)
        good = [row for row, label, example in own if mark_of(example, names[label]) not in self.marks]
        selected = np.array(sorted(distributed.gather(good)), np.int64)
        dropped = sum(distributed.gather([len(rows)])) - len(selected)
        if not len(selected):
            raise DivergedError(f"round {index}: pool.marks excludes all {dropped} examples: mark fewer")
        if distributed.this_process().is_main_process:
            if dropped:
                log.warning("round %d: %d examples are left out by pool.marks", index, dropped)
            elif not index:
                log.warning(
                    "pool.marks fits no example of the first round: a mark fits equal bytes alone, so one of "
                    "pool.storage = 'jpeg' fits no other storage"
                )
        return select_rows(rows, selected)

    def _alike(self, index: int, values: Sequence[Any]) -> np.ndarray:
        """Which examples of a round are like earlier ones. It may be drawn again, and the pool be another by then."""
        if self._compared and self._compared[:2] == (self.pool, index):
            near_duplicates = self._compared[2]
        else:
            near_duplicates = cast(NearExamples, self.config.data.near_duplicates(self.config.pool.distinct))
            for examples in ([self.data.validation.x] if self.data else []) + [self.pool.x]:
                near_duplicates.add(near_duplicates.values(examples))
        self._compared = None
        alike = near_duplicates.add(values, "unlike")
        self._compared = self.pool, index + 1, near_duplicates
        return alike

    def _distinct(self, index: int, rows: pa.Table) -> pa.Table:
        mine = zip(rows["row"].to_pylist(), rows["example"].to_pylist(), strict=True)
        numbers, values = zip(*sorted(distributed.gather(list(mine))), strict=True)
        selected = np.array(numbers)[~distributed.on_main(lambda: self._alike(index, values))]
        if not len(selected):
            noun, similarity = f"{self.config.data.modality}s", self.config.pool.distinct
            remedy = f"raise pool.distinct = {similarity:g}, or " if similarity < 1 else ""
            raise DivergedError(
                f"round {index}: all {len(numbers)} {noun} are like earlier ones: {remedy}"
                f"make the generator's {noun} more varied"
            )
        return select_rows(rows, selected)


def require_one_range(
    real: Tensor, drawn: Tensor, names: tuple[str, str] = ("real images", "the generator's images")
) -> None:
    """Raise InputError if only one of two sets of images has dark pixels: the others are in [0, 1]."""
    for whose, x, other in zip(names, (real, drawn), (drawn, real), strict=True):
        low, high = map(to_float, x.aminmax())
        if x.dim() == 4 and low >= 0 and high > 0.5 and to_float(other.min()) < DARK:
            raise InputError(f"{whose} are in [0, 1], the others in [-1, 1]: should be in [-1, 1], as by 2 * x - 1")


def select_rows(rows: pa.Table, selected: Int64[np.ndarray, " kept"]) -> pa.Table:
    """The rows with these ascending numbers, renumbered from 0."""
    rows = rows.filter(np.isin(rows["row"].to_numpy(), selected))
    return with_columns(rows, row=selected.searchsorted(rows["row"].to_numpy()))


def decoded(rows: pa.Table, storage: Storage) -> Tensor:
    """Their examples."""
    return storage.decode(rows["example"].combine_chunks())


def add_elapsed(rows: pa.Table, begin: float) -> pa.Table:
    """The rows, with the time since `begin` added to their seconds."""
    return with_columns(rows, seconds=rows["seconds"].to_numpy() + (time.monotonic() - begin) / max(1, len(rows)))


def block_name(index: int, row: int | str) -> str:
    """The name of a block's folder, by its first row."""
    return f"round-{index}-row-{row}"


# rules that prune an over-generated round; other packages can add theirs

KEEP: Registry[Callable[[Rounds, pa.Table, Int64[np.ndarray, " classes"]], Int64[np.ndarray, " kept"]]] = Registry(
    "keep", __name__
)
"""A rule takes this process's rows, and how many of each class to keep, over all processes. All call it.

It returns the numbers (column `row`) of all kept rows, over all processes.
"""


@KEEP.named("hardest", place=1)
def hardest(rounds: Rounds, rows: pa.Table, counts: Int64[np.ndarray, " classes"]) -> Int64[np.ndarray, " kept"]:
    """The hardest rows for the learner; of equal ones the first."""
    mine = zip(*(rows[name].to_pylist() for name in ("entropy", "label", "row")), strict=True)
    table = torch.tensor(distributed.gather(list(mine)), dtype=torch.float64)
    table = table[table[:, 0].argsort(descending=True, stable=True)]
    return torch.cat([table[table[:, 1] == label][:count, 2] for label, count in enumerate(counts)]).long().numpy()
