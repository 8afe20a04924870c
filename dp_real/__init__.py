"""The paper's pipeline: a generator, a learner that sees generated samples only, and a loop that adds harder ones.

The names, listed in `__init__.pyi`, are imported on first use, because that takes seconds.

Examples
--------
Run a configuration in a folder, and read its results:

    from dp_real import Run, load_config, run

    config = load_config("mine.toml")
    run(config, "runs/mine")
    Run("runs/mine").metrics

Guide a pipeline of diffusers by a classifier:

    import dp_real

    dp_real.guide(pipe, "google/vit-base-patch16-224", omega=0.05)
    images = pipe("a photo of a crane").images
"""

from pathlib import Path

from dp_base.imports import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, Path(__file__).with_suffix(".pyi"))
