"""Tiny experiments of every task that learns from targets, on shapes that are drawn at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DATA = {"name": "shapes", "classes": 3, "side": 16, "train": 120, "test": 40, "batch_size": 32}
CNN = {"name": "cnn", "channels": [4, 8], "batch_norm": True}

TASKS: dict[str, dict[str, Any]] = {
    "multilabel": {"dataset": {"targets": "label_sets"}, "model": CNN},
    "regress": {"dataset": {"targets": "values"}, "model": CNN},
    "segment": {
        "dataset": {"targets": "masks"},
        "model": {"name": "unet", "encoder": CNN},
    },
}
"""What each adds to `experiment`."""


def experiment(task: str, **changes: Any) -> dict[str, Any]:
    """A tiny experiment of `task` as a dict; `changes` go over whole sections."""
    own = TASKS[task]
    return {
        "name": task,
        "task": task,
        "dataset": {**DATA, **own["dataset"]},
        "model": own["model"],
        "optimizer": {"name": "adam", "lr": 0.01},
        "device": "cpu",
        "training": {"epochs": 2, "draw": False},
        **changes,
    }


def write(task: str, folder: Path, **changes: Any) -> Path:
    """The same as a YAML file in `folder`."""
    from cnnrun.config.yaml_words import dump

    file = folder / f"{task}.yaml"
    file.write_text(dump(experiment(task, **changes)))
    return file
