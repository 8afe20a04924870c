"""How the examples of one round come about: plain, guided by a learner, or over-generated and pruned by one.

A round is drawn in blocks of `sampling.block_size` rows, each of them whole and by one process, so that it is the same
bit for bit whoever draws it. A process keeps what it drew: nobody needs the pixels of a whole round at once.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dp_real import parallel
from dp_real.assess import assess
from dp_real.config import Config, GuidanceConfig
from dp_real.errors import Interrupted
from dp_real.flops import count
from dp_real.guidance import EntropyGuidance, RandomGuidance, ascend
from dp_real.label_check import CALLS, LabelCheck, fit_temperature
from dp_real.parallel import slices
from dp_real.pixels import to_bytes
from dp_real.protocols import Generator, Labelled, Learner, Progress
from dp_real.seeds import Stream, rng, row_seeds

if TYPE_CHECKING:
    from dp_real.practice import State

# What guidance.omega = "auto" starts from and may choose: omega times the number of guided steps, which is what counts.
PUSH_START, PUSH_RANGE = 0.2, (0.02, 1.6)
REFILLS = 3  # how often a sample that fails the label check is drawn again


@dataclass(frozen=True)
class Examples:
    """Rows for the pool that this process has, and their cost: samples drawn, kept or not, and passes of the denoiser.

    rows: positions within the round, int64 [n], ascending; the others have the rest. x: [n, *sample_shape], as the pool
    is to keep it (float32 or bytes); y int64, seeds uint64, omega float32: [n].
    """

    rows: np.ndarray
    x: Tensor
    y: Tensor
    seeds: np.ndarray
    omega: np.ndarray
    generated: int = 0
    forwards: int = 0
    backwards: int = 0
    flops: int = 0

    def __getitem__(self, chosen: np.ndarray) -> "Examples":
        """Some of the rows, by index, at the full cost."""
        arrays = {name: getattr(self, name)[chosen] for name in ("rows", "x", "y", "seeds", "omega")}
        return replace(self, **arrays)


def join(parts: Sequence[Examples]) -> Examples:
    """One after the other."""

    def column(name: str) -> list[Any]:
        return [getattr(part, name) for part in parts]

    rows, seeds, omega = (np.concatenate(column(name)) for name in ("rows", "seeds", "omega"))
    x, y = (torch.cat(column(name)) for name in ("x", "y"))
    costs = (sum(column(name)) for name in ("generated", "forwards", "backwards", "flops"))
    return Examples(rows, x, y, seeds, omega, *costs)


@contextmanager
def unwatched(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A Progress that nobody sees."""
    yield lambda steps: None


@dataclass
class Source:
    """Draws the rounds of a run by the policy of its configuration.

    images: real ones, where a label check needs them. first: the learner at the first addition, where
    guidance.selector asks for it. stop: whether to give up; asked between blocks by a process that is alone.
    """

    config: Config
    generator: Generator
    images: Labelled | None = None
    first: Learner | None = None
    progress: Progress = unwatched
    stop: Callable[[], bool] = lambda: False
    _flops: dict[bool, int] = field(default_factory=dict, init=False)

    def draw(self, labels: Tensor, learner: Learner, state: "State") -> Examples:
        """The next round, of the classes int64 [n]; the initial one is plain. Moves state.push and state.temperature.

        Raises Interrupted if it was told to stop.
        """
        options, later = self.config.guidance, state.rounds > 0
        if options.selector == "first" and state.rounds == 1:
            self.first = copy.deepcopy(learner)
        selector, check, fitting = self.first or learner, None, 0
        if later and options.check != "none":
            if not state.temperature:
                assert self.images is not None, "the configuration asks for a check"
                state.temperature, images = fit_temperature(self.config, self.generator, self.images, selector)
                fitting = CALLS * images
            check = LabelCheck(self.generator, state.temperature)
        if later and self.config.practice.oversample > 1:
            drawn = self.pruned(state.rounds, labels, selector)
        elif later and options.omega:
            drawn, state.push = self.guided(state.rounds, labels, selector, state.push, check)
        else:
            drawn = self.plain(state.rounds, labels)
        flops = drawn.generated * self.sample_flops(later, selector, check)
        self.generator.rest()
        fitting *= parallel.state().is_main_process  # the costs of all processes are added up
        return replace(drawn, flops=flops, forwards=drawn.forwards + fitting)

    def plain(self, index: int, labels: Tensor) -> Examples:
        """Round `index` unguided."""
        forwards = forwards_per_sample(self.config)

        def draw(block: slice) -> Examples:
            y, seeds = labels[block], row_seeds(self.config.seed, index, range(block.start, block.stop))
            x = stored(self.config, self.generator.sample(y, seeds, None))
            rows, n = np.arange(block.start, block.stop), len(y)
            return Examples(rows, x, y, seeds, np.zeros(n, np.float32), n, n * forwards)

        return self.in_blocks(slice(0, len(labels)), draw)

    def pruned(self, index: int, labels: Tensor, selector: Learner) -> Examples:
        """`practice.oversample` times as many plain samples; of each class what the selector finds hardest is kept."""
        drawn = self.plain(index, labels.repeat(self.config.practice.oversample))
        hardness = assess(selector, drawn.x, drawn.y)[0]
        mine = list(zip(hardness.tolist(), drawn.y.tolist(), drawn.rows.tolist(), strict=True))
        candidates = torch.tensor(parallel.gather(mine), dtype=torch.float64)
        hardest = candidates[candidates[:, 0].argsort(descending=True, stable=True)]
        counts = labels.bincount(minlength=self.generator.n_classes).tolist()
        kept = torch.cat([hardest[hardest[:, 1] == label][:count, 2] for label, count in enumerate(counts)])
        kept = kept.sort().values.long().numpy()
        here = np.isin(drawn.rows, kept).nonzero()[0]
        return replace(drawn[here], rows=kept.searchsorted(drawn.rows[here]))

    def guided(
        self,
        index: int,
        labels: Tensor,
        selector: Learner,
        push: float = PUSH_START,
        check: LabelCheck | None = None,
    ) -> tuple[Examples, float]:
        """Round `index` of samples that the selector finds hard, and the push of the next one.

        Under omega = "auto" the strength is `push` over the number of guided steps, and moves after every
        `guidance.steer_every` rows, a number that belongs to the configuration: the rows do not depend on how they
        were spread over batches or processes. Nor do they with a label check, since a block sees to its own: a sample
        that fails is drawn again as row + n, row + 2n, ... of this round of n rows.
        """
        config, options, n, steps = self.config, self.config.guidance, len(labels), guided_steps(self.config)
        shares = rng(config.seed, Stream.OMEGA, index).random(n, np.float32) if options.spread else np.float32(1)
        shares = np.broadcast_to(shares, n)
        tries = range(0, n * (1 + REFILLS) if check else n, n)
        parts = []
        for rows in slices(slice(0, n), options.steer_every or n):
            omega = shares * (push / steps if options.omega == "auto" else options.omega)

            def draw(block: slice, omega: np.ndarray = omega) -> Examples:
                numbers = (range(first + block.start, first + block.stop) for first in tries)
                seeds = [row_seeds(config.seed, index, rows) for rows in numbers]
                drawn = self.block(selector, labels[block], seeds, omega[block], check)
                return replace(drawn, rows=np.arange(block.start, block.stop), x=stored(config, drawn.x))

            parts.append(self.in_blocks(rows, draw))
            if options.omega == "auto":
                correct = assess(selector, parts[-1].x, parts[-1].y)[1]
                wrong = sum(parallel.gather([(~correct).sum().item()]))
                push = steer(push, wrong / (rows.stop - rows.start), options.wrong_share)
        return join(parts), push

    def block(
        self,
        selector: Learner,
        labels: Tensor,
        seeds: Sequence[np.ndarray],
        omega: np.ndarray,
        check: LabelCheck | None = None,
    ) -> Examples:
        """Guided samples from the first of `seeds`, uint64 [B] each; those that fail the check, again from the next.

        A sample which never passes is the most credible one of its tries.
        """
        config = self.config
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
        return Examples(np.arange(len(x)), x, labels, kept, omega, drawn, forwards, backwards)

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

    def in_blocks(self, rows: slice, draw: Callable[[slice], Examples]) -> Examples:
        """This process's blocks of these rows."""
        none = np.zeros(0, np.uint64)
        x = stored(self.config, torch.empty(0, *self.generator.sample_shape))
        parts = [Examples(none.astype(int), x, torch.empty(0, dtype=torch.int64), none, none.astype(np.float32))]
        blocks = parallel.share(list(slices(rows, self.config.sampling.block_size)))
        with self.progress("drawing examples", max(1, len(blocks))) as advance:
            for block in blocks:
                if parallel.state().num_processes == 1 and self.stop():
                    raise Interrupted
                parts.append(draw(block))
                advance(1)
        return join(parts)

    def sample_flops(self, later: bool, selector: Learner, check: LabelCheck | None = None) -> int:
        """FLOPs of drawing one sample of the initial round, or of a `later` one; each is measured once."""
        if later not in self._flops:
            label, seeds = torch.zeros(1, dtype=torch.int64), row_seeds(self.config.seed, 0, range(1))
            omega = np.zeros(1, np.float32)
            if later and self.config.guidance.omega:
                self._flops[later] = count(lambda: self.block(selector, label, [seeds], omega, check))
            else:
                self._flops[later] = count(lambda: self.generator.sample(label, seeds, None))
        return self._flops[later]


def forwards_per_sample(config: Config) -> int:
    """Classifier-free guidance evaluates the denoiser twice a step."""
    return config.sampling.steps * (1 if config.sampling.guidance_scale == 1 else 2)


def stored(config: Config, x: Tensor) -> Tensor:
    """Samples as the pool will keep them, which for images may be bytes: so the learner is asked about what it sees."""
    return x if config.pool.storage == "float32" else to_bytes(x)


def make_guidance(
    options: GuidanceConfig, logits: Callable[[Tensor], Tensor], omega: float | Tensor
) -> EntropyGuidance:
    """Entropy guidance as configured, at a strength."""
    return EntropyGuidance(logits, omega, options.scale, options.apply, options.through, options.window, options.every)


def guided_steps(config: Config) -> int:
    """How many steps of the sampler are guided."""
    guidance, steps = make_guidance(config.guidance, lambda x: x, 0.0), config.sampling.steps
    return max(1, sum(guidance.guides(index, steps) for index in range(steps)))


def steer(push: float, wrong: float, target: float) -> float:
    """The push for the next rows, given what share of the last ones the learner gets wrong; a factor 2 at most."""
    factor = float(np.clip(target / wrong, 0.5, 2)) if wrong else 2.0
    return float(np.clip(push * factor, *PUSH_RANGE))
