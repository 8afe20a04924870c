"""The arms that generate nothing: a linear head on frozen features of the validation images, and class names alone."""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dp_base.errors import InputError
from dp_real.config import Config
from dp_real.config.arms import arm, static

if TYPE_CHECKING:
    from torch import Tensor

    from dp_experiments.compare.arms.encoders import Features

FOLDS = 5
STRENGTHS = tuple(10.0**power for power in range(-4, 3))
"""The C of logistic regression that cross-validation chooses among."""
PROMPTS = ("a photo of a {}",)
"""What class names are put into unless the generator has prompts."""
NEVER = -1e9  # the logit of a class that was not seen


class Head(NamedTuple):
    """A classifier of features, with what the evaluation of a learner asks for."""

    features: "Features"
    score: Callable[[np.ndarray], np.ndarray]
    precision: str = "float32"

    def logits(self, x: "Tensor") -> "Tensor":
        """Logits [B, K] of examples."""
        import torch

        return torch.from_numpy(self.score(self.features(x.cpu())))


def probe(config: Config) -> dict[str, Any]:
    """Logistic regression on the features of the validation images, or of those of data.real_per_class alone.

    Its strength has the best accuracy in a cross-validation among them, which is reported as that on validation.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from dp_experiments.compare.arms.encoders import features_of
    from dp_real.runs.prepare import load_data

    begin = time.monotonic()
    data = load_data(config)
    features = features_of(config, data.generator)
    seen = data.few or data.validation
    y = seen.y.numpy()
    folds = int(np.clip(np.bincount(y)[np.unique(y)].min(), 2, FOLDS))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)),
        {"logisticregression__C": STRENGTHS},
        cv=StratifiedKFold(folds, shuffle=True, random_state=config.data.split % 2**32),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "The number of unique classes is greater"
        )  # of a few examples of many classes
        search.fit(features(seen.x), y)

    def score(seen: np.ndarray) -> np.ndarray:
        logits = np.full((len(seen), config.task.n_classes), NEVER)
        logits[:, search.classes_] = search.predict_log_proba(seen).clip(NEVER)
        return logits

    return _result(config, data, Head(features, score), float(search.best_score_), begin)


def zero_shot(config: Config) -> dict[str, Any]:
    """The class whose name is nearest to the image. Raises InputError for an encoder that reads no texts."""
    from dp_experiments.compare.arms.encoders import pretrained
    from dp_real.learners.models.classifier import load_encoder
    from dp_real.runs.prepare import load_data

    begin = time.monotonic()
    model = load_encoder(config.practice.encoder) if config.practice.encoder else None
    if not hasattr(model, "get_text_features"):
        raise InputError("zero-shot: practice.encoder should name one of images and texts, such as CLIP or SigLIP")
    data = load_data(config)
    names = _named(config, model)

    def score(seen: np.ndarray) -> np.ndarray:
        return _unit(seen) @ names.T

    return _result(config, data, Head(pretrained(config, model), score), None, begin)


def _named(config: Config, model: Any) -> np.ndarray:
    """The direction of each class, [classes, d]: the mean over its prompts."""
    import torch

    from dp_real.generators import class_prompts
    from dp_real.runtime.hub import load_tokenizer, require_distinct_prompts

    task = config.task
    prompt_lists = class_prompts(
        getattr(config.generator, "prompts", PROMPTS), task.classes, task.definitions, task.synonyms
    )
    tokenizer = load_tokenizer(str(config.practice.encoder), "right")
    length = model.config.text_config.max_position_embeddings
    require_distinct_prompts(prompt_lists, [(tokenizer, length)])
    means = []
    for prompts in prompt_lists:
        tokens = tokenizer(prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            texts = model.get_text_features(**tokens.to(model.device)).pooler_output
        means.append(_unit(texts.float().cpu().numpy()).mean(axis=0))
    return _unit(np.stack(means))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _result(config: Config, data: Any, head: Any, validation: float | None, begin: float) -> dict[str, Any]:
    """What a run has in its result.json. validation: the accuracy there; None: it is measured, since it saw none."""
    from dp_real.evaluate.assess import accuracies, evaluate_sets, evaluate_shots

    return {
        "name": config.name,
        "seed": config.seed,
        "test_accuracy": accuracies(head, data.test)[0],
        "test_examples": len(data.test.y),
        "val_accuracy": accuracies(head, data.validation)[0] if validation is None else validation,
        "val_examples": len(data.validation.y),
        "sets": evaluate_sets(head, data.sets) + evaluate_shots(config, head, data.test),
        "pool_size": 0 if validation is None else len((data.few or data.validation).y),
        "samples_generated": 0,
        "additions": 0,
        "generation_seconds": 0.0,
        "training_seconds": time.monotonic() - begin,
        "generation_flops": 0,
        "training_flops": 0,
    }


@arm("probe", "generates nothing: a linear head on frozen features of the validation images", run=probe)
@arm("zero-shot", "generates nothing: the class whose name is nearest, by an encoder such as CLIP", run=zero_shot)
def settings(config: Config, samples: int) -> Mapping[str, Mapping[str, Any]]:
    """The settings of static data, of which nothing is drawn."""
    return static(config, samples)
