"""What was not measured, or is NaN, is never a number: in the log, summary, terminal and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.runtime.test_strict_json import strict

PLUGIN = """
import torch
from torch import nn
from cnnrun.registry import losses, models


@models.register("fails_when_tested")
class FailsWhenTested(nn.Module):
    \"\"\"Gives NaN outside of training, as batch norm with infinite statistics does.\"\"\"

    def __init__(self, input_shape, num_classes, *, width: int = 4) -> None:
        super().__init__()
        self.layer = nn.Linear(input_shape[1] * input_shape[2], num_classes)

    def forward(self, images):
        outputs = self.layer(images.flatten(1))
        return outputs if self.training else outputs * torch.nan


@losses.register("never_a_number")
class NeverANumber(nn.Module):
    \"\"\"NaN for every sample.\"\"\"

    def forward(self, outputs, targets):
        return outputs.mean(1) * torch.nan
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("nan") / "nan_parts.py"
    file.write_text(PLUGIN)
    return file


def run_below(folder: Path) -> Path:
    [config] = folder.glob("runs/*/*/config.yaml")
    return config.parent


def test_a_validation_that_is_nan_to_the_end_is_told_and_kept(
    cnnrun: Command, tiny: Path, plugin: Path, tmp_path: Path
) -> None:
    usual = (tiny, "model={name: fails_when_tested}", "--plugin", plugin, "training.draw=false")
    ended = cnnrun("train", *usual)
    assert ended.code == 1
    assert "the validation accuracy or loss was NaN after each of the 2 epochs" in ended.err
    early = "epoch 1: the validation accuracy or loss is not a number; no epoch can be the best"
    assert ended.err.count("not a number; no epoch can be the best") == 1
    assert ended.err.index(early) < ended.err.index("was NaN after each"), "at once, and once"
    assert "last.pt" in ended.err
    assert "Traceback" not in ended.err
    assert "validation loss NaN" in ended.err or "validation loss -" in ended.err
    run = run_below(tmp_path)
    summary = strict((run / "summary.json").read_text())
    assert (summary["best_epoch"], summary["best"], summary["test"]) == (None, {}, {})
    rows = [strict(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["validation_loss"] for row in rows] == [None, None]
    assert [row["validation_accuracy"] for row in rows] == [0, 0], "NaN is no right answer"

    scores = strict(cnnrun("eval", run, "--plugin", plugin, "--json").out)
    assert scores["loss"] is None
    assert scores["ece"] is None
    assert (scores["accuracy"], scores["top5"], scores["unanswered"]) == (0, 0, scores["samples"])
    words = cnnrun("eval", run, "--plugin", plugin).out
    assert "outputs are NaN: counted as wrong" in words
    for command in (("runs", "--json"), ("compare", "runs", "--json")):
        listed = cnnrun(*command)
        if listed.code == 0:
            strict(listed.out)

    assert cnnrun("train", tiny, "training.draw=false", "-q").code == 0
    found = strict(cnnrun("compare", "runs", "--json").out)
    assert [group["mean"] is None for group in found["groups"]] == [False, True]
    assert cnnrun("report", "runs").code == 0
    again = cnnrun("train", "--resume", run, "--plugin", plugin)
    assert again.code == 0, again.err


def test_a_loss_of_skipped_steps_is_not_zero(
    cnnrun: Command, tiny: Path, plugin: Path, tmp_path: Path
) -> None:
    ended = cnnrun("train", tiny, "loss=never_a_number", "training.on_nan=skip",
                   "--plugin", plugin, "training.draw=false")  # fmt: skip
    assert ended.code == 1
    assert "train loss -" in ended.err
    assert "0.0000" not in ended.err
    log = (run_below(tmp_path) / "metrics.jsonl").read_text()
    rows = [strict(line) for line in log.splitlines()]
    assert [row["train_loss"] for row in rows] == [None, None]
    assert [row["train_accuracy"] for row in rows] == [None, None]


def test_without_a_validation_split_nothing_is_the_best(
    cnnrun: Command, tiny: Path, tmp_path: Path
) -> None:
    ended = cnnrun("train", tiny, "dataset.validation=0", "training.draw=false")
    assert ended.code == 0, ended.err
    assert "(epoch 2, the last)" in ended.out
    assert "best" not in ended.out + ended.err
    run = run_below(tmp_path)
    assert json.loads((run / "summary.json").read_text())["monitor"] is None
    assert cnnrun("report", run).code == 0
    page = (run / "report.html").read_text()
    assert "last epoch" in page
    assert "best epoch" not in page


def test_many_seeds_go_on_when_one_has_no_best_epoch(
    cnnrun: Command, tiny: Path, plugin: Path, tmp_path: Path
) -> None:
    ended = cnnrun("train", tiny, "model={name: fails_when_tested}", "--plugin", plugin,
                   "training.draw=false", "--seeds", "2")  # fmt: skip
    assert ended.code == 1
    assert ended.err.count("was NaN after each of the 2 epochs") == 2
    assert len(list(tmp_path.glob("runs/*/*/summary.json"))) == 2
