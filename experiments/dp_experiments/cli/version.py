"""The version of this program, with its commit where that is known."""

import json
import subprocess
from importlib import metadata
from pathlib import Path

import dp_base
from dp_base.imports import DISTRIBUTION

COMMIT_DIGITS = 12  # of the commit that pip installed from


def version_line() -> str:
    """The version, such as `0.2.0 (1a2b3c4)`; `-dirty` says that files were changed since."""
    known = commit()
    return f"{dp_base.__version__} ({known})" if known else dp_base.__version__


def commit() -> str | None:
    """The commit of the checkout, or the one that pip installed from (PEP 610)."""
    checkout = Path(dp_base.__file__).parents[1]
    return _checked_out(checkout) if (checkout / ".git").exists() else _installed()


def _checked_out(checkout: Path) -> str | None:
    git = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--tags"]
    try:
        answer = subprocess.run(git, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def _installed() -> str | None:
    try:
        origin = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return None
    commit_id = origin.get("vcs_info", {}).get("commit_id")
    return commit_id[:COMMIT_DIGITS] if commit_id else None
