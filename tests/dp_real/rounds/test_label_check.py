"""The label check: what is credible, at which temperature, and what a round that is checked ends up with."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dp_real.config import Config, parse_config
from dp_real.examples import Examples, RealData
from dp_real.pool.storage import Storage
from dp_real.protocols import Generator
from dp_real.rounds import label_check, source
from dp_real.rounds.blocks import Blocks
from dp_real.rounds.label_check import CALLS, LEVELS, DiffusionClassifier, LabelCheck, errors, fit_temperature
from dp_real.rounds.policies import REFILLS
from dp_real.rounds.source import Drawn, GeneratedRounds
from dp_real.rounds.steering import Steering
from dp_real.runs.prepare import fresh_learner
from dp_real.runtime.seeds import row_seeds
from tests.dp_real.conftest import SMALL


@dataclass
class Table:
    """A generator whose samples are their own errors under each of five classes. A learner that ranks by them."""

    n_classes: int = 5
    calls: list[tuple[Tensor, np.ndarray, float]] = field(default_factory=list)

    def denoising_error(self, x: Tensor, labels: Tensor, seeds: np.ndarray, level: float) -> Tensor:
        self.calls.append((labels, seeds, level))
        return x.gather(1, labels.unsqueeze(1)).squeeze(1) + 8 * (level - 0.5)  # of mean 0

    def logits(self, x: Tensor) -> Tensor:
        return -x


@pytest.fixture
def table() -> Any:
    return Table()


def test_a_label_is_weighed_against_the_two_classes_that_the_learner_likes_best(table: Any):
    x, labels = torch.tensor([[0.5, 0.1, 9, 0.2, 0.3], [0.1, 8, 0.2, 9, 7]]), torch.tensor([0, 3])
    seeds = row_seeds(0, 0, range(2))
    np.testing.assert_allclose(
        errors(DiffusionClassifier(table), table, x, labels, seeds), [[0.5, 0.1, 0.2], [9, 0.1, 0.2]], rtol=1e-6
    )
    assert len(table.calls) == CALLS == 24
    assert sorted({level for *_, level in table.calls}) == list(LEVELS)
    noise = {level: {tuple(seeds) for _, seeds, at in table.calls if at == level} for level in LEVELS}
    assert all(len(of_level) == 1 for of_level in noise.values())  # the classes share it
    assert len(set().union(*noise.values())) == len(LEVELS)  # the levels do not
    credible = LabelCheck(DiffusionClassifier(table), 0.1)(table, x, labels, seeds)
    expected = np.exp(-5) / (np.exp(-5) + np.exp(-1) + np.exp(-2))
    assert credible[0].item() == pytest.approx(expected, rel=1e-5)
    assert credible[1].item() < 1e-30


def test_two_classes_have_one_rival():
    pair: Any = Table(n_classes=2)
    found = errors(
        DiffusionClassifier(pair), pair, torch.tensor([[0.3, 0.1]]), torch.tensor([1]), row_seeds(0, 0, range(1))
    )
    np.testing.assert_allclose(found, [[0.1, 0.3]], rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.02, 3.0])
def test_the_temperature_of_labels_drawn_at_one_is_found(monkeypatch: pytest.MonkeyPatch, temperature: float):
    monkeypatch.setattr(label_check, "FIT_IMAGES", 4000)
    three: Any = Table(n_classes=3)
    draw = torch.Generator().manual_seed(0)
    x = 2 * temperature * torch.rand(4000, 3, generator=draw)
    y = torch.multinomial((-x / temperature).softmax(1), 1, generator=draw).squeeze(1)
    found, images = fit_temperature(DiffusionClassifier(three), Examples(x, y), three, seed=0, block_size=32)
    assert images == 4000
    assert found == pytest.approx(temperature, rel=0.1)


def test_the_temperature_is_fitted_on_images_from_all_over_the_set(table: Any):
    in_order = Examples(torch.rand(1000, 5), torch.arange(1000) // 200)  # of the classes
    _, images = fit_temperature(DiffusionClassifier(table), in_order, table, seed=0, block_size=32)
    assert images == 256
    own = torch.cat([labels for labels, *_ in table.calls[::CALLS]])
    assert torch.bincount(own).tolist() == [52, 51, 51, 51, 51]


def test_the_generator_tells_real_digits_apart(config: Config, generator: Generator, data: RealData):
    """Its three-way answer is right nine times out of ten, and wrong labels stand out."""
    learner, images = fresh_learner(config), data.validation
    temperature, _ = fit_temperature(DiffusionClassifier(generator), images, learner, seed=0, block_size=32)
    check, seeds, x = (
        LabelCheck(DiffusionClassifier(generator), temperature),
        row_seeds(1, 0, range(250)),
        images.x[:250],
    )
    assert (check(learner, x, images.y, seeds) > 0.5).double().mean() > 0.9
    assert (check(learner, x, (images.y + 1) % 10, seeds) < 0.3).double().mean() > 0.6


# -- a round that is checked ------------------------------------------------------------------------------------------


@dataclass
class Numbered:
    """A sample is its seed over 2^64, and this number is also how credible it is."""

    sample_shape: tuple[int, ...] = (1,)
    n_classes: int = 2

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: Any) -> Tensor:
        return torch.from_numpy(seeds / 2.0**64).float().unsqueeze(1)

    def logits(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 2)

    def rest(self) -> None:
        pass

    def __call__(self, learner: Any, x: Tensor, labels: Tensor, seeds: np.ndarray) -> Tensor:
        return x[:, 0].double()


def drawn_by(config: Config, generator: Any, labels: Tensor, learner: Any, index: int, temperature: float) -> Drawn:
    storage, blocks = Storage(config.pool, generator.sample_shape), Blocks(config.sampling.block_size)
    return GeneratedRounds(config, generator, storage, blocks, DiffusionClassifier(generator)).draw(
        index, labels, learner, Steering(temperature=temperature)
    )


def examples(drawn: Drawn) -> Tensor:
    return torch.tensor(drawn.batch.example.to_pylist())


def checked(block_size: int = 7, threshold: float = 0.6, **options: Any) -> tuple[Drawn, Config]:
    config = parse_config(
        SMALL
        | {"sampling": {"steps": 8, "block_size": block_size}}
        | {"guidance": {"omega": 0.05, "check": "diffusion-classifier", "check_threshold": threshold} | options}
    )
    numbered: Any = Numbered()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "LabelCheck", lambda judge, temperature: judge.generator)
        return drawn_by(config, numbered, torch.arange(40) % 2, numbered, 3, temperature=1.0), config


def test_what_is_not_credible_is_drawn_again_as_a_later_row_and_at_last_the_best_stays():
    drawn, config = checked()
    tries = np.array([row_seeds(config.seed, 3, range(40 * again, 40 * (again + 1))) for again in range(1 + REFILLS)])
    credible = tries / 2.0**64
    passed = (credible >= 0.6).any(axis=0)
    first = np.where(passed, (credible >= 0.6).argmax(axis=0), credible.argmax(axis=0))
    assert set(first[passed]) == {0, 1, 2, 3}  # the case is one where it matters
    assert (~passed).sum() > 1
    np.testing.assert_array_equal(drawn.batch.seed, tries[first, np.arange(40)])
    again = Numbered().sample(torch.tensor(drawn.batch.label), drawn.batch.seed, None)
    np.testing.assert_array_equal(examples(drawn)[:, 0], again[:, 0])
    np.testing.assert_array_equal(drawn.batch.label, np.arange(40) % 2)
    draws = np.where(passed, first + 1, 1 + REFILLS)
    np.testing.assert_array_equal(drawn.batch.draws, draws)
    needed = draws.sum()
    assert drawn.costs.generated == needed
    assert drawn.costs.forwards == needed * (8 + CALLS)
    assert drawn.costs.backwards == needed * len(config.guidance.guided_steps(8))


def test_a_checked_round_does_not_hang_on_how_it_is_cut_into_blocks():
    one, other = checked(7)[0], checked(40)[0]
    np.testing.assert_array_equal(one.batch.seed, other.batch.seed)
    assert one.costs == other.costs


def test_an_arm_that_does_not_check_fits_none():
    """Nor does it pay for one: candidates that are pruned are plain."""
    config = parse_config(SMALL | {"guidance": {"check": "diffusion-classifier"}})
    for practice, omega in (({"oversample": 2}, 0.05), ({}, 0.0)):
        arm = config.model_copy(update={
            "practice": config.practice.model_copy(update=practice),
            "guidance": config.guidance.model_copy(update={"omega": omega}),
        })  # fmt: skip
        numbered: Any = Numbered()
        storage = Storage(arm.pool, numbered.sample_shape)
        rounds = GeneratedRounds(arm, numbered, storage, Blocks(7), DiffusionClassifier(numbered))
        assert rounds.draw(1, torch.arange(10) % 2, numbered, Steering()).steering.temperature == 0


def test_at_threshold_0_nothing_is_drawn_again():
    drawn, config = checked(threshold=0.0)
    np.testing.assert_array_equal(drawn.batch.seed, row_seeds(config.seed, 3, range(40)))
    assert drawn.costs.generated == 40


def test_a_row_keeps_its_strength_when_it_is_drawn_again():
    drawn, again = checked(spread=True)[0], checked(spread=True, threshold=0.0)[0]
    np.testing.assert_array_equal(drawn.batch.omega, again.batch.omega)
    assert len(set(drawn.batch.omega.tolist())) == 40


def test_real_samples_of_a_checked_round_are_drawn_again_from_their_seeds(config: Config, generator: Generator):
    """Pushed hard, so that many fail."""
    raw = config.model_dump()
    strong = raw["guidance"] | {"omega": 0.3}
    unchecked = parse_config(raw | {"guidance": strong})
    config = parse_config(raw | {"guidance": strong | {"check": "diffusion-classifier", "check_threshold": 0.9}})
    learner, labels = fresh_learner(config), torch.arange(30) % 10
    check = LabelCheck(DiffusionClassifier(generator), 0.02)
    kept = drawn_by(config, generator, labels, learner, 1, temperature=0.02)
    plain = drawn_by(unchecked, generator, labels, learner, 1, temperature=0.0)
    assert kept.costs.generated > 40
    assert len(set(kept.batch.seed.tolist())) == 30
    before, after = (
        check(learner, examples(part).view(-1, *generator.sample_shape), labels, part.batch.seed)
        for part in (plain, kept)
    )
    assert (after >= before - 1e-6).all()
    assert after.mean() > before.mean() + 0.05
