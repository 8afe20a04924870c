from collections.abc import Callable, Mapping
from statistics import harmonic_mean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dp_base.errors import InputError
from dp_real.config import Config
from dp_real.data.examples import ExampleArray, ExampleSet
from dp_real.data.sets.real_rows import shots, tail_counts
from dp_real.guidance.entropy import EVAL_BATCH_SIZE, cpu_logits
from dp_real.protocols import Learner
from dp_real.runtime.distributed import device, distribute, read_slices, slices
from dp_real.text.codes import TEXT_BATCH_SIZE


@torch.no_grad()
def predictions(learner: Learner, images: ExampleSet, classes: Tensor | None = None) -> Tensor:
    """Each row's predicted class, of `classes` if given, in training's precision; processes share the work."""
    precision = getattr(torch, learner.precision)

    def predict(rows: slice) -> Tensor:
        with torch.autocast(device().type, precision, enabled=precision != torch.float32):
            answers = cpu_logits(learner.logits, images.x[rows])
        return answers.argmax(1) if classes is None else classes[answers[:, classes].argmax(1)]

    return torch.cat(distribute(predict, read_slices(len(images.y))))


def accuracies(learner: Learner, images: ExampleSet) -> tuple[float, float]:
    """The accuracy, and the balanced accuracy: the mean over the classes that are present."""
    from sklearn.metrics import recall_score  # takes long to import

    predicted, y = predictions(learner, images), images.y
    balanced = recall_score(y.numpy(), predicted.numpy(), labels=y.unique().numpy(), average="macro")
    return (predicted == y).double().mean().item(), float(balanced)


def chance(images: ExampleSet) -> tuple[float, float]:
    """The balanced accuracy of guessing, and its standard error."""
    counts = images.y.unique(return_counts=True)[1].tolist()
    guessed = 1 / len(counts)
    return guessed, standard_error(guessed, len(counts) * harmonic_mean(counts))


def is_imbalanced(images: ExampleSet) -> bool:
    """Whether the largest class has more than twice as many rows as the others on average."""
    counts = images.y.unique(return_counts=True)[1]
    return bool(counts.max() * (len(counts) + 1) > 2 * counts.sum())


def evaluate_sets(learner: Learner, sets: Mapping[str, ExampleSet]) -> list[dict[str, Any]]:
    """The accuracy on each set, predicting among its classes, or all if it has only one; `se`: standard error."""
    rows = []
    for name, images in sets.items():
        present = images.y.unique()
        correct = predictions(learner, images, classes=present if len(present) > 1 else None) == images.y
        rows.append(_counted(name, correct, images.y))
    return rows


def evaluate_shots(config: Config, learner: Learner, images: ExampleSet) -> list[dict[str, Any]]:
    """The accuracy on classes with many, medium and few real examples, if practice.imbalance makes these differ.

    Groups without an example among `images` are left out.
    """
    options = config.practice
    if options.imbalance == 1:
        return []
    counts = tail_counts(options.real, config.task.n_classes, options.imbalance, config.data.split)
    correct = predictions(learner, images) == images.y
    members = {name: torch.isin(images.y, group) for name, group in shots(torch.from_numpy(counts)).items()}
    return [_counted(name, correct[rows], images.y[rows]) for name, rows in members.items() if rows.any()]


def _counted(name: str, correct: Tensor, y: Tensor) -> dict[str, Any]:
    accuracy, n = correct.double().mean().item(), len(y)
    classes = len(y.unique())
    return {"set": name, "images": n, "classes": classes, "accuracy": accuracy, "se": standard_error(accuracy, n)}


def standard_error(accuracy: float, n: float) -> float:
    """The binomial standard error over n independent examples; of all or none right, that of half an example away."""
    share = min(max(accuracy, 0.5 / n), 1 - 0.5 / n)
    return (share * (1 - share) / n) ** 0.5


@torch.no_grad()
def penultimate(learner: Learner, x: ExampleArray) -> np.ndarray:
    """The input of the last linear layer, float32 [n, d]."""
    return layer_inputs(getattr(learner, "eval_module", None), lambda rows: cpu_logits(learner.logits, rows), x)


def layer_inputs(module: object, forward: Callable[[Tensor], object], x: ExampleArray) -> np.ndarray:
    """Inputs of the module's last linear layer in `forward` of x, float32 [n, d]."""
    modules = module.modules() if isinstance(module, nn.Module) else ()
    linear_layers = [layer for layer in modules if isinstance(layer, nn.Linear)]
    if not linear_layers:
        raise InputError("the learner has no penultimate features: it is no network with a linear layer")
    seen = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].dim() == 3:
            raise InputError("the learner has no penultimate features: its last linear layer reads each token")
        seen.append(inputs[0].flatten(1).float().cpu())

    with linear_layers[-1].register_forward_pre_hook(keep):
        for rows in slices(slice(0, x.shape[0]), TEXT_BATCH_SIZE if len(x.shape) == 2 else EVAL_BATCH_SIZE):
            forward(x[rows])
    return torch.cat(seen).numpy()
