"""What a pilot's facts say, in one line."""

from __future__ import annotations

from typing import Any

HALF = 0.5  # of the hard samples: with fewer confirmed, most of what is hard is wrong
CLEAN = 0.8  # of the plain samples: with fewer confirmed, the generator itself is at fault


def verdict(facts: dict[str, Any]) -> dict[str, Any]:
    """pays: "likely", "unlikely" or "cannot tell"; verdict: that with its reasons, for people."""
    ratio, practice = facts["ratio"], facts["practice"]
    price = 1.0  # of a sample of practice, in plain ones
    if facts["cost"] is not None:
        price += (facts["cost"] - 1) * practice["guided"]
    pays = "likely" if ratio["low"] > price else "unlikely" if ratio["high"] < price else "cannot tell"
    between = f"{_times(ratio['low'])} to {_times(ratio['high'])}"
    worth = f"a sample of practice is worth {_times(ratio['value'])} plain ones ({between})"
    if price != 1:
        worth += f" and costs as much as {price:.2g}"
    reasons = [worth, *_of_labels(facts["rounds"], facts["judge"])]
    if practice["additions"] < practice["planned"]:
        reasons.append(f"practice made {practice['made']:.0f} of {facts['n']} samples: give it more --steps")
    begin = {
        "likely": "practice is likely to pay here, because",
        "unlikely": "practice is unlikely to pay here, because",
        "cannot tell": "cannot tell whether practice pays here (try more --seeds, or a larger --n):",
    }[pays]
    return {"pays": pays, "verdict": f"{begin} {'; '.join(reasons)}"}


def _of_labels(rounds: list[dict[str, Any]], judge: dict[str, Any] | None) -> list[str]:
    """What the shares of confirmed labels say."""
    if judge is None:
        return ["labels were not checked: name a classifier of real images as --judge"]
    plain, guided = rounds[0], rounds[1:]
    said = [f"the judge confirms {plain['confirmed']:.0%} of plain samples"]
    if plain["confirmed"] < CLEAN * judge["accuracy"]:
        said[0] += ", so the generator itself is at fault"
    if guided:
        said[0] += f" and {guided[-1]['confirmed']:.0%} of guided ones"
        hard = guided[-1]["confirmed_of_missed"]
        if hard is not None:
            said.append(f"{hard:.0%} of those that the learner misses")
            if hard < HALF:
                said[-1] += ": lower guidance.wrong_share, or omega"
    return said


def _times(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 1000 else "very many"
