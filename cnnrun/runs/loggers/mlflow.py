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

# MLflow refuses more parameters at once, and longer ones.
_AT_ONCE, _LONGEST = 100, 500


@loggers.register("mlflow")
class MLflow(Logger):
    """A run in MLflow's store: a folder, a database or a server (`cnnrun[mlflow]`)."""

    def __init__(self, *, uri: str = "sqlite:///mlflow.db", experiment: str | None = None) -> None:
        """uri: of the store, e.g. http://host:5000; `${NAME}` in it is a variable of the shell.

        experiment: by default the run's name.

        Raises:
            UserError: a password stands in the uri, as it would in the run's config and report.
        """
        require("mlflow", "mlflow")
        self.uri, self.experiment = _without_secrets(uri), experiment

    def begin(self, run: Path, config: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self.client = MlflowClient(tracking_uri=self.uri)
        if "run" in known:
            self.id = str(known["run"])
            self.client.update_run(self.id, status="RUNNING")
            return known
        name = self.experiment or str(config["name"])
        found = self.client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self.client.create_experiment(name)
        begun = self.client.create_run(experiment, run_name=run.name)
        self.id = begun.info.run_id
        settings = [Param(k, str(v)[:_LONGEST]) for k, v in flattened(config).items()]
        for start in range(0, len(settings), _AT_ONCE):
            self.client.log_batch(self.id, params=settings[start : start + _AT_ONCE])
        self.client.log_artifact(self.id, str(run / "config.yaml"))
        return {"run": self.id}

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


def _without_secrets(uri: str) -> str:
    """`uri` with its variables read.

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
