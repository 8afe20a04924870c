"""The user's cache: what was trained once is kept under a hash of all that it depends on."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import platformdirs


def cache_folder() -> Path:
    """Where cached things live."""
    return Path(platformdirs.user_cache_dir("deliberate-practice"))


def cached(name: str, depends: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """The folder that `make` filled, now or in an earlier run with the same `depends`; whole or not there at all."""
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_folder() / f"{name}-{digest}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            staged = Path(temporary) / "whole"
            staged.mkdir()
            make(staged)
            (staged / "depends.json").write_text(json.dumps(depends, indent=2))
            with contextlib.suppress(OSError):  # another run made the same at the same time and was first
                os.rename(staged, folder)
    return folder
