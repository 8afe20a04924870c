"""Work in this process, over processes and on a cluster is one work."""

import numpy as np
import pytest

from dp_base.workers import on_cluster
from dp_theory import Addition, KeepAll, PracticeProblem, Problem, simulate, sweep
from tests.refusals import refusal

PLAIN = Problem(KeepAll(), 0.5, 0.5, 0.1)
LOOP = PracticeProblem(0.5, 0.1, [Addition(kept=1)])


@pytest.mark.parametrize(
    "work",
    [
        lambda **where: simulate(PLAIN, 20, 4, **where).test_error,
        lambda **where: simulate(LOOP, 20, 4, **where).test_error,
        lambda **where: (
            sweep(0.5, rules=["keep-hard"], d=16, trials=6, n=[8, 40], **where).select_dtypes("number").to_numpy()
        ),
    ],
)
def test_work_elsewhere_is_the_same(work, scheduler):
    here = work()
    np.testing.assert_array_equal(work(workers=2), here)
    with on_cluster(scheduler):
        np.testing.assert_array_equal(work(workers=None), here)


def test_an_address_without_a_scheduler_is_named():
    pytest.importorskip("distributed")
    with refusal("no dask scheduler answers at 'smoke://signal'"), on_cluster("smoke://signal"):
        pass
