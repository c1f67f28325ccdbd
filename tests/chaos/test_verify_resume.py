"""`cnnrun verify-resume`: it finds no difference where there is none, and each that there is."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnrun.runs import verify_resume
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.verify_resume import Verdict, differences
from tests.chaos.runs import CONFIG, write_config
from tests.conftest import Command, Start

# Draws that nothing seeds: no two runs are the same.
UNSEEDED = """\
import os, torch
from cnnrun.registry import models

@models.register("unseeded")
class Unseeded(torch.nn.Module):
    \"\"\"A linear layer with noise from the system.\"\"\"

    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.head = torch.nn.Linear(64, num_classes)

    def forward(self, x):
        return self.head(x.flatten(1)) * (1 + os.urandom(1)[0] / 256)
"""


@pytest.fixture
def quick(forked: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its runs are forks, and temporary folders lie in an empty one."""
    monkeypatch.setattr(
        verify_resume._Runs,
        "start",
        lambda self, *arguments: forked(tmp_path, "train", "-q", *self.plugins, *arguments),
    )
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_run_that_resumes_exactly_is_found_to(cnnrun: Command, tmp_path: Path) -> None:
    write_config(tmp_path, CONFIG.replace("epochs: 3", "epochs: 3, draw: false"))
    ended = cnnrun("verify-resume", "chaos.yaml", "--kills", 2, "--epochs", 1, "--seed", 0,
                   "--json")  # fmt: skip
    assert ended.code == 0, ended.err
    verdict = json.loads(ended.out)
    assert verdict["same"]
    assert verdict["steps"] == 21
    assert len(verdict["resumed_at"]) >= 1
    assert "kill 1: resumed at step " in ended.err
    assert not list((tmp_path / "temporary").iterdir())
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_run_that_does_not_repeat_is_found_to(cnnrun: Command, tmp_path: Path) -> None:
    (tmp_path / "unseeded.py").write_text(UNSEEDED)
    (tmp_path / "x.yaml").write_text(
        "dataset: {name: digits, batch_size: 16}\nmodel: unseeded\ninitializer: default\n"
        "device: cpu\ntraining: {epochs: 2, draw: false}\n"
    )
    ended = cnnrun("verify-resume", "x.yaml", "--plugin", "unseeded.py", "--kills", 1)
    assert ended.code == 1
    assert ended.out.startswith("NOT the same bits after ")
    assert "metrics.jsonl: epoch 1: train_loss is " in ended.out
    assert "last.pt: model.head.weight" in ended.out
    assert "two uninterrupted runs differ as well" in ended.out


@pytest.mark.slow
def test_the_installed_command(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("verify-resume", tiny, "--kills", 1, "--limit", 1000)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("the same bits after ")


def test_a_mistake_and_a_run_that_fails_are_told(
    cnnrun: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = cnnrun("verify-resume", tiny, "optimizer.lr=x")
    assert ended.code == 2
    assert "optimizer.lr" in ended.err
    monkeypatch.setattr(verify_resume.sys, "executable", "/bin/false")
    ended = cnnrun("verify-resume", tiny)
    assert ended.code == 1
    assert "the run in 'whole' failed (exit 1)" in ended.err


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_run_that_is_too_short_to_be_killed(
    cnnrun: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path)
    monkeypatch.setattr(
        verify_resume._Runs, "_kill", lambda _self, process, *_: bool(process.wait())
    )
    ended = cnnrun("verify-resume", "chaos.yaml", "--epochs", 1, "--limit", 70)
    assert ended.code == 1
    assert "the run ended before it could be killed; give it more epochs" in ended.err


def _changed(file: Path, *keys: Any, value: Any) -> None:
    content = torch.load(file, weights_only=True)
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value(inner[keys[-1]])
    torch.save(content, file)


def test_each_difference_is_named(cnnrun: Command, tiny: Path) -> None:
    runs = [
        RunDirectory(Path(cnnrun("train", tiny, "-q", f"output={name}").out.strip()))
        for name in "ab"
    ]
    assert differences(*runs) == []
    last, best = runs[0].checkpoint("last"), runs[0].checkpoint("best")
    _changed(last, "model", "head.weight", value=lambda w: w.index_fill(0, torch.tensor(0), 1))
    _changed(best, "progress", "step", value=lambda step: step + 1)
    _changed(best, "optimizer", "param_groups", 0, "momentum", value=lambda _: 0.5)
    rows = runs[0].read_metrics()
    rows[1]["train_loss"] = 7.0
    runs[0].metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = runs[0].read_summary()
    runs[0].summary.write_text(json.dumps({**summary, "seconds": 1, "best_epoch": 9}))
    found = differences(*runs)
    assert found[0].startswith("metrics.jsonl: epoch 2: train_loss is 7.0 instead of ")
    assert found[1:] == [
        "summary.json",
        "last.pt: model.head.weight",
        "best.pt: optimizer.param_groups.0.momentum",
        "best.pt: progress.step",
    ]
    told = Verdict(10, [1], found).to_text()
    assert told.startswith("NOT the same bits after 10 steps, 1 kills:\n  metrics.jsonl")
