from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from pydantic import TypeAdapter

from dp_base.reading import KEY, read_json, require_format
from dp_real.data.examples import Task
from dp_real.learners import LEARNERS, LearnerConfig
from dp_real.learners.section import TrainingConfig
from dp_real.protocols import Learner
from dp_real.runtime.hub import reading
from dp_real.runtime.model_folders import READ

FORMAT = 1  # format number of learner.json; see dp_base.reading.require_format
ABOUT = "learner.json"  # in the folder of a trained learner's weights


def about(kind: LearnerConfig, task: Task) -> dict[str, Any]:
    """What is needed besides the weights to compute logits."""
    of_task = {"sample_shape": task.sample_shape, "classes": task.classes}
    return {KEY: FORMAT, "learner": kind.model_dump(mode="json"), "task": of_task}


def restored(kind: LearnerConfig, task: Task, training: TrainingConfig, folder: Path) -> Learner:
    """The learner saved in a folder, without the model that it started from."""
    if kind.weights():
        kind = kind.model_copy(update={"model": str(folder)})
    learner = kind.fresh(task, training, 0)
    learner.load(folder)
    return learner


def load_learner(place: str | Path) -> Learner:
    """The trained learner in a folder RUN/learner, or on the hub, where `hf upload` puts it.

    Its `task.classes` are in the order of its `logits`. Raises MissingError if it does not exist, InputError if it is
    broken.
    """
    remedy = "name the folder RUN/learner of a finished run"
    with reading(str(place), "learner", f"{remedy}, or a hub id as owner/name") as is_local:
        files = [f"*{ending}" for ending in READ]
        folder = Path(place if is_local else snapshot_download(str(place), allow_patterns=files))
        record = read_json(folder / ABOUT, remedy)
        require_format(record, FORMAT, folder / ABOUT)
        kind = LEARNERS[record["learner"]["kind"]].model_validate(record["learner"])
        task = TypeAdapter(Task).validate_python(record["task"])
        return restored(kind, task, TrainingConfig(steps=1), folder)
