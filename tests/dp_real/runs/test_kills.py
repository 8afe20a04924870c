"""SIGKILL at random moments, again and again: the run ends as one that was never killed."""

import multiprocessing
import random
from pathlib import Path

import pytest

from dp_real.config import Config
from dp_real.pool import Pool
from dp_real.protocols import Generator
from dp_real.runs.run import run
from tests.dp_real.runs.test_run import same_learner, traces

KILLS = 50


@pytest.mark.slow
def test_fifty_kills_lose_nothing_double_nothing_change_nothing(config: Config, generator: Generator, tmp_path: Path):
    """A fork server imports everything first, so that the kills hit the run and not its imports."""
    training = config.training.model_copy(update={"steps": 1500})
    plan = config.practice.model_copy(update={"additions": 8})
    config = config.model_copy(update={"training": training, "practice": plan})
    run(config, tmp_path / "unbroken")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "dp_real.runs.run",
            "dp_real.generators.models.denoiser",
            "dp_real.learners.models.network",
            "sklearn.datasets",
        ]
    )
    moments, kills, survivors = random.Random(0), 0, 0
    while kills < KILLS:
        out = tmp_path / f"run-{survivors}"
        while not (out / "result.json").exists():
            process = context.Process(target=run, args=(config, out), kwargs={"resume": out.exists()})
            process.start()
            process.join(moments.uniform(0.05, 1.0))
            if process.is_alive():
                process.kill()
                kills += 1
            process.join()
        assert traces(out) == traces(tmp_path / "unbroken")
        assert same_learner(out, tmp_path / "unbroken")
        table = Pool.latest(out / "pool", generator.sample_shape).table()
        assert table["row"].to_pylist() == list(range(60 + 8 * 40))
        survivors += 1
    print(f"{kills} kills over {survivors} runs")
