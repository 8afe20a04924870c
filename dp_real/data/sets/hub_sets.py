"""Data sets of the hub: their Parquet or tar files, in the hub's cache or fetched into it."""

from dataclasses import dataclass
from pathlib import Path

from dp_base.errors import InputError, MissingError


@dataclass(frozen=True)
class HubSet:
    """A data set of the hub, or a folder in it, at a revision. None is the latest one."""

    id: str
    folder: str | None = None
    revision: str | None = None

    def snapshot(self, split: str | None, fetch: bool) -> Path:
        """Return the local folder of the Parquet or tar files. A split picks those that have its name in their paths.

        With `fetch`, files that are not in the hub's cache are fetched. Raises MissingError, which says what to do, if
        they cannot be had, InputError if the data set has none.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

        page = f"https://huggingface.co/datasets/{self.id}"
        pattern = self._pattern(split)
        command = self._command(pattern)
        try:
            root = snapshot_download(
                self.id,
                repo_type="dataset",
                revision=self.revision,
                allow_patterns=[pattern + ".parquet", pattern + ".tar"],
                local_files_only=not fetch,
            )
        except GatedRepoError as error:
            raise MissingError(f"{page} is gated: accept its terms there, hf auth login, then {command}") from error
        except RepositoryNotFoundError as error:
            raise MissingError(f"{page} is not there, or private: mind the name, or hf auth login") from error
        except (OSError, HfHubHTTPError) as error:
            raise MissingError(f"{self.id} is not in the hub's cache: where there is a network, {command}") from error
        folder = Path(root, self.folder or "")
        if not any(any(folder.rglob(f"*.{kind}")) for kind in ("parquet", "tar")):
            raise InputError(f"{page} has no Parquet or tar files that are called {pattern}")
        return folder

    def _pattern(self, split: str | None) -> str:
        """Return the pattern of the files' names, without their endings."""
        name = f"*{split}*" if split else "*"
        return f"{self.folder}/{name}" if self.folder else name

    def _command(self, pattern: str) -> str:
        """Return the command by which a user fetches the files."""
        command = f"hf download {self.id} --repo-type dataset --include '{pattern}'"
        return f"{command} --revision {self.revision}" if self.revision else command
