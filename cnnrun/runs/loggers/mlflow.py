"""MLflow's tracking store."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from cnnrun.config.document import flattened
from cnnrun.errors import UserError
from cnnrun.registry import loggers
from cnnrun.runs.loggers.logger import Logger, Row, numbers, require

# MLflow's limits for parameters per request, and for their length.
_AT_ONCE, _LONGEST = 100, 500


@loggers.register("mlflow")
class MLflow(Logger):
    """A run in MLflow's store: a folder, a database or a server (`cnnrun[mlflow]`)."""

    def __init__(self, *, uri: str = "sqlite:///mlflow.db", experiment: str | None = None) -> None:
        """
        `${NAME}` in it is an environment variable.

        uri: Address of the store, e.g. http://host:5000; `${NAME}` in it is an environment
            variable.
        experiment: Name of the MLflow experiment; by default the run's name.

        Raises:
            UserError: the uri contains a password, which would end up in the run's config and
            report.
        """
        require("mlflow", "mlflow")
        self.uri, self.experiment = _without_secrets(uri), experiment

    def start(self, run: Path, config: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self.client = MlflowClient(tracking_uri=self.uri)
        if "run" in known:
            self.id = str(known["run"])
            self.client.update_run(self.id, status="RUNNING")
            self._note_changes(run, config)
            return known
        name = self.experiment or str(config["name"])
        found = self.client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self.client.create_experiment(name)
        created = self.client.create_run(experiment, run_name=run.name)
        self.id = created.info.run_id
        settings = [Param(key, value) for key, value in _settings(config).items()]
        for start in range(0, len(settings), _AT_ONCE):
            self.client.log_batch(self.id, params=settings[start : start + _AT_ONCE])
        self.client.log_artifact(self.id, str(run / "config.yaml"))
        return {"run": self.id}

    def _note_changes(self, run: Path, config: dict[str, Any]) -> None:
        """Log settings that were changed on resuming.

        A logged parameter can't be changed in MLflow; a tag of the same name has the present value.
        """
        held = self.client.get_run(self.id).data
        for key, value in _settings(config).items():
            if held.tags.get(key, held.params.get(key)) != value:
                self.client.set_tag(self.id, key, value)
        for name in ("config.yaml", "changes.jsonl"):
            if (run / name).is_file():
                self.client.log_artifact(self.id, str(run / name))

    def epoch(self, row: Row) -> None:
        import time

        from mlflow.entities import Metric

        now = int(1000 * time.time())
        found = [Metric(name, v, now, int(row["epoch"])) for name, v in numbers(row).items()]
        self.client.log_batch(self.id, metrics=found)

    def plot(self, name: str, file: Path) -> None:  # noqa: ARG002
        self.client.log_artifact(self.id, str(file), "plots")

    def end(self, summary: dict[str, Any]) -> None:
        for name, value in numbers(summary.get("test") or {}).items():
            self.client.log_metric(self.id, f"test_{name}", value)
        self.client.set_terminated(self.id, "FINISHED" if summary else "KILLED")


def _settings(config: dict[str, Any]) -> dict[str, str]:
    return {key: str(value)[:_LONGEST] for key, value in flattened(config).items()}


def _without_secrets(uri: str) -> str:
    """`uri` with its variables expanded.

    Raises:
        UserError: a variable is not set, or a password is none.
    """
    if re.search(r"//[^/@:]*:(?!\$\{)[^/@]+@|[?&](password|passwd|token)=(?!\$\{)", uri):
        raise UserError(
            "uri: a password would stand in the run's config.yaml; keep it in a variable of the "
            "shell, and write its name: //user:${MLFLOW_PASSWORD}@host"
        )

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise UserError(f"uri: the variable {found[1]} is not set")
        return os.environ[found[1]]

    return re.sub(r"\$\{(\w+)\}", value, uri)
