"""The runs below a folder, by what they compute."""

from __future__ import annotations

from pathlib import Path

from cnnrun.config.document import read
from cnnrun.errors import ConfigError
from cnnrun.multirun.launcher.job import key_of
from cnnrun.runs.directory import RunDirectory


class RunsFound:
    """Finds runs below `folder` by `key_of` their config; each config is read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._keys: dict[Path, str] = {}

    def of(self, key: str) -> list[RunDirectory]:
        """The runs that compute `key`, the oldest first."""
        for config in self.folder.glob("*/*/config.yaml"):
            if config not in self._keys:
                try:
                    self._keys[config] = key_of(read(config).values)
                except ConfigError:
                    continue  # being written, or damaged: no run to go on with
        found = [config.parent for config, known in self._keys.items() if known == key]
        return [RunDirectory(path) for path in sorted(found)]

    def finished(self, key: str) -> RunDirectory | None:
        return next((run for run in self.of(key) if run.read_summary()), None)

    def newest(self, key: str) -> RunDirectory | None:
        """The one to go on with, or the one that is training now."""
        return next(reversed(self.of(key)), None)
