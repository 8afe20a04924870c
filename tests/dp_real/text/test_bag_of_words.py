"""The bag of words, held beside scikit-learn's own."""

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from dp_real.examples import Task
from dp_real.sections import TrainingConfig
from dp_real.text.codes import to_codes
from dp_real.text.learners import BagOfWordsConfig

TRAIN, TEST = 600, 900
TASK = Task((400,), ("a", "b", "c"))


def written(n):
    """Sentences of 4,000 words, rare and frequent ones, of which 450 are twice as frequent in one of three classes."""
    draw = np.random.default_rng(0)
    plain = 1 / np.arange(1, 4001)
    words = np.array([f"w{number:x}" for number in draw.permutation(4000)], object)
    own = draw.permutation(np.arange(20, 2000))[:450].reshape(3, -1)
    labels = draw.integers(3, size=n)
    texts = []
    for label in labels:
        share = plain.copy()
        share[own[label]] *= 3
        drawn = draw.choice(words, 25, p=share / share.sum())
        cased = [word.upper() if draw.random() < 0.3 else word + draw.choice(["", ",", "!"]) for word in drawn]
        texts.append(" ".join(cased) + ".")
    return texts, labels


def test_it_reads_as_well_as_that_of_scikit_learn():
    texts, labels = written(TRAIN + TEST)
    rival = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=1000)).fit(texts[:TRAIN], labels[:TRAIN])
    reached = rival.score(texts[TRAIN:], labels[TRAIN:])
    training = TrainingConfig(steps=200, learning_rate=0.01, weight_decay=0.01)
    learner = BagOfWordsConfig(kind="bag-of-words").fresh(TASK, training, 0)
    x, y = to_codes(texts, 400), torch.from_numpy(labels)
    draw = torch.Generator().manual_seed(0)
    for _ in range(200):
        rows = torch.randint(TRAIN, (32,), generator=draw)
        learner.train_step(x[rows], y[rows])
    with torch.no_grad():
        predicted = learner.logits(x[TRAIN:]).argmax(1)
    error = (reached * (1 - reached) / TEST) ** 0.5
    assert reached > 1 / 3 + 5 * error
    assert (predicted == y[TRAIN:]).float().mean() > reached - 2 * error
