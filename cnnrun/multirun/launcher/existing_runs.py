"""The runs below a folder, by what they compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cnnrun.config.experiment import Experiment
from cnnrun.config.own_code import code_of
from cnnrun.engine.build_data import build_dataset
from cnnrun.errors import ConfigError, UserError
from cnnrun.multirun.launcher.job import Job
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.identity import key_of_run, recorded, settings_of, unlike


class RunsFound:
    """Finds runs below `folder` that compute what a job wants; each config is read once.

    tell: is told, once, of a run that has a job's settings and was computed from other code or data
    all the same.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda _: None) -> None:
        self.folder, self.tell = folder, tell
        # Data are compared of runs from before: those that begin now have them as they are.
        self._from_before = set(folder.glob("*/*/config.yaml"))
        self._keys: dict[Path, str] = {}
        self._fingerprints: dict[str, str] = {}
        self._told: set[Path] = set()

    def of(self, job: Job) -> list[RunDirectory]:
        """The runs that compute what `job` wants, the oldest first."""
        return [run for run in self._with_settings(job.key) if not self._unlike(run, job)]

    def finished(self, job: Job) -> RunDirectory | None:
        return next((run for run in self.of(job) if run.read_summary()), None)

    def newest(self, job: Job) -> RunDirectory | None:
        """The one to go on with, or the one that is training now."""
        return next(reversed(self.of(job)), None)

    def _with_settings(self, key: str) -> list[RunDirectory]:
        for config in self.folder.glob("*/*/config.yaml"):
            if config not in self._keys:
                try:
                    self._keys[config] = key_of_run(RunDirectory(config.parent))
                except ConfigError:
                    continue  # being written, or damaged: no run to go on with
        wanted = settings_of(key)
        found = [path.parent for path, known in self._keys.items() if settings_of(known) == wanted]
        return [RunDirectory(path) for path in sorted(found)]

    def _unlike(self, run: RunDirectory, job: Job) -> str:
        experiment = job.experiment
        code = code_of(experiment.to_dict()) if experiment else {}
        known = run.config in self._from_before and recorded(run).get("data")
        fingerprint = self._fingerprint(experiment) if experiment and known else ""
        why = unlike(run, code, fingerprint)
        if why and run.path not in self._told:
            self._told.add(run.path)
            self.tell(f"{run.path} has the settings of a run that is wanted, but {why}")
        return why

    def _fingerprint(self, experiment: Experiment) -> str:
        """Of the data as they are now; "" where they can't be had, which training will tell."""
        section = repr(experiment.dataset)
        if section not in self._fingerprints:
            try:
                self._fingerprints[section] = build_dataset(experiment).fingerprint
            except UserError:
                self._fingerprints[section] = ""
        return self._fingerprints[section]
