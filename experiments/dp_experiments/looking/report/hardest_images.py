"""The samples that were hardest when they were added."""

import base64
import io
from typing import Any

import pandas as pd
from PIL import Image

from dp_experiments.looking.report.pictures import examples_of, pictures, told_of
from dp_real.pool import Pool
from dp_real.runs.reader import Run

SHOWN = 96  # samples, half of them wrong when they were added
SIDE = 96  # pixels of a thumbnail at most; smaller images keep their size


def hardest_images(run: Run, pool: Pool) -> list[dict[str, Any]]:
    """Hardest first; none if the pool has no images or nothing was added."""
    task = run.config.task
    if len(task.sample_shape) != 3:
        return []
    facts = told_of(pool)
    added = facts[facts["round"] > 0].sort_values("entropy", ascending=False)
    halves = [added[added["correct"] == right].head(SHOWN // 2) for right in (False, True)]
    chosen = pd.concat(halves).sort_values("entropy", ascending=False)
    if chosen.empty:
        return []
    images = pictures(examples_of(pool, chosen))
    return [
        {
            "class": task.classes[row.label],
            "round": int(row.round),
            "entropy": float(row.entropy),
            "omega": float(row.omega),
            "wrong": not row.correct,
            "picture": encoded(image),
        }
        for row, image in zip(chosen.itertuples(), images, strict=True)
    ]


def encoded(image: Any) -> str:
    """An image in [0, 1] of shape (H, W) or (H, W, 3) as a PNG in base64."""
    picture = Image.fromarray((255 * image).round().astype("uint8"))
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
