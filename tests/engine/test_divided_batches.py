"""Losses that compare the images of a batch are told from those that do not, however they come."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnrun.config.experiment import load
from cnnrun.engine.build import build
from cnnrun.engine.divided_batches import refuse_divided_batches
from cnnrun.errors import ConfigError

LOSS = """\
import torch
import torch.nn.functional as F
from cnnrun.plugin import losses

@losses.register("mine")
class Mine(torch.nn.Module):
    "A loss."
    def forward(self, outputs, targets):
        each = F.cross_entropy(outputs, targets, reduction="none")
        return {loss}
"""
CONFIG = """\
dataset: {name: digits, batch_size: 32, limit: 100}
model: {name: cnn, channels: [4], batch_norm: true, dropout: 0.5}
loss: mine
device: cpu
plugins: [mine.py]
"""


def refused(loss: str, *changes: str, processes: int = 2) -> bool:
    Path("mine.py").write_text(LOSS.format(loss=loss))
    Path("x.yaml").write_text(CONFIG)
    parts = build(load(Path("x.yaml"), changes))
    try:
        refuse_divided_batches(parts, processes)
    except ConfigError as error:
        assert "loss: the loss of an image of mine depends on the others" in str(error)  # noqa: PT017
        return True
    return False


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


pytestmark = pytest.mark.usefixtures("no_component_outlives_its_test")


@pytest.mark.parametrize(
    "loss",
    [
        "each",
        "each.mean()",
        "each * torch.rand(len(each))",
        "each * torch.arange(1, 1 + len(each))",  # each place counts another
        "F.mse_loss(outputs, F.one_hot(targets, 10).float())",
    ],
)
def test_sums_over_images_divide(loss: str) -> None:
    assert not refused(loss)


@pytest.mark.parametrize(
    "loss",
    [
        "each.topk(1).values.mean()",  # the hardest image
        "each * each.softmax(0)",
        "(each * targets).sum() / targets.sum()",  # a weighted mean
        "torch.logsumexp(outputs @ outputs.T, 1)",
        "each + outputs.std(0).sum()",
    ],
)
def test_what_compares_images_does_not(loss: str) -> None:
    assert refused(loss)
    assert refused(loss, "training.accumulate=2", processes=1)
    assert refused(loss, "training.auto_batch=true", processes=1)
    assert not refused(loss, processes=1)


def test_what_can_not_be_tried_is_left_to_the_first_step() -> None:
    assert not refused("each if len(each) > 2 else 1 / 0")
