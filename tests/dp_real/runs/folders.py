"""What tests ask of a run's folder: what it must repeat, where it stopped, and what it learned."""

import contextlib
import json
import shutil
from contextlib import contextmanager

import pyarrow as pa
import pytest
from safetensors.torch import load_file

from dp_base.reading import read_json
from dp_real import Run, run
from dp_real.pool.pool import read_round, rounds_of
from dp_real.runs.loop import TrainingLoop


@contextmanager
def dying(step):
    """The run in the block dies on the spot before it takes this step."""
    train_step = TrainingLoop.train_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "dp_real.runs.loop.TrainingLoop.train_step",
            lambda self: 1 / 0 if self.state.step == step else train_step(self),
        )
        with contextlib.suppress(ZeroDivisionError):
            yield
            pytest.fail(f"the run did not reach step {step}")


def assert_resumes_as(whole, config, folder):
    """A broken run goes on, and ends as the `whole` one."""
    assert not (folder / "result.json").exists()
    run(config, folder, resume=True)
    assert traces(folder) == traces(whole)
    assert same_learner(folder, whole)


def assert_loads_elsewhere(folder, place):
    """What the card of a run's learner says gives its logits, of a copy of the learner alone."""
    card = (shutil.copytree(folder / "learner", place / "mine") / "README.md").read_text()
    made = {}
    with contextlib.chdir(place):
        exec(card.split("```python\n")[1].split("```")[0].replace("LEARNER", "mine"), made)
    learner, x = made["learner"], made["x"]
    assert learner.task.classes == Run(folder).config.task.classes
    assert learner.logits(x).equal(Run(folder).learner().logits(x))


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def halve(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file):
    file.write_bytes(b"")


def reword(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def json_lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def set_keys(file, **values):
    """Give keys of a JSON file these values."""
    file.write_text(json.dumps(read_json(file) | values))


def traces(folder):
    """What a run must repeat: everything but the clock and the configuration."""

    def without_clock(row):
        return {key: value for key, value in row.items() if "seconds" not in key}

    logs = {name: [*map(without_clock, json_lines(folder / name))] for name in ("metrics.jsonl", "rounds.jsonl")}
    result = without_clock(read_json(folder / "result.json"))
    result["inputs"].pop("config")  # some tests compare runs whose configurations differ in what changes nothing
    return logs | {"result": result}


def stopped_at(folder):
    """The step of the one latest checkpoint."""
    (latest,) = (folder / "checkpoints").glob("latest-*")
    return read_json(latest / "state.json")["step"]


def same_tensors(one, other):
    """Whether two dictionaries have equal tensors under the same names."""
    return one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())


def same_learner(one, other):
    return same_tensors(*(load_file(folder / "learner/model.safetensors") for folder in (one, other)))


def all_rows(folder):
    """All that a run's pool says of each row but its cost, in order."""
    tables = [read_round(part).sort_by("row") for part in rounds_of(folder / "pool")]
    return pa.concat_tables(tables).drop_columns(["seconds", "draws", "redrawn"]).to_pylist()
