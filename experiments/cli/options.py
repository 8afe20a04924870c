"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.presets.presets import preset_names

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Preset = Annotated[
    str,
    typer.Argument(
        metavar="PRESET|FILE.toml",
        help=f"{', '.join(preset_names())}, a row of the paper's tables (`dp real presets`), or a configuration file.",
    ),
]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. guidance.omega=0.03.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]
