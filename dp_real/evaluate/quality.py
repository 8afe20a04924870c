"""The quality of generated examples against real ones, by features [n, d].

An example is near a real one if it is at most as far from it as the k-th nearest other real example.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dp_base.errors import InputError
from dp_base.progress import progress
from dp_real.data.examples import ExampleSet, RealData, taken
from dp_real.evaluate.assess import penultimate
from dp_real.guidance.entropy import assess
from dp_real.pool import Pool
from dp_real.protocols import Learner

NEIGHBOURS = 5
"""k, as in Naeem et al."""
MAX_EXAMPLES = 2000
"""Examples that are taken of each set at most, as all pairs are compared."""


def quality(
    generated: Float[np.ndarray, "generated features"],
    real: Float[np.ndarray, "real features"],
    neighbours: int = NEIGHBOURS,
) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al., NeurIPS 2019), density, coverage (Naeem et al., ICML 2020) and Vendi.

    Recall is the share of real examples near a generated one by distances among generated ones; for coverage, by those
    among real ones. Density is the number of real examples that a generated one is near, over k. Compare only sets of
    equal sizes.
    """
    from sklearn.metrics import pairwise_distances  # its import takes long, and few reports need it

    for name, features in (("generated", generated), ("real", real)):
        if len(features) <= neighbours:
            raise InputError(f"{len(features)} {name} examples are too few for {neighbours} neighbours: give more")
    distances = pairwise_distances(generated, real)
    near_real = distances <= _radii(real, neighbours)
    near_generated = distances <= _radii(generated, neighbours)[:, np.newaxis]
    return {
        "precision": float(near_real.any(1).mean()),
        "recall": float(near_generated.any(0).mean()),
        "density": float(near_real.sum(1).mean() / neighbours),
        "coverage": float(near_real.any(0).mean()),
        "vendi": vendi_score(generated),
    }


def vendi_score(features: Float[np.ndarray, "n features"]) -> float:
    """The effective number of different examples (Friedman and Dieng, TMLR 2023).

    It is exp of the entropy of the eigenvalues of cosine similarities.
    """
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(length, np.finfo(features.dtype).tiny)
    # Apart from zeros, this smaller matrix has the eigenvalues of the matrix of similarities.
    eigenvalues = np.linalg.eigvalsh(unit.T.astype(float) @ unit / len(unit))
    positive = eigenvalues[eigenvalues > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def _radii(features: Float[np.ndarray, "n features"], neighbours: int) -> Float[np.ndarray, " n"]:
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=neighbours).fit(features).kneighbors()
    return distances[:, -1]


def round_quality(learner: Learner, pool: Pool, data: RealData) -> list[dict[str, Any]]:
    """Compare rounds with the real validation examples, by one learner's penultimate features.

    Equally many examples of each set are taken. The first row (round None) is a separate test set, as a reference.
    """
    round_of = torch.tensor(pool.table()["round"].to_numpy())
    sets: dict[int | None, tuple[ExampleSet, Tensor]] = {}
    if data.test is not data.validation:
        sets[None] = data.test, torch.arange(len(data.test.y))
    for index in range(int(round_of.max()) + 1):
        sets[index] = pool, (round_of == index).nonzero()[:, 0]
    count = min(MAX_EXAMPLES, len(data.validation.y), *(len(rows) for _, rows in sets.values()))
    if count <= NEIGHBOURS:
        raise InputError(f"the smallest round has {count} examples, too few for --rounds: {NEIGHBOURS + 1} are needed")
    real_rows = subsample(torch.arange(len(data.validation.y)), count)
    real = penultimate(learner, taken(data.validation.x, real_rows.tolist()))
    table = []
    with progress("rounds", len(sets)) as advance:
        for index, (examples, members) in sets.items():
            rows = subsample(members, count)
            x = taken(examples.x, rows.tolist())
            entropy, correct = assess(learner.logits, x, examples.y[rows])
            facts = {
                "round": index,
                "examples": count,
                "entropy": float(entropy.mean()),
                "wrong": 1 - float(correct.double().mean()),
            }
            table.append(facts | quality(penultimate(learner, x), real))
            advance(1)
    return table


def subsample(rows: Tensor, count: int) -> Tensor:
    """Random rows, the same each time, since test sets may be sorted by class."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order[:count].sort().values]
