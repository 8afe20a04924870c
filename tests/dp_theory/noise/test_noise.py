"""Labels that are wrong near the boundary: an independent transcription, limits, simulation, and what follows."""

from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from dp_theory import Addition, BoundaryFlips, Entropy, KeepAll, KeepHard, PracticeProblem, Window, predict, theorem1
from dp_theory.noise import loops_of_worth, plain_error, plain_lam, plain_rows, row_worth, shares, worth
from tests.dp_theory.loop.loops import selected
from tests.dp_theory.verification.beyond import HEAVY, SOFT
from tests.refusals import out_of_range, refusal

# -- limits -----------------------------------------------------------------------------------------------------------


def of(flip):
    """Errors with plain rows, those of a window, and entropy-selected ones."""
    rounds = [Window(1), Addition(1, keep=Entropy(8.0))]
    return predict(PracticeProblem(0.5, 0.1, rounds, flip=flip)).test_error


@pytest.mark.parametrize(
    ("flips", "uniform", "rtol"),
    [(BoundaryFlips(0.3, 0.0), 0.0, 1e-12), (BoundaryFlips(1e-15), 0.0, 1e-12), (BoundaryFlips(1e6, 0.1), 0.1, 1e-6)],
)
def test_no_noise_is_the_theory_without_it_and_flips_everywhere_are_uniform(flips, uniform, rtol):
    np.testing.assert_allclose(of(flips), of(uniform), rtol=rtol)


# -- simulation -------------------------------------------------------------------------------------------------------


def test_rows_with_flips_of_their_own_leave_the_first_pool_alone():
    plain = predict(PracticeProblem(0.5, 0.1, flip=0.05)).test_error[0]
    for mixed in ({"flip": 0.05}, {"initial": Addition(1, flip=0.05)}):
        loop = PracticeProblem(0.5, 0.1, [Addition(2, flip=SOFT)], **mixed)
        assert predict(loop).test_error[0] == pytest.approx(plain, rel=1e-12)


# -- what follows -----------------------------------------------------------------------------------------------------


def test_shares_against_draws():
    flips, error, rng = BoundaryFlips(0.2), 0.1, np.random.default_rng(0)
    t = KeepHard(0.4).draw(rng, 10**6)
    z = np.cos(np.pi * error) * t + np.sin(np.pi * error) * rng.standard_normal(len(t))
    wrong = rng.random(len(z)) < flips(z)
    missed = np.where(wrong, -z, z) * t < 0
    np.testing.assert_allclose(shares(flips, error, 0.4), [missed.mean(), wrong.mean()], atol=0.003)


def test_worth_of_a_row_is_the_recipe_with_the_truth_as_selector():
    """In a narrow window; it grows as alpha^-2 where the boundary's labels are no coins."""
    plain, narrow, narrower = (
        np.tan(
            np.pi * predict(selected(1.0, 0.3, ratio=1 / float(rule.moments(0.0).p), keep=rule, flip=SOFT)).test_error
        )
        for rule in (KeepAll(), KeepHard(1e-3), KeepHard(1e-4))
    )
    assert row_worth(SOFT) == pytest.approx((plain / narrow) ** 2, rel=1e-4)
    assert narrower == pytest.approx(narrow, rel=1e-4)
    assert row_worth(HEAVY) == np.inf


def test_static_data_has_its_best_ridge():
    flips = HEAVY
    rows = 6.0

    def error(log_lam):
        return theorem1(1.0, 1.0, 0.0, flips.signal, 1.0, 1 / rows, np.exp(log_lam))[0]

    best = minimize_scalar(error, bounds=(-6, 4), method="bounded", options={"xatol": 1e-8})
    assert np.log(plain_lam(flips, rows)) == pytest.approx(best.x, abs=1e-4)
    static = selected(1.0, 1 / rows, plain_lam(flips, rows), flip=flips)
    assert plain_error(flips, rows) == pytest.approx(predict(static).test_error, rel=1e-10)


def test_no_wrong_labels_are_the_limit_of_few():
    none, few = (worth(BoundaryFlips.of_share(share), rounds=2) for share in (0.0, 1e-8))
    assert none["wrong"].eq(0).all()
    assert none["test_error"].to_numpy() == pytest.approx(few["test_error"].to_numpy(), rel=1e-6)


test_numbers_out_of_range_are_refused = out_of_range(
    (partial(BoundaryFlips, width=0.3), {"width": 0.0, "eps": 1.5}),
    (partial(shares, SOFT, test_error=0.1), {"test_error": 0.7, "alpha": 0.0}),
    (partial(plain_rows, SOFT), {"test_error": 0.7}),
    (BoundaryFlips.of_share, {"share": 0.6}),
    (partial(worth, SOFT), {"rounds": 0, "windows": -1.0, "lams": -1.0, "phi": 0.0}),
    (partial(loops_of_worth, SOFT, 0.5), {"windows": 0.0}),
    (partial(loops_of_worth, SOFT), {"phi": 0.0}),
    *((partial(answer, SOFT), {"rows": 0.0}) for answer in (plain_lam, plain_error)),
)
ANSWERS = (
    partial(shares, test_error=0.1),
    row_worth,
    partial(plain_rows, test_error=0.1),
    worth,
    partial(plain_error, rows=1.0),
    partial(loops_of_worth, phi=0.5),
)


@pytest.mark.parametrize("answer", ANSWERS)
def test_flips_of_another_kind_are_refused(answer):
    with refusal("flips = 0.1 must be BoundaryFlips, such as BoundaryFlips"):
        answer(0.1)


@pytest.mark.parametrize(("share", "phi"), [(0.06, 0.5), (0.2, 20.0), (0.45, 0.5), (0.49, 0.5)])
def test_the_first_pool_is_static_data(share, phi):
    table = worth(BoundaryFlips.of_share(share), rounds=1, phi=phi)
    assert table["samples"].iloc[0] == pytest.approx(1, abs=1e-6)
    assert table["saved"].iloc[0] == 0  # once it was -6.7e-16
