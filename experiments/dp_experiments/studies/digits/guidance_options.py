"""The effects and costs of the options of guidance on digits: one learner, the same noise, equal total guidance."""

import copy
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from dp_figures.curves import draw_curves
from dp_figures.tables import measured
from matplotlib.figure import Figure
from sklearn.svm import SVC
from torch import Tensor

from dp_experiments.studies.digits.digits_runs import digits, learners_along_a_run
from dp_experiments.terminal import progress
from dp_real.config import Config
from dp_real.distributed import slices
from dp_real.evaluation.assess import accuracy
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.protocols import Generator
from dp_real.runs.prepare import load_data, load_generator
from dp_real.runs.reader import Run
from dp_real.runtime.seeds import Stream, row_seeds, torch_rng

NUMBERS = ("measured",)

TOTALS = (0.2, 0.4, 0.8)  # total guidance: omega times the number of guided steps
THROUGH = ("unet", "x0")
EVERY = (1, 2, 5)
STEPS = (10, 20, 50)
WHOLE = (0, 1)  # the window that is the whole trajectory
PARTS = ((0, 0.5), (0.25, 0.75), (0.5, 1))  # windows that are parts of it
STEPS_WITH_PARTS = 20  # the number of steps at which these are tried
SELECTOR = 1  # the learner that guides: the one before the second addition of a run
BLOCK = 100  # rows drawn, and timed, together
STUDENT_STEPS = 400
STUDENT_BATCH = 64
HARDER = "entropy gained (nats)"
CONFIRMED = "labels confirmed (%)"
BETTER = "accuracy gained (points)"


def compute(quick: bool) -> pd.DataFrame:
    """Tidy, with a row for each option (steps, through, every, window, total) and each `measure`.

    x is the processor time of the option over that of plain sampling. For the measure BETTER, accuracy is that on real
    digits, after some steps on the learner's pool and the new rows; y is its difference to the accuracy with plain rows
    from the same noise. Its standard error is not known and set to 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "run", rows=BLOCK if quick else 3 * BLOCK)
    rows = []
    for steps in (20,) if quick else STEPS:
        plain = bench.sample(digits(f"sampling.steps={steps}"), 0.0)
        for schedule in schedules(steps):
            config = digits(f"sampling.steps={steps}", *schedule.settings)
            guided_steps = len(config.guidance.guided_steps(steps))
            samples = [bench.sample(config, total / guided_steps) for total in TOTALS]
            ratio = np.median([each.time_ratio for each in samples])
            for total, each in zip(TOTALS, samples, strict=True):
                option = schedule.columns | {"steps": steps, "total": total, "x": ratio}
                rows += [option | row for row in each.beside(plain)]
    found = pd.DataFrame(rows).assign(rows=len(bench.labels))
    series = found["through"] + ", total guidance " + found["total"].astype(str)
    points = measured(series, found["x"], found["y"], found["se"])
    return pd.concat([points, found.drop(columns=["x", "y"])], axis=1)


def window_name(window: tuple[float, float]) -> str:
    """A window as the table shows it, such as 0-0.5."""
    low, high = window
    return f"{low:g}-{high:g}"


class Schedule(NamedTuple):
    """Which steps are guided, and through what the gradient goes."""

    through: str
    every: int
    window: tuple[float, float]

    @property
    def settings(self) -> list[str]:
        window = f"guidance.window={list(self.window)}"
        return [window, f"guidance.every={self.every}", f"guidance.through={self.through}"]

    @property
    def columns(self) -> dict[str, Any]:
        return {"through": self.through, "every": self.every, "window": window_name(self.window)}


def schedules(steps: int) -> Iterator[Schedule]:
    """The schedules to try with a number of steps."""
    for through in THROUGH:
        for every in EVERY:
            yield Schedule(through, every, WHOLE)
        if steps == STEPS_WITH_PARTS:
            for part in PARTS:
                yield Schedule(through, 1, part)


@dataclass(frozen=True)
class OptionSamples:
    """What samples that were drawn with one option came to.

    entropy: the learner's entropy on each sample, in nats, shape (rows,). confirmed: whether the judge agrees with each
    label, shape (rows,). accuracy: that of the learner after some steps on them. time_ratio: time over that of plain
    samples.
    """

    entropy: np.ndarray
    confirmed: np.ndarray
    accuracy: float
    time_ratio: float

    def beside(self, plain: "OptionSamples") -> Iterator[dict[str, Any]]:
        """A row for each measure: y, which is a difference to plain samples where it is a gain, and its error."""
        harder = self.entropy - plain.entropy
        confirmed = 100 * self.confirmed
        for measure, values in ((HARDER, harder), (CONFIRMED, confirmed)):
            yield {"measure": measure, "y": values.mean(), "se": values.std() / len(values) ** 0.5}
        yield {"measure": BETTER, "y": 100 * (self.accuracy - plain.accuracy), "se": 0.0}


class Bench:
    """A learner along a run of the preset, noise to start from, and a judge that was trained on real digits."""

    def __init__(self, folder: Path, rows: int) -> None:
        generator, learners = learners_along_a_run(digits(), folder)
        size, self.learner = learners[SELECTOR]
        self.pool = Run(folder).pool.minibatch(torch.arange(size))
        self.labels = torch.arange(rows) % generator.n_classes
        self.seeds = row_seeds(0, 0, range(rows))
        self.data = load_data(digits())
        assert self.data.generator is not None, "digits have them"
        self.judge = SVC().fit(self.data.generator.x.flatten(1), self.data.generator.y)

    def sample(self, config: Config, omega: float) -> OptionSamples:
        """Strength 0 draws plain samples."""
        generator = load_generator(config, self.data, progress)
        guidance = EntropyGuidance.of(config.guidance, self.learner.logits, omega) if omega else None
        _, plain_seconds = self._timed(generator, slice(0, BLOCK), None)
        blocks = [self._timed(generator, rows, guidance) for rows in slices(slice(0, len(self.labels)), BLOCK)]
        x = torch.cat([block for block, _ in blocks])
        seconds = float(np.median([seconds for _, seconds in blocks]))
        with torch.no_grad():
            hardness = entropy(self.learner.logits(x)).cpu().numpy()
        confirmed = self.judge.predict(x.flatten(1)) == self.labels.numpy()
        return OptionSamples(hardness, confirmed, self._accuracy_with(x), seconds / plain_seconds)

    def _timed(self, generator: Generator, rows: slice, guidance: EntropyGuidance | None) -> tuple[Tensor, float]:
        """The samples [rows, C, H, W] of some rows, and the processor seconds that drawing them took."""
        start = time.process_time()
        x = generator.sample(self.labels[rows], self.seeds[rows], guidance)
        return x, time.process_time() - start

    def _accuracy_with(self, x: Tensor) -> float:
        """The accuracy on real test digits of a copy of the learner, after some steps on its pool and these rows."""
        student: Any = copy.deepcopy(self.learner)
        student.finish_at(student.step + STUDENT_STEPS)
        pool_x = torch.cat([self.pool[0], x])
        pool_y = torch.cat([self.pool[1], self.labels])
        draw = torch_rng(0, Stream.BATCH)
        for _ in range(STUDENT_STEPS):
            rows = torch.randint(len(pool_y), (STUDENT_BATCH,), generator=draw)
            student.train_step(pool_x[rows], pool_y[rows])
        return accuracy(student, self.data.test)


def draw(table: pd.DataFrame) -> Figure:
    """Draw entropy and confirmed labels over time, a panel for each number of steps. A line joins values of `every`."""
    rows = table.loc[(table["window"] == window_name(WHOLE)) & table["measure"].isin([HARDER, CONFIRMED])]
    rows = rows.sort_values(["measure", "steps", "through", "total"], kind="stable")
    rows = rows.assign(panel=rows["measure"] + ", " + rows["steps"].astype(str) + " steps")
    figure = draw_curves(rows, xlabel="time over plain sampling", ylabel="", panel="panel", sharey=False)
    for measure in (HARDER, CONFIRMED):
        alike = [ax for ax in figure.axes if ax.get_title().startswith(measure)]
        limits = np.array([ax.get_ylim() for ax in alike])
        for ax in alike:
            ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    return figure


def caption(table: pd.DataFrame) -> str:
    shown = table.query("measure == @HARDER and steps == 20 and window == @window_name(@WHOLE) and total == 0.4")
    (full,) = shown.query("through == 'unet' and every == 1").itertuples()
    (cheap,) = shown.query("through == 'x0' and every == 5").itertuples()
    better = table.loc[table["measure"] == BETTER].groupby(["through", "total"])["y"].agg(["mean", "sem"])
    gains = "; ".join(
        f"{total:g}: {better.loc[('unet', total), 'mean']:+.1f} and {better.loc[('x0', total), 'mean']:+.1f}"
        for total in TOTALS
    )
    return (
        "What guidance does to generated digits, and what it costs, by its options: through the denoiser (unet) or "
        "x0_hat only, at each, every 2nd or every 5th step, at equal total guidance (ω times the guided steps); points "
        "of a line from left to right are every 5th, 2nd and each step. One learner in the middle of a run guides; a "
        f"support vector machine trained on real digits confirms labels; one standard error over {full.rows} rows from "
        f"the same noise. At 20 steps and total guidance 0.4, x0_hat only at every 5th step gains {cheap.y:.2f} nats "
        f"in {cheap.x:.2f} times the time of plain sampling, through the denoiser at each step {full.y:.2f} nats in "
        f"{full.x:.2f}. That learner, trained a little on its pool and them, gains over plain rows, in points, mean "
        f"over the options through the denoiser and through x0_hat, at total guidance {gains}."
    )
