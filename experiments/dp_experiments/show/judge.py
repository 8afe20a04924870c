"""Judges: classifiers that say what an image shows, and that may guide a generator."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from dp_base.errors import InputError
from dp_base.progress import progress
from dp_experiments.compare.compare import Comparison
from dp_experiments.terminal.lines import records
from dp_real.data.examples import ExampleArray, Task
from dp_real.data.sets.imagenet import imagenet_classes, imagenet_of
from dp_real.evaluate.assess import layer_inputs
from dp_real.evaluate.quality import MAX_EXAMPLES, quality, subsample
from dp_real.guidance.entropy import cpu_logits
from dp_real.protocols import Learner
from dp_real.runs.files import RunFiles
from dp_real.runs.reader import Run
from dp_real.runtime.distributed import device, slices
from dp_real.runtime.pixels import fit, to_float

JUDGED_TOGETHER = 256  # images


class Judge(NamedTuple):
    """A classifier whose K classes may be others than those of the task.

    logits: of images [B, C, H, W] in [-1, 1], differentiable, or of texts. accepted: for each of the task's `classes`,
    which of the K mean it. network: what computes them.
    """

    logits: Callable[[Tensor], Tensor]
    names: Sequence[str]
    accepted: Sequence[set[int]]
    classes: Sequence[str]
    network: nn.Module | None = None

    @torch.no_grad()
    def compute_logits(self, x: ExampleArray) -> Tensor:
        """Logits float32 [n, K] of examples, on the CPU."""
        blocks = slices(slice(0, x.shape[0]), JUDGED_TOGETHER)
        return torch.cat([cpu_logits(self.logits, x[rows]) for rows in blocks]).float()

    @torch.no_grad()
    def features(self, x: ExampleArray) -> np.ndarray:
        """What the network's last linear layer gets, float32 [n, d]."""
        return layer_inputs(self.network, lambda rows: self.logits(to_float(rows)), x)


def load_judge(where: str, task: Task) -> Judge:
    """The latest learner of a run, or a transformers classifier by folder or hub id."""
    if len(task.sample_shape) != 3:
        raise InputError(f"--judge {where}: judges are for images, and these examples are none")
    if not RunFiles(Path(where)).is_run:
        from dp_real.learners.models.classifier import pretrained_classifier  # it imports transformers

        model: Any = pretrained_classifier(where, task.sample_shape, {}).to(device()).eval().requires_grad_(False)
        labels = model.model.config.id2label
        names = [labels[label] for label in range(len(labels))]
        accepted = accepted_answers(names, task.classes)
        return Judge(lambda x: model(x.to(device())), names, accepted, task.classes, model)
    run = Run(where)
    own = run.config.task
    if len(own.sample_shape) != 3:
        raise InputError(
            f"{where}: it learns no images, but examples of shape {[*own.sample_shape]}; name a classifier"
        )
    return learned(run.learner(), own, task)


def learned(learner: Learner, own: Task, task: Task) -> Judge:
    """A learner of the task `own`. It takes images of any size."""
    shape = own.sample_shape

    def of_images(x: Tensor) -> Tensor:
        return learner.logits(fit(x.expand(-1, max(x.shape[1], shape[0]), -1, -1), shape))

    logits = of_images if len(shape) == 3 else partial(cpu_logits, learner.logits)
    accepted = accepted_answers(own.classes, task.classes)
    return Judge(logits, own.classes, accepted, task.classes, getattr(learner, "eval_module", None))


def accepted_answers(names: Sequence[str], classes: Sequence[str]) -> list[set[int]]:
    """For each class of the task, which of a classifier's names, perhaps several between commas, mean it.

    ImageNet classes are found by their order among the 1,000; if all names agree, or none is known and the numbers
    agree, position decides.
    """
    task = imagenet_of(classes)
    if task and len(names) == 1000:
        return [{entry.index} for entry in imagenet_classes(task)]
    spoken = [{part.strip().lower() for part in name.split(",")} for name in names]
    accepted = [{label for label, means in enumerate(spoken) if name.lower() in means} for name in classes]
    if list(names) == list(classes) or (not any(accepted) and len(names) == len(classes)):
        return [{label} for label in range(len(classes))]
    return accepted


def confirmed(judge: Judge, x: ExampleArray, labels: np.ndarray) -> np.ndarray:
    """Whether the judge takes each example [n, C, H, W] for one of its class, bool [n]."""
    unknown = next((label for label in np.unique(labels) if not judge.accepted[label]), None)
    if unknown is not None:
        raise InputError(f"the judge has no class called {judge.classes[unknown]}; name one that has as --judge")
    answers = judge.compute_logits(x).argmax(1).tolist()
    return np.array([answer in judge.accepted[label] for answer, label in zip(answers, labels, strict=True)], bool)


def agreement(run: Run, judge: Judge) -> list[dict[str, Any]]:
    """The share of rows that the judge confirms by round, also of those that the learner missed."""
    rows = run.pool.table().select(["round", "label", "correct"]).to_pandas()
    rows["confirmed"] = confirmed(judge, run.pool.x, rows["label"].to_numpy())
    shares = rows.groupby("round")[["confirmed"]].mean()
    shares["confirmed_of_missed"] = rows[~rows["correct"]].groupby("round")["confirmed"].mean()
    return records(shares)


def judged_arms(comparison: Comparison, judge: Judge, real: ExampleArray) -> pd.DataFrame:
    """The share of samples that the judge confirms, and how they cover the real ones, by arm in the mean over its runs.

    Equally many samples of each run are looked at, MAX_EXAMPLES at most, and as many real images [n, C, H, W].
    """
    known = judge.features(real)
    rows = []
    runs = list(comparison.runs())
    count = min(MAX_EXAMPLES, len(known), *(run.result["pool_size"] for _, run in runs))
    with progress("runs", len(runs)) as advance:
        for arm, run in runs:
            x, y = run.pool.minibatch(subsample(torch.arange(len(run.pool.y)), count))
            measures = quality(judge.features(x), known[subsample(torch.arange(len(known)), count)])
            share = float(confirmed(judge, x, y.numpy()).mean())
            rows.append({"series": arm, "confirmed": share} | {key: measures[key] for key in ("coverage", "vendi")})
            advance(1)
    return pd.DataFrame(rows).groupby("series", sort=False).mean()
