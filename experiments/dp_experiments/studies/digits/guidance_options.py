"""The effects and costs of the options of guidance on digits: one learner, the same noise, equal total guidance."""

import time
from itertools import product

import numpy as np
import pandas as pd
import torch
from dp_figures.curves import draw_curves
from dp_figures.tables import measured
from matplotlib.figure import Figure
from sklearn.svm import SVC

from dp_experiments.studies.digits.digits_runs import shown_run
from dp_experiments.terminal import progress
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.runs.prepare import load_data, load_generator
from dp_real.runtime.seeds import row_seeds

TOTALS = (0.2, 0.4, 0.8)  # total guidance: omega times the number of guided steps
WHOLE = [0, 1]  # the window that is the whole trajectory
SCHEDULES = [(1, WHOLE), (2, WHOLE), (5, WHOLE), (1, [0, 0.5]), (1, [0.25, 0.75]), (1, [0.5, 1])]
"""Of which steps every so many are guided, and the window."""
SELECTOR = 1  # the learner that guides: the one before the second addition of a run
BLOCK = 100  # rows drawn, and timed, together
HARDER = "entropy gained (nats)"
CONFIRMED = "labels confirmed (%)"


def compute(quick: bool) -> pd.DataFrame:
    """x is an option's processor time over that of plain sampling."""
    run = shown_run()
    learner = run.learner(run.checkpoints[SELECTOR])
    data = load_data(run.config)
    assert data.generator is not None, "digits have them"
    judge = SVC().fit(data.generator.x.flatten(1), data.generator.y)
    generator = load_generator(run.config, data, progress)
    rows = BLOCK if quick else 3 * BLOCK
    labels, seeds = torch.arange(rows) % run.config.task.n_classes, row_seeds(0, 0, range(rows))

    def sample(guidance: EntropyGuidance | None) -> tuple[np.ndarray, np.ndarray, float]:
        blocks, seconds = [], []
        for block in np.split(np.arange(rows), rows // BLOCK):
            start = time.process_time()
            blocks.append(generator.sample(labels[block], seeds[block], guidance))
            seconds.append(time.process_time() - start)
        x = torch.cat(blocks)
        with torch.no_grad():
            hardness = entropy(learner.logits(x)).cpu().numpy()
        return hardness, judge.predict(x.flatten(1)) == labels.numpy(), float(np.median(seconds))

    plain, _, unit = sample(None)
    parts = []
    for through, (every, window) in product(("unet", "x0"), SCHEDULES):
        keys = {"through": through, "every": every, "window": window}
        options = run.config.guidance.model_copy(update=keys)
        steps = len(options.guided_steps(run.config.sampling.steps))
        drawn = [sample(EntropyGuidance.of(options, learner.logits, total / steps)) for total in TOTALS]
        x = np.median([seconds for _, _, seconds in drawn]) / unit
        option = keys | {"window": "{:g}-{:g}".format(*window), "rows": rows}
        for total, (hardness, confirmed, _) in zip(TOTALS, drawn, strict=True):
            for measure, values in ((HARDER, hardness - plain), (CONFIRMED, 100 * confirmed)):
                series = f"{through}, total guidance {total}"
                y, se = values.mean(), values.std() / rows**0.5
                parts.append(measured([series], x, y, se, total=total, measure=measure, **option))
    return pd.concat(parts, ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    rows = table.query("window == '0-1'").sort_values(["measure", "through", "total"], kind="stable")
    return draw_curves(rows, xlabel="time over plain sampling", ylabel="", panel="measure", sharey=False)


def caption(table: pd.DataFrame) -> str:
    shown = table.query("measure == @HARDER and window == '0-1' and total == 0.4")
    (full,) = shown.query("through == 'unet' and every == 1").itertuples()
    (cheap,) = shown.query("through == 'x0' and every == 5").itertuples()
    return (
        "What guidance does to generated digits, and what it costs, by its options: through the denoiser (unet) or "
        "x0_hat only, at each, every 2nd or every 5th of 20 steps, at equal total guidance (ω times the guided steps); "
        "points of a line from left to right are every 5th, 2nd and each step. One learner in the middle of a run "
        "guides; a support vector machine trained on real digits confirms labels; one standard error over "
        f"{full.rows} rows from the same noise. At total guidance 0.4, x0_hat only at every 5th step gains "
        f"{cheap.y:.2f} nats in {cheap.x:.2f} times the time of plain sampling, through the denoiser at each step "
        f"{full.y:.2f} nats in {full.x:.2f}."
    )
