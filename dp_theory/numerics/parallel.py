"""Independent jobs: in this process, over processes, or on a cluster.

`workers=None` leaves it to a block `on_cluster` (dp_base.workers), or to joblib's configuration.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dp_base.workers import (
    cluster_results,
    ending_with_this_process,
    ignoring_interrupts,
    quiet_when_left,
    this_cluster,
)
from dp_theory.numerics.checks import Advance, finite_numbers, require_workers, unseen


def run_jobs(
    function: Callable,
    jobs: Sequence[tuple],
    workers: int | None = 1,
    advance: Advance = unseen,
) -> list:
    """[function(*job) for job in jobs], by so many processes; advance(1) is called as each job ends."""
    require_workers(workers)
    results_by_job = {}
    for i, result in _started(function, jobs, workers):
        results_by_job[i] = result
        advance(1)
    return [results_by_job[i] for i in range(len(jobs))]


def _started(function: Callable, jobs: Sequence[tuple], workers: int | None) -> Iterator[tuple[int, Any]]:
    if workers == 1:
        return (_numbered(i, function, job) for i, job in enumerate(jobs))
    if workers is None and (cluster := this_cluster()):
        return cluster_results(cluster, _numbered, [(i, function, job) for i, job in enumerate(jobs)])
    from joblib import Parallel, delayed

    with ignoring_interrupts():
        options = {} if workers is None else ending_with_this_process()  # None: perhaps a cluster, which stays
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered", **options)
        return quiet_when_left(parallel(delayed(_numbered)(i, function, job) for i, job in enumerate(jobs)))


def _numbered(index: int, function: Callable, job: tuple) -> tuple[int, Any]:
    with finite_numbers():  # the state of NumPy does not reach other processes
        return index, function(*job)
