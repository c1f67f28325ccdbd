"""Stochastic weight averaging: torch's own average of the same epochs, and a run like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, update_bn

from cnnrun.config.experiment import load
from cnnrun.engine.build import build
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runtime.randomness import shuffled
from tests.conftest import Command

CONFIG = """\
dataset: {name: digits, batch_size: 50, limit: 300, validation: 100}
model: {name: cnn, channels: [6], batch_norm: true}
optimizer: {name: sgd, lr: 0.2}
device: cpu
training: {epochs: 4, swa: 0.5, draw: false, channels_last: false}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "swa.yaml"
    file.write_text(CONFIG)
    return file


def test_weights_and_statistics_are_those_of_torchs_average(cnnrun: Command, config: Path) -> None:
    run = Path(cnnrun("train", config, "-q").out.strip())
    parts = build(load(config))
    model, split = parts.model, parts.dataset.train
    average = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    for epoch in range(4):
        model.train()
        for chosen in shuffled(len(split), 0, epoch).split(50):
            inputs, labels = parts.pipeline(split.images[chosen], split.labels[chosen], None)
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if epoch >= 2:
            average.update_parameters(model)
    whole, _ = parts.pipeline(split.images[torch.arange(len(split))], split.labels, None)
    update_bn(whole.split(50), average)
    saved = Checkpoint.load(run / "checkpoints/last.pt")
    expected = {
        name: value for name, value in average.module.state_dict().items() if "tracked" not in name
    }
    kept = {name: saved.model[name] for name in expected}
    torch.testing.assert_close(kept, dict(expected), rtol=1e-4, atol=1e-5)
    raw = {name: saved.raw[name] for name in expected if "running" not in name}
    own = {name: model.state_dict()[name] for name in raw}
    torch.testing.assert_close(raw, own, rtol=1e-4, atol=1e-5)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scores = json.loads(
        cnnrun("eval", run / "checkpoints/last.pt", "--split", "validation", "--json").out
    )
    assert scores["loss"] == pytest.approx(rows[-1]["validation_loss"], rel=1e-5)


@pytest.mark.parametrize("step", [5, 11, 15])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(
    config: Path, killed_and_resumed: Callable[..., tuple[Path, Path]], step: int
) -> None:
    """Before the first average, in its epoch, and in the one after it."""
    whole, cut = killed_and_resumed(step, config, "training.epochs=5")
    ours, theirs = (Checkpoint.load(run / "checkpoints/last.pt") for run in (whole, cut))
    for part in ("model", "raw"):
        torch.testing.assert_close(getattr(ours, part), getattr(theirs, part), rtol=0, atol=0)
    assert ours.progress["averaged"] == 3


def test_the_mean_of_a_run_that_is_extended_starts_where_the_longer_run_has_it(
    cnnrun: Command, config: Path
) -> None:
    """Before that point the run is the longer one to the last bit; after it, that is said."""
    short, whole = (
        Path(cnnrun("train", config, f"training.epochs={epochs}", "-q").out.strip())
        for epochs in (3, 6)
    )
    ended = cnnrun("train", "--resume", short, "training.epochs=6")
    assert "which had started in epoch 2, restarts in epoch 4" in ended.err
    ours, theirs = (Checkpoint.load(run / "checkpoints/last.pt") for run in (short, whole))
    for part in ("model", "raw"):
        torch.testing.assert_close(getattr(ours, part), getattr(theirs, part), rtol=0, atol=0)
    assert ours.progress["averaged"] == theirs.progress["averaged"] == 3
    ended = cnnrun("train", "--resume", whole, "training.epochs=8")
    assert "starts in epoch 4; with this training.epochs from the beginning it would" in ended.err
    assert Checkpoint.load(whole / "checkpoints/last.pt").progress["averaged"] == 5


def test_what_is_frozen_keeps_its_statistics(cnnrun: Command, config: Path) -> None:
    run = Path(cnnrun("train", config, "-q").out.strip())
    tuned = cnnrun(
        "train", config, f"transfer={{weights: {run}, freeze: '*norm*'}}", "training.swa=0", "-q"
    )
    assert tuned.code == 0, tuned.err
    before, after = (
        Checkpoint.load(Path(each) / "checkpoints" / name).model
        for each, name in ((run, "best.pt"), (tuned.out.strip(), "last.pt"))
    )
    norms = [name for name in before if "running" in name]
    assert norms
    assert all(torch.equal(before[name], after[name]) for name in norms)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["training.ema=0.9"], "training.swa: ema also averages the weights"),
        (["--seeds", "2"], "training.swa: does not work with many seeds at once"),
        (["training.swa=1"], "training.swa: expected less than 1"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    cnnrun: Command, config: Path, options: list[str], told: str
) -> None:
    ended = cnnrun("train", config, *options)
    assert ended.code == 2
    assert told in ended.err


GAN_LIKE = """\
import torch
from cnnrun.plugin import models

@models.register("two_ways")
class TwoWays(torch.nn.Module):
    "A classifier with a part that images do not pass."
    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.head = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, num_classes)
        )
        self.beside = torch.nn.BatchNorm1d(3)

    def forward(self, x):
        if self.training:
            self.beside(x[:, 0, 0, :3] + 5)
        return self.head(x)
"""


def test_what_images_do_not_pass_keeps_its_statistics(cnnrun: Command, config: Path) -> None:
    """In eval mode, in which the statistics are measured, its layers are not computed."""
    Path("two.py").write_text(GAN_LIKE)
    ended = cnnrun("train", config, "model=two_ways", "--plugin=two.py", "-q")
    assert ended.code == 0, ended.err
    saved = Checkpoint.load(Path(ended.out.strip()) / "checkpoints/last.pt")
    for part in (saved.model, saved.raw):
        assert (part["beside.running_mean"] > 2).all()
    assert saved.model["head.1.num_batches_tracked"] == saved.raw["head.1.num_batches_tracked"]
