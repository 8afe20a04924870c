"""Independent jobs: in this process, over processes, or on a cluster.

With `workers=None`, joblib uses the cluster of a block `on_cluster` (dp_base.cluster), or the backend that the caller
configured: `with joblib.parallel_config("ray"): dp_theory.sweep(..., workers=None)`. What a job draws depends on the
job alone, never on where or when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dp_base.cluster import this_cluster
from dp_base.workers import ending_with_this_process, ignoring_interrupts, quiet_when_left
from dp_theory.numerics.checks import require_workers
from dp_theory.numerics.overflow import finite_numbers


def run_jobs(
    function: Callable,
    jobs: Sequence[tuple],
    workers: int | None = 1,
    advance: Callable[[int], None] = lambda done: None,
) -> list:
    """[function(*job) for job in jobs], by so many processes, which end with this one.

    1 runs the jobs here; None leaves the number to the block `on_cluster`, or to joblib's configuration. `advance(1)`
    is called as each job ends. Raises InputError for a number that joblib does not know.
    """
    require_workers(workers)
    results = {}
    for i, result in _started(function, jobs, workers):
        results[i] = result
        advance(1)
    return [results[i] for i in range(len(jobs))]


def _started(function: Callable, jobs: Sequence[tuple], workers: int | None) -> Iterator[tuple[int, Any]]:
    if workers == 1:
        return (_numbered(i, function, job) for i, job in enumerate(jobs))
    cluster = this_cluster()
    if workers is None and cluster is not None:
        return (result for _, result in cluster.results(_numbered, [(i, function, job) for i, job in enumerate(jobs)]))
    from joblib import Parallel, delayed

    with ignoring_interrupts():
        options = {} if workers is None else ending_with_this_process()  # None: perhaps a cluster, which stays
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered", **options)
        return quiet_when_left(parallel(delayed(_numbered)(i, function, job) for i, job in enumerate(jobs)))


def _numbered(index: int, function: Callable, job: tuple) -> tuple[int, Any]:
    with finite_numbers():  # the state of NumPy does not reach other processes
        return index, function(*job)
