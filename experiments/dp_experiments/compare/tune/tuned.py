"""What a tuning came to: each arm's best settings, for `dp real compare --tuned`."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dp_base.checksums import verify
from dp_base.errors import InputError
from dp_base.reading import own_file, read_json, require_format
from dp_experiments.presets.presets import STUDIES, load_preset
from dp_real.config import Config
from dp_real.config.arms import ArmName, arm_config
from dp_real.config.load import key_of, parse_config, set_key
from dp_real.practice.section import flat

TUNED = "best.json"
FORMAT = 1  # of the files that a tuning leaves
PUBLISHED = "published"  # in place of a folder: what this project's own tunings chose
Settings = Mapping[str, Any]
"""Key of the configuration -> value."""
FALLBACK_ARMS = {
    "static": (),
    "real": (),
    "finetune": ("real",),
    "covariance": ("static",),
    "probe": ("static",),
}
"""Arms that are not the loop, and whose settings each takes if it was not tuned."""


def with_settings(config: Config, settings: Settings, where: str = "configuration") -> Config:
    """The configuration with these values; an error begins with `where`."""
    raw = config.model_dump()
    for key, value in settings.items():
        set_key(raw, key, value, where)
    return parse_config(raw, where)


class Tuned(NamedTuple):
    """Best settings by arm; trials have seen the seeds and splits `first` to `fresh` - 1."""

    path: Path
    config: Config
    fresh: int
    settings: Mapping[str, Mapping[str, Any]]
    first: int = 0

    @classmethod
    def read(cls, folder: Path) -> "Tuned":
        file = folder / TUNED
        if not file.is_file():
            raise InputError(f"--tuned {folder} holds no complete tuning: it should be the --out of dp real tune")
        remedy = "restore it; or dp real tune with the same options and --resume writes it again"
        verify(folder, remedy, [TUNED])
        record = read_json(file, remedy)
        with own_file(file, remedy):
            require_format(record, FORMAT, file)
            config, first = parse_config(record["config"], str(file)), int(record.get("first", 0))
            return cls(folder, config, int(record["fresh"]), record["settings"], first)

    @classmethod
    def published(cls, preset: str) -> "Tuned":
        files = {file.stem: file for file in sorted(STUDIES.glob("*/runs/*.toml"))}
        if preset not in files:
            raise InputError(
                f"--tuned {PUBLISHED} has settings of {', '.join(files)}, not of {preset}: dp real tune finds them"
            )
        return cls(Path(PUBLISHED), load_preset(preset), **tomllib.loads(files[preset].read_text(encoding="utf-8")))

    def check(self, arms: Iterable[str], seeds: range) -> None:
        """Refuse arms that were not tuned, and seeds and splits that trials have seen."""
        for arm in arms:
            self.source(arm)
        if seeds.start < self.fresh and seeds.stop > self.first:
            raise InputError(
                f"--first {seeds.start}: the trials of {self.path} have seen it; take {self.fresh} or a later one"
            )

    def refuse(self, config: Config, arms: Iterable[str], keys: Iterable[str]) -> None:
        """Refuse another value of a key that was tuned for an arm."""
        changed = self._changed(config).intersection(keys)
        for arm in arms:
            for key in sorted(changed & self.settings[self.source(arm)].keys()):
                raise InputError(f"--set {key}: --tuned {self.path} sets it for {arm}; ARM@{key}=VALUE changes it")

    def differing(self, config: Config) -> list[str]:
        """Keys that differ from what was tuned, and were not tuned for all arms."""
        settled = set.intersection(*map(set, self.settings.values()))
        return sorted(self._changed(config) - settled)

    def _changed(self, config: Config) -> set[str]:
        ours = flat(config.model_dump(mode="json"))
        tuned = flat(self.config.model_dump(mode="json"))
        keys = (ours.keys() | tuned.keys()) - {"name", "seed", "data.split"}
        return {key for key in keys if ours.get(key) != tuned.get(key) and not key.startswith("compare.")}

    def arm_config(self, config: Config, arm: str) -> Config:
        return arm_config(config, arm, self.settings[self.source(arm)], f"{self.path}, arm {arm}")

    def source(self, arm: str) -> str:
        """The tuned arm whose settings an arm gets: its own, else the nearest in samples of its kind.

        Controls, the loop but for one thing, get those of practice; arms that add nothing, those of static data.
        """
        if arm in self.settings:
            return arm
        kind = ArmName.parse(arm).arm
        for wanted in (kind, *FALLBACK_ARMS.get(kind, ("practice",))):
            if alike := [name for name in self.settings if ArmName.parse(name)[::2] == (wanted, ())]:
                return min(alike, key=lambda name: abs(math.log(self._samples(name) / self._samples(arm))))
        raise InputError(f"arm {arm} was not tuned in {self.path}, which has {', '.join(self.settings)}")

    def remark(self, arm: str) -> str:
        """Whose settings an arm gets; "" where all are its own."""
        if (source := self.source(arm)) == arm:
            return ""
        changed = set(map(key_of, ArmName.parse(arm).settings))
        others = sorted(changed & self.settings[source].keys())
        return f"{arm}: settings of {source}" + (f", tuned with another {', '.join(others)}" if others else "")

    def _samples(self, arm: str) -> int:
        return ArmName.parse(arm).samples or self.config.samples
