"""Runs on a cluster end as on one machine, bit for bit, whichever worker is killed in which phase."""

import contextlib
import os
import signal
import threading

import pandas as pd
import psutil
import pytest

from dp_real.runtime.cache import cache_folder
from tests.cluster import two_workers
from tests.commands import done

pytestmark = pytest.mark.slow

SET = """
    --set generator.training=light
    --set sampling.steps=10
    --set sampling.block_size=16
    --set training.steps=300
    --set practice.initial=200
    --set practice.increment=100
    --set practice.additions=2
    --set practice.patience=1
    --set practice.evaluate_every=2
"""


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """Workers that have the cache of this module, which its tests move."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with two_workers() as address:
            yield address


@contextlib.contextmanager
def killing(phases):
    """Kill, in the block, the worker of the first job that is in a phase. Yield the phases in which one was killed.

    phases: for each, a function that yields the locks of the jobs that are in it.
    """
    killed = set()
    ended = threading.Event()

    def watch():
        while not ended.wait(0.005):
            for phase in phases.keys() - killed:
                worker = next(filter(None, map(worker_of, phases[phase]())), None)
                if worker is not None:
                    os.kill(worker, signal.SIGKILL)
                    killed.add(phase)
                    break

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield killed
    finally:
        ended.set()
        watching.join()


def worker_of(lock):
    """The worker, a child of this process, that holds a lock; None if there is none by now."""
    with contextlib.suppress(
        OSError, ValueError, IndexError, psutil.NoSuchProcess
    ):  # it may be gone, or not written yet
        worker = int(lock.read_text().split()[1])
        return worker if psutil.Process(worker).ppid() == os.getpid() else None
    return None


def generators():
    """The folder of generators that were trained here."""
    return cache_folder() / "generators"


def weights(folder, files):
    """The content of the files of weights in a folder that a pattern names, of which there are some."""
    found = {path.relative_to(folder): path.read_bytes() for path in folder.glob(files)}
    assert found
    return found


def assert_same_tables(folder, other, *names):
    """Assert that tables of two folders are the same but for times."""
    for name in names:
        ours, theirs = (pd.read_csv(each / name).filter(regex="^(?!.*seconds)") for each in (folder, other))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_a_comparison_survives_a_kill_in_each_phase(scheduler, tmp_path):
    runs = tmp_path / "cluster" / "runs"
    phases = {
        "generator": lambda: generators().glob(".*.lock"),
        "drawing": lambda: (drawn.parents[1] / ".lock" for drawn in runs.glob("*/drawing/*")),
        "training": lambda: (latest.parents[1] / ".lock" for latest in runs.glob("practice*/checkpoints/latest*")),
    }
    command = ["real compare digits", SET, "--arms practice,static --seeds 2"]
    with killing(phases) as killed:
        done(*command, "--dask", scheduler, "--out", tmp_path / "cluster")
    assert killed == phases.keys()
    generators().rename(tmp_path / "generators")
    done(*command, "--workers 1 --out", tmp_path / "machine")
    assert weights(tmp_path / "generators", "**/*.safetensors") == weights(generators(), "**/*.safetensors")
    learners = "runs/*/learner/*.safetensors"
    assert weights(tmp_path / "cluster", learners) == weights(tmp_path / "machine", learners)
    assert_same_tables(tmp_path / "cluster", tmp_path / "machine", "runs.csv")


def test_tuning_has_the_same_trials(scheduler, tmp_path):
    pytest.importorskip("optuna")
    command = ["real tune digits", SET, "--arms practice,static --trials 3 --batch 2"]
    held = {"trial": lambda: (tmp_path / "cluster" / "runs").glob("practice-trial1/*/.lock")}
    with killing(held) as killed:
        done(*command, "--dask", scheduler, "--out", tmp_path / "cluster")
    assert killed
    done(*command, "--workers 1 --out", tmp_path / "machine")
    assert_same_tables(tmp_path / "cluster", tmp_path / "machine", "trials.csv", "best.csv")
