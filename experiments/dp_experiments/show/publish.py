"""A finished run as a data set and a model with cards, in a folder or on the hub of Hugging Face.

The hub's own client finds the token; nothing here reads it.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w
from huggingface_hub import DatasetCardData, HfApi, get_token, metadata_load, metadata_save
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,  # of httpx or httpx2, whichever the hub's client has
    OfflineModeIsEnabled,
)

from dp_base.checksums import RECORD, verify
from dp_base.errors import InputError, MissingError
from dp_base.files import write_text
from dp_experiments.terminal.lines import BREAKS, visible
from dp_experiments.terminal.pages import markdown_table
from dp_real.config import Config
from dp_real.evaluate.card import CITATION
from dp_real.pool import REAL_SEED, Pool
from dp_real.pool.export import write_parquet
from dp_real.runs.conclude import CARD
from dp_real.runs.reader import Run
from dp_real.runtime.model_folders import is_hub_id

KINDS = {"dataset": "data set", "model": "model"}
"""The two folders, which the hub calls by these names too, and what messages call them."""
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


def upload(folder: Path, repository: str) -> list[str]:
    """Upload what `stage` wrote to owner/name, privately, and return the addresses. The model names its data set."""
    if not is_hub_id(repository):
        raise InputError(f"{repository}: must be OWNER/NAME, as a repository of the hub is called")
    if get_token() is None:
        raise MissingError("there is no token for the hub: hf auth login, or set HF_TOKEN, or write a folder by --out")
    card = folder / "model" / CARD
    metadata_save(card, (metadata_load(card) or {}) | {"datasets": [repository]})
    api = HfApi()
    addresses = []
    with _asking(repository):
        for kind, noun in KINDS.items():
            if api.repo_exists(repository, repo_type=kind):
                again = "name another, or add a commit to it: --format hub --out FOLDER, then hf upload"
                raise InputError(f"{repository}: there is such a {noun} on the hub; {again}")
        for kind in KINDS:
            addresses.append(str(api.create_repo(repository, repo_type=kind, private=True)))
            api.upload_folder(
                repo_id=repository, repo_type=kind, folder_path=folder / kind, commit_message="dp real export"
            )
    return addresses


@contextmanager
def _asking(repository: str) -> Iterator[None]:
    """Raise MissingError, in one line, in place of what the hub's client raises."""
    remedy = "dp real export --format hub --out FOLDER writes the same without the hub"
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        known = {401: "does not accept the token", 403: "does not let this token write there"}
        what = known.get(status, f"answers with status {status}")
        raise MissingError(f"{repository}: the hub {what}; {remedy}") from None
    except (OfflineModeIsEnabled, ConnectionError, HTTPError):
        raise MissingError(f"{repository}: the hub cannot be reached; {remedy}") from None


def dataset_card(config: Config, result: Mapping[str, Any], pool: Pool) -> str:
    """Return the card of the pool as a data set, in Markdown."""
    facts: pd.DataFrame = pool.table().to_pandas()
    names = config.task.classes
    counts = pd.crosstab(facts["label"].map(dict(enumerate(names))), facts["round"]).add_prefix("round ")
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

{len(pool):,} examples of {len(names)} classes{_origin(facts)}. {result["samples_generated"]:,} were generated for them.
{_cautions(config, facts)}
## Licence

Not stated: it depends on the terms of the generator and of what it was trained on. Whoever publishes this fills in
`license` above.

## Columns

The example, `label`, and of when it was drawn: `round` (0: before training), `seed`, `omega` (the strength of the
choice or of the guidance), `entropy` (of the learner's prediction, in nats) and `correct` (whether the
learner predicted the label){soft}.

## Rounds

{_table(rounds_of(facts))}

## Classes

{_table(counts.reset_index(names="class").to_dict("records"))}

## Generator

```toml
{tomli_w.dumps(generator).strip()}
```

## Citation

```bibtex
{CITATION}
```
"""


def rounds_of(facts: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each round; the generator's share of equal labels is known if it gave soft labels."""
    if "posterior" in facts:
        facts = facts.assign(agreed=facts["posterior"].map(np.argmax) == facts["label"])
    rows = []
    for number, part in facts.groupby("round"):
        entropy = part["entropy"]
        row = {
            "round": number,
            "rows": f"{len(part):,}",
            "omega": f"{part['omega'].mean():.4g}",
            "entropy, mean": f"{entropy.mean():.3f}",
            "entropy, a tenth above": f"{entropy.quantile(0.9):.3f}",
            "learner agreed (%)": f"{100 * part['correct'].mean():.1f}",
        }
        if "agreed" in part:
            row["generator agrees (%)"] = f"{100 * part['agreed'].mean():.1f}"
        rows.append(row)
    return rows


def _origin(facts: pd.DataFrame) -> str:
    if facts["round"].any():
        return """, drawn by Deliberate Practice (arXiv:2502.15588): while a learner
trained on them, a generator added examples that it found hard"""
    return ", drawn at once: a static set, as Deliberate Practice (arXiv:2502.15588) is compared with"


def _cautions(config: Config, facts: pd.DataFrame) -> str:
    said = []
    real = int((facts["seed"] == REAL_SEED).sum())
    if real:
        said.append(f"\n**{real:,} of them are real examples** (those with `seed` 0), whose own licence counts.\n")
    if config.practice.needs_generator and config.generator.shows_examples:
        said.append("\nThe prompts showed real examples, which the generator may have repeated.\n")
    return "".join(said)


def _table(rows: Sequence[Mapping[Any, Any]]) -> str:
    return markdown_table(map(_plain, rows[0]), (map(_plain, row.values()) for row in rows)).strip()


def _plain(value: Any) -> str:
    """A text without what Markdown or HTML would obey."""
    return escape(visible(str(value).translate(BREAKS)), quote=False).replace("|", "\\|")
