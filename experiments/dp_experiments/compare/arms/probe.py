"""The arm that generates nothing: a linear head on frozen features of the validation images."""

import time
import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from dp_base.errors import InputError
from dp_real.config import Config
from dp_real.config.arms import arm, static

FOLDS = 5
STRENGTHS = tuple(10.0**power for power in range(-4, 3))
"""The C of logistic regression that cross-validation chooses among."""
NEVER = -1e9  # the logit of a class that was not seen


def probe(config: Config) -> dict[str, Any]:
    """Logistic regression on the features of the validation images, or of those of data.real_per_class alone.

    Its strength has the best accuracy in a cross-validation among them, which is reported as that on validation.
    """
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from dp_experiments.compare.arms.encoders import features_of
    from dp_real.evaluate.assess import accuracies, evaluate_sets, evaluate_shots
    from dp_real.runs.prepare import load_data

    begin = time.monotonic()
    data = load_data(config)
    seen = data.few or data.validation
    y = seen.y.numpy()
    counts = np.bincount(y)
    if counts.max() < 2:
        raise InputError("arm probe: cross-validation needs two real examples of a class: give more, or leave it out")
    features = features_of(config, data.train)
    folds = int(np.clip(counts[counts > 0].min(), 2, FOLDS))
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

    def logits(x: torch.Tensor) -> torch.Tensor:
        scores = np.full((len(x), config.task.n_classes), NEVER)
        with np.errstate(divide="ignore"):  # a probability may be 0
            scores[:, search.classes_] = search.predict_log_proba(features(x.cpu())).clip(NEVER)
        return torch.from_numpy(scores)

    head: Any = SimpleNamespace(logits=logits, precision="float32")  # what the evaluation asks of a learner
    return {
        "name": config.name,
        "seed": config.seed,
        "test_accuracy": accuracies(head, data.test)[0],
        "test_examples": len(data.test.y),
        "val_accuracy": float(search.best_score_),
        "val_examples": len(data.validation.y),
        "sets": evaluate_sets(head, data.sets) + evaluate_shots(config, head, data.test),
        "pool_size": len(y),
        "samples_generated": 0,
        "additions": 0,
        "generation_seconds": 0.0,
        "training_seconds": time.monotonic() - begin,
        "generation_flops": 0,
        "training_flops": 0,
    }


@arm("probe", "generates nothing: a linear head on frozen features of the validation images", run=probe)
def settings(config: Config, samples: int) -> Mapping[str, Mapping[str, Any]]:
    """The settings of static data, of which nothing is drawn. InputError without features to learn from."""
    from dp_experiments.compare.arms.encoders import check_features

    check_features(config)
    return static(config, samples)
