"""The best epoch is the best by one thing, also after what chooses it was changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command


def best_of(rows: list[dict[str, Any]], monitor: str) -> int:
    """The epoch that a plain look at the rows chooses: the first of the best."""
    if monitor == "loss":
        return int(min(rows, key=lambda row: row["validation_loss"])["epoch"])
    best = max(rows, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))
    return int(best["epoch"])


@pytest.mark.parametrize(("first", "second"), [("accuracy", "loss"), ("loss", "accuracy")])
def test_a_changed_monitor_compares_like_with_like(
    cnnrun: Command, tiny: Path, first: str, second: str
) -> None:
    usual = ("training.draw=false", "optimizer.lr=0.4", "model.dropout=0.5")
    begun = cnnrun("train", tiny, *usual, f"training.monitor={first}", "training.epochs=3", "-q")
    assert begun.code == 0, begun.err
    run = Path(begun.out.strip())
    kept = json.loads((run / "summary.json").read_text())["best_epoch"]
    changes = (f"training.monitor={second}", "training.epochs=9")
    ended = cnnrun("train", "--resume", run, *changes, "-q")
    assert ended.code == 0, ended.err
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert best_of(rows[:3], first) == kept
    summary = json.loads((run / "summary.json").read_text())
    # Of the first epochs, the weights of the one that was kept alone are still there.
    assert summary["best_epoch"] == best_of([rows[kept - 1], *rows[3:]], second)
    assert summary["monitor"] == second
