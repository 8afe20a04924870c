"""The end of a run: accuracies, costs, and the trained learner for others to use."""

import logging
from collections.abc import Mapping
from typing import Any

from dp_base.checksums import seal
from dp_base.files import remove, share_files, write_json, write_text
from dp_real.data.examples import NearExamples
from dp_real.evaluate.assess import accuracies, evaluate_sets, evaluate_shots
from dp_real.evaluate.card import model_card
from dp_real.learners.models.saved import ABOUT, about
from dp_real.runs.identity import versions
from dp_real.runs.loop import TrainingLoop
from dp_real.runtime import distributed

log = logging.getLogger(__name__)
NEAR = 0.8  # similarity of examples that count as near-duplicates
QUICK = "this was a trial of every part on a few examples: its numbers are no measurement"
CARD = "README.md"  # of the learner


def conclude(loop: TrainingLoop, test: bool = True, facts: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Write the learner, its card and, last, result.json, which marks the run as complete.

    The learner is written before evaluation, so that a broken real image does not cost it.
    """
    config, learner, data, state = loop.config, loop.learner, loop.data, loop.state
    files, pool, costs = loop.folder.files, loop.pool, state.costs

    def save() -> None:
        """The card, which people edit, has no checksum."""
        files.learner.mkdir(exist_ok=True)
        learner.save(files.learner)
        write_json(files.learner / ABOUT, about(config.learner, config.task))
        share_files(files.learner)
        remove(files.learner / CARD)  # an earlier one
        seal(files.learner)

    def count_near(earlier: NearExamples, real: NearExamples) -> dict[str, float]:
        """Near-duplicates in the pool: of its earlier examples, and of the validation set."""
        examples = real.values(pool.x)
        real.add(real.values(data.validation.x))
        copies = int(earlier.add(examples).sum())
        return {"similarity": NEAR, "pool": copies, "validation": int(real.add(examples, "none").sum())}

    distributed.on_main(save)
    validated, balanced = accuracies(learner, data.validation)
    if config.quick:
        log.warning(QUICK)
    elif balanced - loop.chance < loop.doubt / 3:  # two standard errors
        log.warning(
            f"{files.path} ends at chance, as far as {len(data.validation.y):,} validation examples tell: the mean of "
            f"the classes' accuracies is {balanced:.1%}, of guessing {loop.chance:.1%}; look at samples, then at "
            "the keys of [training]"
        )
    tested, tested_balanced = accuracies(learner, data.test) if test else (None, None)
    result = {
        "name": config.name,
        "seed": config.seed,
        "test_accuracy": tested,
        "test_balanced_accuracy": tested_balanced,
        "test_examples": len(data.test.y) if test else 0,
        "val_accuracy": validated,
        "val_examples": len(data.validation.y),
        "sets": evaluate_sets(learner, data.sets) + evaluate_shots(config, learner, data.test) if test else [],
        "pool_size": len(pool),
        "samples_generated": costs["generated"],
        "samples_redrawn": costs["redrawn"],
        "samples_seen": state.seen,
        "additions": state.rounds - 1,
        "steps": state.step,
        "processes": distributed.this_process().num_processes,
        "seconds": state.seconds,
        "generation_seconds": state.generation_seconds,
        "training_seconds": state.seconds - state.generation_seconds,
        "denoiser_forwards": costs["forwards"],
        "denoiser_backwards": costs["backwards"],
        "generation_flops": costs["flops"],
        "training_flops": loop.row_flops * state.seen,
        "versions": versions(),
        **facts,
        **({"quick": QUICK} if config.quick else {}),
    }
    if (earlier := config.data.near_duplicates(NEAR)) and (real := config.data.near_duplicates(NEAR)):
        result["near"] = distributed.on_main(lambda: count_near(earlier, real))
        if config.generator.shows_examples and result["near"]["validation"]:
            noun = f"{config.data.modality}s"
            log.warning(
                f"{result['near']['validation']} training {noun} are nearly equal to {noun} of the validation set, "
                f"which prompts contained: its accuracy may be too high; pool.distinct drops such {noun}"
            )

    def write() -> None:
        write_text(files.learner / CARD, model_card(config, result))
        write_json(files.result, result)
        seal(files.path, [file.name for file in (*files.logs, files.result) if file.exists()])

    distributed.on_main(write)
    return result
