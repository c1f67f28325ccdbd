"""Existing runs below a folder, by what they compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cnnrun.config.experiment import Experiment
from cnnrun.config.identity import settings_part
from cnnrun.config.own_code import code_of
from cnnrun.engine.build_data import build_dataset
from cnnrun.errors import ConfigError, UserError
from cnnrun.multirun.launcher.job import Job
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.identity import key_of_run, recorded, unlike, unlike_record


class RunsFound:
    """Finds runs below `folder` that compute the same as a job; each config is read once.

    notify: called for runs with a job's settings that were computed from other code or data, once
    per cause.
    """

    def __init__(self, folder: Path, notify: Callable[[str], None] = lambda _: None) -> None:
        self.folder, self.notify = folder, notify
        # Only earlier runs' data are compared: new ones have the current data.
        self._from_before = set(folder.glob("*/*/config.yaml"))
        self._keys: dict[Path, str] = {}
        self._fingerprints: dict[str, str] = {}
        self._notified: set[str] = set()

    def of(self, job: Job) -> list[RunDirectory]:
        """The runs that compute the same as `job`, oldest first."""
        why = {run: self._unlike(run, job) for run in self._with_settings(job.key)}
        fitting = [run for run in why if not why[run]]
        if not fitting:
            for run in why:
                self.notify_once(why[run], run.path)
        return fitting

    def finished(self, job: Job) -> RunDirectory | None:
        return next((run for run in self.of(job) if run.read_summary()), None)

    def newest(self, job: Job) -> RunDirectory | None:
        """The one to resume, or the one in training."""
        return next(reversed(self.of(job)), None)

    def _with_settings(self, key: str) -> list[RunDirectory]:
        for config in self.folder.glob("*/*/config.yaml"):
            if config not in self._keys:
                try:
                    self._keys[config] = key_of_run(RunDirectory(config.parent))
                except ConfigError:
                    continue  # incomplete or damaged: can't be resumed
        wanted = settings_part(key)
        found = [
            path.parent for path, known in self._keys.items() if settings_part(known) == wanted
        ]
        return [RunDirectory(path) for path in sorted(found)]

    def _unlike(self, run: RunDirectory, job: Job) -> str:
        known = run.config in self._from_before and recorded(run).get("data")
        return unlike(run, self._code(job), self._fingerprint(job.experiment) if known else "")

    def why_unlike(self, held: Mapping[str, Any], job: Job) -> str:
        """As `runs.identity.unlike_record`, for a run whose directory may be elsewhere."""
        fingerprint = self._fingerprint(job.experiment) if held.get("data") else ""
        return unlike_record(held, self._code(job), fingerprint)

    def notify_once(self, why: str, where: Path) -> None:
        """Report why an earlier run in `where` is not used; once per cause."""
        if why not in self._notified:
            self._notified.add(why)
            self.notify(f"{where}: {why}; what was trained before is not used, but trained again")

    def _code(self, job: Job) -> dict[str, str]:
        return code_of(job.experiment.to_dict()) if job.experiment else {}

    def _fingerprint(self, experiment: Experiment | None) -> str:
        """The data's current fingerprint; "" if they can't be read, which training will report."""
        if experiment is None:
            return ""
        section = repr(experiment.dataset)
        if section not in self._fingerprints:
            try:
                self._fingerprints[section] = build_dataset(experiment).fingerprint
            except UserError:
                self._fingerprints[section] = ""
        return self._fingerprints[section]
