"""Forwards a run's events to its loggers, and keeps their failures from training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnnrun import registry
from cnnrun.config.experiment import Experiment
from cnnrun.errors import UserError, in_user_code
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.loggers.logger import Logger, Row
from cnnrun.runtime import console
from cnnrun.runtime.distributed import world
from cnnrun.runtime.files import write_json
from cnnrun.runtime.reading import read_json


def build_loggers(experiment: Experiment) -> dict[str, Logger]:
    """The loggers of an experiment, by name; only the main process has any.

    Raises:
        ConfigError: a package is missing, with the place and the extra that has it.
    """
    found: dict[str, Logger] = {}
    if world().is_main:
        for number, config in enumerate(experiment.loggers):
            with experiment.located("loggers", number):
                found[config.name] = registry.loggers.build(config)
    return found


class Reports:
    """The loggers that still work. One that fails is reported once and then left out.

    `loggers.json` in the run directory has what each needs to know when the run is resumed, and how
    many epochs it has, so that none is logged twice or missed.
    """

    def __init__(self, loggers: dict[str, Logger], run: RunDirectory) -> None:
        self.loggers, self.run = dict(loggers), run
        self.known: dict[str, dict[str, Any]] = {}

    def start(self, experiment: Experiment) -> None:
        """Also forwards epochs that were trained before but not logged."""
        if not self.loggers:
            return
        file = self.run.logged
        try:
            self.known = dict(read_json(file))
        except (UserError, ValueError, TypeError):
            self.known = {}
        config, rows = experiment.to_dict(), self.run.read_metrics()
        for name in list(self.loggers):
            known = self.known.get(name, {})
            # Epochs that the run has lost and trains again are logged again.
            known = {**known, **({"epochs": min(known["epochs"], len(rows))} if known else {})}
            returned = self._try(name, lambda logger: logger.start(self.run.path, config, known))  # noqa: B023
            self.known[name] = {"epochs": known.get("epochs", 0), **(returned or {})}
        for row in rows:
            self.epoch(row)

    def epoch(self, row: Row) -> None:
        """An epoch has ended."""
        for name in list(self.loggers):
            if row["epoch"] > self.known[name]["epochs"]:
                self._try(name, lambda logger: logger.epoch(row))
                self.known[name]["epochs"] = row["epoch"]
        if self.loggers:
            write_json(self.run.logged, self.known)

    def end(self, summary: dict[str, Any]) -> None:
        """The run has ended: its summary if it finished, {} if it stopped."""
        plots = sorted(self.run.plots.glob("*.png")) if summary and self.loggers else []
        for name in list(self.loggers):
            for file in plots:
                self._try(name, lambda logger: logger.plot(file.stem, file))  # noqa: B023
            self._try(name, lambda logger: logger.end(summary))
        self.loggers.clear()

    def _try(self, name: str, call: Callable[[Logger], Any]) -> Any:
        if name not in self.loggers:
            return None
        try:
            return call(self.loggers[name])
        except Exception as error:
            del self.loggers[name]
            reason = in_user_code(error) or str(error).partition("\n")[0] or type(error).__name__
            console.warn(f"the logger '{name}' failed and is left out: {reason}")
            return None
