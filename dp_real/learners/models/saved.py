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

FORMAT = 1  # of learner.json; see dp_base.reading.require_format on when it rises
ABOUT = "learner.json"  # beside a trained learner's weights


def about(kind: LearnerConfig, task: Task) -> dict[str, Any]:
    """What whoever has the weights alone must know to compute logits."""
    of_task = {"sample_shape": task.sample_shape, "classes": task.classes}
    return {KEY: FORMAT, "learner": kind.model_dump(mode="json"), "task": of_task}


def restored(kind: LearnerConfig, task: Task, training: TrainingConfig, folder: Path) -> Learner:
    """The learner that was saved in a folder. What it began with may be gone."""
    if kind.weights():
        kind = kind.model_copy(update={"model": str(folder)})
    learner = kind.fresh(task, training, 0)
    learner.load(folder)
    return learner


def load_learner(place: str | Path) -> Learner:
    """The trained learner of a folder RUN/learner, or of the hub, where `hf upload` puts it.

    Its `task.classes` are named in the order of its `logits`. Raises MissingError if there is none, InputError if it is
    broken.
    """
    with reading(str(place), "learner") as is_local:
        files = [f"*{ending}" for ending in READ]
        folder = Path(place if is_local else snapshot_download(str(place), allow_patterns=files))
        said = read_json(folder / ABOUT, "name the folder RUN/learner of a finished run")
        require_format(said, FORMAT, folder / ABOUT)
        kind = LEARNERS[said["learner"]["kind"]].model_validate(said["learner"])
        task = TypeAdapter(Task).validate_python(said["task"])
        return restored(kind, task, TrainingConfig(steps=1), folder)
