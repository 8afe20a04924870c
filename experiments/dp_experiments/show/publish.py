"""A finished run as folders of a data set and a model with cards, as the hub of Hugging Face takes them."""

import shutil
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w
from huggingface_hub import DatasetCardData

from dp_base.checksums import RECORD, verify
from dp_base.errors import InputError
from dp_base.files import write_text
from dp_experiments.terminal.lines import BREAKS, visible
from dp_real.config import Config
from dp_real.evaluate.card import CITATION
from dp_real.pool import REAL_SEED, Pool
from dp_real.pool.export import write_parquet
from dp_real.runs.conclude import CARD
from dp_real.runs.reader import Run

TO_FILL = """\
# Fill these in before you make it public (https://huggingface.co/docs/hub/repositories-licenses):
# license:
# language:
"""


def stage(run: Run, folder: Path) -> None:
    """Write folder/dataset and folder/model, each with its card, of a complete run."""
    if not run.complete:
        raise InputError(f"{run.path}: the run is not complete; {run.files.resume} goes on with it")
    verify(run.files.learner, run.files.again)
    pool = run.pool
    data = folder / "dataset" / "data"
    data.mkdir(parents=True)
    write_parquet(pool, run.config.task.classes, data)
    write_text(folder / "dataset" / CARD, dataset_card(run.config, run.result, pool))
    shutil.copytree(run.files.learner, folder / "model", ignore=shutil.ignore_patterns(RECORD))


def dataset_card(config: Config, result: Mapping[str, Any], pool: Pool) -> str:
    """Return the card of the pool as a data set, in Markdown."""
    facts: pd.DataFrame = pool.table().to_pandas()
    soft = "" if pool.posterior is None else ", `posterior` (the generator's own probability of each class)"
    sections = config.model_dump(mode="json", exclude_none=True)
    generator = {name: sections[name] for name in ("generator", "sampling", "guidance")}
    task = config.data.pipeline_tag
    header = DatasetCardData(
        pretty_name=_plain(config.name), tags=["synthetic-data"], task_categories=[task] if task else None
    )
    return f"""---
{TO_FILL}{header.to_yaml()}
---

# {_plain(config.name)}

{len(pool):,} examples of {config.task.n_classes} classes{_origin(config, facts)}.
{result["samples_generated"]:,} were generated for them.
{_cautions(config, facts)}
## Licence

Not stated: it depends on the terms of the generator and of what it was trained on. Whoever publishes this fills in
`license` above.

## Columns

The example, `label`, and of when it was drawn: `round` (0: before training), `seed`, `omega` (the strength of the
choice or of the guidance), `entropy` (of the learner's prediction, in nats) and `correct` (whether the
learner predicted the label){soft}.

## Generator

```toml
{tomli_w.dumps(generator).strip()}
```

## Citation

```bibtex
{CITATION}
```
"""


def _origin(config: Config, facts: pd.DataFrame) -> str:
    if facts["round"].any():
        hard = " that it found hard" if config.guidance.omega or config.practice.oversample > 1 else ""
        return f""", drawn by Deliberate Practice (arXiv:2502.15588): while a learner
trained on them, a generator added examples{hard}"""
    return ", drawn at once: a static set, as Deliberate Practice (arXiv:2502.15588) is compared with"


def _cautions(config: Config, facts: pd.DataFrame) -> str:
    cautions = []
    real = int((facts["seed"] == REAL_SEED).sum())
    if real:
        cautions.append(f"\n**{real:,} of them are real examples** (those with `seed` 0), whose own licence counts.\n")
    if config.practice.needs_generator and config.generator.shows_examples:
        cautions.append("\nThe prompts showed real examples, which the generator may have repeated.\n")
    return "".join(cautions)


def _plain(value: Any) -> str:
    """A text without what Markdown or HTML would obey."""
    return escape(visible(str(value).translate(BREAKS)), quote=False)
