"""Kills of a run that asks a language model's endpoint: what was kept is not asked again."""

import contextlib
import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from torture.attempt import Attempt, Place, all_faults, run_fault
from torture.fake_endpoint import FakeEndpoint, request_key, served
from torture.processes import finish

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CONFIG = """
name = "asking"
threads = 1
[data]
source = "stand-in-text"
[generator]
kind = "openai"
base_url = "{url}"
model = "fake"
requests = 4
[sampling]
block_size = 16
[guidance]
candidates = 2
[learner]
kind = "ngrams"
[training]
steps = 60
batch_size = 16
[practice]
initial = 48
increment = 24
additions = 2
patience = 1
evaluate_every = 5
[pool]
storage = "text"
"""


def attack(place: Place, tries: int, draw: random.Random) -> Iterator[Attempt]:
    """Kill a run and go on, `tries` times; whenever one ends, another begins with an empty cache."""
    with served() as endpoint:
        endpoint.delay = 0.05
        file = place.path / "asking.toml"
        file.write_text(CONFIG.format(url=endpoint.url), encoding="utf-8")
        sound = place.new("asked")
        whole = place.dp("real", "run", file, "--out", sound)
        assert whole.status == 0, whole.err
        out = _another(place, endpoint)
        for index in range(tries):
            after = draw.uniform(0.3, 0.7) * whole.seconds
            yield _kill(place, endpoint, file, out, SIGNALS[index % len(SIGNALS)], after)
            if (out / "result.json").exists() or index == tries - 1:
                last = place.dp(*_words(file, out))
                yield Attempt(
                    "a run that was killed ends as it should", out.name, last.line, run_fault(place, out, sound)
                )
                out = _another(place, endpoint)


def _words(file: Path, out: Path) -> tuple[object, ...]:
    """The words that begin a run or go on with it."""
    return ("real", "resume", out) if (out / "config.toml").exists() else ("real", "run", file, "--out", out)


def _another(place: Place, endpoint: FakeEndpoint) -> Path:
    shutil.rmtree(_kept_in(place), ignore_errors=True)
    with endpoint.lock:
        endpoint.bodies.clear()
        endpoint.answered.clear()
    return place.new("asked")


def _kill(place: Place, endpoint: FakeEndpoint, file: Path, out: Path, number: signal.Signals, after: float) -> Attempt:
    before = _kept_texts(place)
    with endpoint.lock:
        asked_before = len(endpoint.bodies)
    process = place.start(*_words(file, out))
    time.sleep(after)
    process.send_signal(number)
    answer = finish(process)
    with endpoint.lock:
        asked = endpoint.bodies[asked_before:]
    again = [body for body in asked if endpoint.write(body) in before]
    twice = [body for body in asked if request_key(body) in endpoint.answered and asked.count(body) > 1]
    faults = []
    if again:
        faults.append(f"{len(again)} were asked again that had been kept")
    if twice:
        faults.append(f"{len(twice)} were asked twice within a process")
    if answer.status not in (0, 130, -number) or "Traceback" in answer.err:
        faults.append(f"status {answer.status}: {answer.last}")
    case = f"after {after:.2f} s, {len(before)} kept, {len(asked)} asked"
    return Attempt(f"{number.name} to a run that asks", case, answer.line, all_faults(faults))


def _kept_in(place: Place) -> Path:
    return place.path / "cache" / "deliberate-practice" / "answers"


def _kept_texts(place: Place) -> set[str]:
    texts = set()
    for file in _kept_in(place).rglob("answers.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # it is being written
                texts.add(json.loads(line)[1]["text"])
    return texts
