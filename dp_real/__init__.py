"""The paper's pipeline: a generator, a learner that sees generated samples only, and a loop that adds harder ones.

The names below are imported on first use, because that takes seconds.

Examples
--------
Run a configuration in a folder, and read what it left:

    from dp_real import Run, load_config, run

    config = load_config("mine.toml")
    run(config, "runs/mine")
    Run("runs/mine").metrics

Guide a pipeline of diffusers by a classifier:

    import dp_real

    dp_real.guide(pipe, "google/vit-base-patch16-224", omega=0.05)
    images = pipe("a photo of a crane").images
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dp_base import __version__

if TYPE_CHECKING:
    from dp_real.config import Config, load_config
    from dp_real.generators.pipelines.generator import sample_images
    from dp_real.generators.pipelines.guide import guide, unguide
    from dp_real.guidance.entropy import EntropyGuidance
    from dp_real.objects import give
    from dp_real.pool import Pool
    from dp_real.runs.reader import Run
    from dp_real.runs.run import run

_HOMES = {
    "Config": "dp_real.config",
    "EntropyGuidance": "dp_real.guidance.entropy",
    "Pool": "dp_real.pool",
    "Run": "dp_real.runs.reader",
    "give": "dp_real.objects",
    "guide": "dp_real.generators.pipelines.guide",
    "load_config": "dp_real.config",
    "run": "dp_real.runs.run",
    "sample_images": "dp_real.generators.pipelines.generator",
    "unguide": "dp_real.generators.pipelines.guide",
}

__all__ = [
    "Config",
    "EntropyGuidance",
    "Pool",
    "Run",
    "__version__",
    "give",
    "guide",
    "load_config",
    "run",
    "sample_images",
    "unguide",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dp_real' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
