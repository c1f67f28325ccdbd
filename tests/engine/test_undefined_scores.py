"""Scores that the data leave undefined: never 0, in no place; the loss then chooses the epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Command

SETS = np.eye(3, dtype=np.uint8)[np.arange(24) % 3]

# For each task: the targets to train on, those of validation and test, and what these leave open.
UNDEFINED: dict[str, tuple[Any, Any, list[str]]] = {
    "classify": (np.arange(24) % 2, np.zeros(6, np.int64), ["auroc"]),
    "multilabel": (SETS, np.zeros((6, 3), np.uint8), ["map"]),
    "regress": (np.arange(24, dtype=np.float32)[:, None], np.ones((6, 1), np.float32), ["r2"]),
    "segment": (
        np.arange(24 * 64).reshape(24, 8, 8).astype(np.uint8) % 3,
        np.full((6, 8, 8), 255, np.uint8),
        ["miou", "pixel_accuracy"],
    ),
}  # fmt: skip
MODELS = {"segment": "{name: unet, encoder: {name: cnn, channels: [4, 4]}}"}


def _config(folder: Path, task: str) -> Path:
    train, others, _ = UNDEFINED[task]
    random = np.random.default_rng(0)
    parts = {"train": train, "validation": others, "test": others}
    arrays = {}
    for name, targets in parts.items():
        key = {"validation": "val"}.get(name, name)
        arrays[f"x_{key}"] = random.integers(0, 256, (len(targets), 8, 8), dtype=np.uint8)
        arrays[f"y_{key}"] = targets
    np.savez(folder / "a.npz", **arrays)
    model = MODELS.get(task, "{name: mlp, hidden: [4]}")
    file = folder / f"{task}.yaml"
    targets = {"multilabel": ", targets: label_sets"}.get(task, "")
    file.write_text(
        f"task: {task}\ndataset: {{name: npz, file: a.npz, batch_size: 8{targets}}}\n"
        f"model: {model}\noptimizer: {{name: sgd, lr: 0.01}}\ndevice: cpu\n"
        "training: {epochs: 2, draw: false}\n"
    )
    return file


@pytest.mark.parametrize("task", UNDEFINED)
def test_what_is_undefined_is_null_and_a_dash(
    cnnrun: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file, names = _config(tmp_path, task), UNDEFINED[task][2]
    runs = []
    for seed in (0, 1):
        ended = cnnrun("train", file, f"seed={seed}", "-q")
        assert ended.code == 0, ended.err
        runs.append(Path(ended.out.strip()))
    summary = json.loads((runs[0] / "summary.json").read_text())
    assert summary["best"]["epoch"], "the loss chooses among epochs whose score is undefined"
    rows = [json.loads(line) for line in (runs[0] / "metrics.jsonl").read_text().splitlines()]
    logged = [name for name in names if f"validation_{name}" in rows[0]]
    told = cnnrun("eval", runs[0])
    found = json.loads(cnnrun("eval", runs[0], "--json").out)
    for name in names:
        assert summary["test"][name] is None
        assert found[name] is None
    assert all(row[f"validation_{name}"] is None for row in rows for name in logged)
    shown = {"auroc": "AUROC", "map": "mean average precision", "r2": "R2", "miou": "mIoU"}
    assert any(line.split() == [*shown[names[0]].split(), "-"] for line in told.out.splitlines())
    for command in (["runs"], ["compare", *runs, "--metric", names[0]], ["report", *runs]):
        ended = cnnrun(*command)
        assert ended.code == 0, ended.err
        assert "NaN " not in ended.out.replace("(NaN or", "")
        assert "is the seed used" not in ended.err
    resumed = cnnrun("train", "--resume", runs[0], "training.epochs=3")
    assert resumed.code == 0, resumed.err
    assert "chosen again" not in resumed.err
