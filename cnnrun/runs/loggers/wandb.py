"""Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cnnrun.registry import loggers
from cnnrun.runs.loggers.logger import Logger, Row, numbers, require


@loggers.register("wandb")
class WandB(Logger):
    """A run of Weights & Biases, offline by default; `wandb sync` sends it (`cnnrun[wandb]`)."""

    def __init__(
        self,
        *,
        project: str | None = None,
        mode: Literal["offline", "online"] = "offline",
    ) -> None:
        """project: W&B project; by default the run's name.
        mode: `offline` writes to the run directory (`wandb sync` uploads it later), `online`
            uploads at once.
        """
        self.wandb = require("wandb", "wandb")
        self.project, self.mode = project, mode

    def start(self, run: Path, config: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        self.run = self.wandb.init(
            project=self.project or config["name"],
            name=run.name,
            dir=str(run),
            config=config,
            mode=self.mode,
            id=known.get("run"),
            resume="allow" if "run" in known else None,
            reinit="create_new",
            settings=self.wandb.Settings(silent=True, console="off"),
        )
        # A folder synced later replaces the same run's earlier one: so each has all epochs.
        return {"run": self.run.id, **({"epochs": 0} if self.mode == "offline" else {})}

    def epoch(self, row: Row) -> None:
        self.run.log({"epoch": row["epoch"], **numbers(row)}, step=int(row["epoch"]))

    def plot(self, name: str, file: Path) -> None:
        self.run.log({name: self.wandb.Image(str(file))})

    def end(self, summary: dict[str, Any]) -> None:
        for name, value in numbers(summary.get("test") or {}).items():
            self.run.summary[f"test_{name}"] = value
        self.run.finish(exit_code=0 if summary else 1)
