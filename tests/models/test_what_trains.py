"""What is frozen, rests, unfreezes, is cached, trains at which rate: as the plain loop has it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnrun.config.experiment import Experiment, load
from cnnrun.engine import frozen_features, trainer
from cnnrun.engine.build import build
from cnnrun.errors import ConfigError, UserError
from cnnrun.models.cnn import CNN
from cnnrun.models.surgery import restructure
from cnnrun.models.trainable import Trainable
from cnnrun.models.transfer import Transfer
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runtime.distributed import synchronize_norms
from tests.conftest import Command
from tests.forking import together
from tests.fuzz.reference import Reference

CONFIG = """\
name: matrix
dataset: {name: digits, limit: 180, validation: 0.2, batch_size: 24}
model:
  {name: cnn, channels: [4, 6], batch_norm: true, spatial_dropout: 0.1, head: [12], dropout: 0.3}
initializer: kaiming_normal
optimizer: {name: sgd, lr: 0.05, momentum: 0.9, weight_decay: 0.01}
device: cpu
training: {epochs: 3, draw: false}
"""
ADAM = "optimizer={name: adam, lr: 0.01}"
NO_DROPOUT = "model={name: cnn, channels: [4, 6], batch_norm: true, head: [12]}"
PLAIN = "model={name: cnn, channels: [4, 6], head: [12]}"

# What is asked for, the head that it has, and whether features are kept.
MATRIX: dict[str, tuple[list[str], str, bool]] = {
    "all trains": (["transfer={freeze: none}"], "head.4", False),
    "features": (["transfer={freeze: features}"], "head.4", True),
    "features, adam": (["transfer={freeze: features}", ADAM], "head.4", True),
    "a new layer": (["transfer={freeze: features, head: []}"], "head.4", True),
    "a new head of two": (["transfer={freeze: features, head: [7]}"], "head.4", True),
    "of three, adam": (["transfer={freeze: features, head: [7, 5]}", ADAM], "head.4", True),
    "cut": (["transfer={freeze: features, cut: features.0, head: [9]}"], "head", True),
    "a case": (["transfer={case: small_different, head: [9]}"], "head", True),
    "pattern with its dropout": (["transfer={freeze: 'features*'}"], "head.4", True),
    "first block": (["transfer={freeze: features.0}"], "head.4", False),
    "names with a star": (["transfer={freeze: '*conv*'}"], "head.4", False),
    "norms alone": (["transfer={freeze: '*norm*'}"], "head.4", False),
    "the last layer": (["transfer={freeze: head.4}"], "head.4", False),
    "all, new head": (["transfer={freeze: '*', head: [7]}"], "head.4", True),
    "rates": (
        ["transfer={lr_multipliers: {features.0: 0.1, features: 0.5}, head: [7]}"],
        "head.4", False,
    ),
    "large similar": (["transfer={case: large_similar, head: [7]}"], "head.4", False),
    "unfreezes": (["transfer={freeze: features, unfreeze_at: 2}"], "head.4", False),
    "unfreezes at once": (["transfer={freeze: features, unfreeze_at: 1}"], "head.4", False),
    "unfreezes never": (["transfer={freeze: features, unfreeze_at: 9}"], "head.4", False),
    "unfreezes at its rates": (
        ["transfer={freeze: features, unfreeze_at: 2, head: [7], "
         "lr_multipliers: {features.0: 0.05, features: 0.2, head.4.3: 2}}"],
        "head.4", False,
    ),
    "unfreezes at its rates, adam": (
        ["transfer={freeze: features.*, unfreeze_at: 3, lr_multipliers: {features: 0.1}}", ADAM],
        "head.4", False,
    ),
    "cut, unfreezes": (
        ["transfer={cut: features.1, freeze: features, head: [], unfreeze_at: 2}", NO_DROPOUT],
        "head", False,
    ),
    "augmented": (
        ["transfer={freeze: features}", "dataset.augment=[rotation]"], "head.4", False,
    ),
    "no dropout": (["transfer={freeze: features, head: [7]}", NO_DROPOUT], "head.3", True),
    "plain": (["transfer={freeze: 'features*', unfreeze_at: 3}", PLAIN], "head.3", False),
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "matrix.yaml"
    file.write_text(CONFIG)
    return file


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_as_reference(run: Path, experiment: Experiment, head: str) -> None:
    wanted, last = Reference(experiment, head).train()
    rows = rows_of(run)
    for key in ("train_loss", "validation_loss"):
        expected = [row[key] for row in wanted]
        assert [row[key] for row in rows] == pytest.approx(expected, rel=1e-4), key
    weights = Checkpoint.load(run / "checkpoints" / "last.pt").model
    assert weights.keys() == last.keys()
    for key, value in weights.items():
        torch.testing.assert_close(value, last[key], rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", MATRIX)
def test_what_trains_is_what_the_plain_loop_trains(
    cnnrun: Command, config: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, head, kept = MATRIX[name]
    cached: list[bool] = []
    original = trainer.on_frozen_features

    def noted(*given: Any) -> Any:
        found = original(*given)
        cached.append(found is not None)
        return found

    monkeypatch.setattr(trainer, "on_frozen_features", noted)
    ended = cnnrun("train", config, "-q", *changes)
    assert ended.code == 0, ended.err
    assert cached == [kept]
    assert_as_reference(Path(ended.out.strip()), load(config, changes), head)


@pytest.mark.parametrize(
    "name", ["features", "pattern with its dropout", "a new head of two", "cut"]
)
def test_features_that_are_kept_change_nothing(
    cnnrun: Command, config: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, head, _ = MATRIX[name]
    monkeypatch.setattr(trainer, "on_frozen_features", lambda *_: None)
    ended = cnnrun("train", config, "-q", *changes)
    assert_as_reference(Path(ended.out.strip()), load(config, changes), head)


@pytest.mark.parametrize("step", [5, 7, 9, 13])
@pytest.mark.parametrize(
    "name", ["unfreezes at its rates", "unfreezes at its rates, adam", "features"]
)
def test_a_run_goes_on_across_the_unfreezing(
    killed_and_resumed: Any, config: Path, name: str, step: int
) -> None:
    """6 steps an epoch: before all is unfrozen, then, and after it."""
    changes, *_ = MATRIX[name]
    whole, cut = killed_and_resumed(step, config, *changes)
    wanted, found = (Checkpoint.load(run / "checkpoints" / "last.pt") for run in (whole, cut))
    for key, value in wanted.model.items():
        assert torch.equal(found.model[key], value), key
    assert found.optimizer["param_groups"] == wanted.optimizer["param_groups"]


def test_a_run_of_an_earlier_version_goes_on_to_its_unfreezing(
    cnnrun: Command, config: Path
) -> None:
    """Its optimizer had no group yet for what was still frozen."""
    changes, *_ = MATRIX["unfreezes"]
    whole = Path(cnnrun("train", config, "-q", *changes).out.strip())
    run = Path(cnnrun("train", config, "-q", *changes, "training.epochs=1").out.strip())
    last = run / "checkpoints" / "last.pt"
    checkpoint = Checkpoint.load(last)
    del checkpoint.optimizer["param_groups"][1]
    checkpoint.save(last)
    ended = cnnrun("train", "--resume", run, "-q", "training.epochs=3")
    assert ended.code == 0, ended.err
    assert rows_of(run) == rows_of(whole)


def test_growing_images_are_no_fixed_features(cnnrun: Command, config: Path) -> None:
    """What is frozen sees other images in each epoch: nothing of it can be kept."""
    model = "model={name: cnn, channels: [4], head_pooling: average}"
    growing = "training.progressive_from=0.5"
    ended = cnnrun("train", config, "-q", model, growing, "transfer.freeze=features")
    assert ended.code == 0, ended.err


def test_long_computing_of_features_is_told(
    cnnrun: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_features, "LONG", 0.0)
    monkeypatch.setattr(trainer, "evaluation_batch_size", lambda _parts: 50)
    ended = cnnrun("train", config, "transfer.freeze=features")
    assert "computing the frozen features of 144 images once, " in ended.err


def test_head_dropout_counts_where_features_are_frozen(cnnrun: Command, config: Path) -> None:
    def losses(dropout: float) -> list[float]:
        model = f"model={{name: cnn, channels: [4], dropout: {dropout}}}"
        run = cnnrun("train", config, "-q", model, "transfer.freeze=features").out.strip()
        return [row["train_loss"] for row in rows_of(Path(run))]

    assert losses(0.01) != pytest.approx(losses(0.9), rel=0.1)


@pytest.mark.slow
def test_two_processes_unfreeze_alike(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is unfrozen is synchronized from then on; frozen batch normalization rests in both."""
    changes = [
        "transfer={freeze: features, unfreeze_at: 2, head: [7], lr_multipliers: {features: 0.2}}",
        PLAIN,
        "dataset.batch_size=26",
    ]
    monkeypatch.chdir(config.parent)
    ended = together(2, "train", config, "-q", *changes)
    assert ended.code == 0, ended.err
    assert_as_reference(config.parent / ended.out.strip(), load(config, changes), "head.3")


def test_norms_that_were_converted_rest_where_they_are_frozen() -> None:
    model = CNN((1, 8, 8), 10, channels=[4, 4], batch_norm=True)
    trainable = Trainable(model, Transfer(freeze="features.0"), None, (1, 8, 8))
    synchronize_norms(model)
    trainable.start_epoch(0)
    modes = {n: m.training for n, m in model.named_modules() if isinstance(m, nn.SyncBatchNorm)}
    assert modes == {"features.0.norm": False, "features.1.norm": True}


def test_synchronized_norms_on_cpus_are_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = build(load(config, ["training.sync_batch_norm=true"]))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="sync_batch_norm: it works only between GPUs"):
        trainer.Trainer(parts)


class _DropConnect(nn.Module):
    """A block whose randomness is no layer, as in many networks' `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3, affine=False)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.conv(images))
        return maps * (torch.rand(len(maps), 1, 1, 1) > 0.5) if self.training else maps


class _Flat(nn.Module):
    """All layers in parallel; what is random or counts has no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.block = _DropConnect()
        self.dropped = nn.Dropout(0.5)
        self.conv = nn.Conv2d(3, 2, 3)
        self.statistics = nn.BatchNorm2d(2, affine=False)
        self.of_head = nn.Dropout(0.5)
        self.head = nn.Linear(72, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.statistics(self.conv(self.dropped(self.block(images))))
        logits: Tensor = self.head(self.of_head(maps.flatten(1)))
        return logits


@pytest.mark.parametrize(
    ("pattern", "train"),
    [
        ("features", {"", "of_head", "head"}),
        ("block", {"", "dropped", "conv", "statistics", "of_head", "head"}),
        ("[!h]*", {"", "of_head", "head"}),
        ("conv", {"", "block", "block.conv", "block.norm", "dropped", "statistics", "of_head",
                  "head"}),
        ("head", {"", "block", "block.conv", "block.norm", "dropped", "conv", "statistics",
                  "of_head"}),
    ],
)  # fmt: skip
def test_containers_and_layers_without_parameters_rest_with_what_is_frozen(
    pattern: str, train: set[str]
) -> None:
    model = _Flat()
    trainable = Trainable(model, Transfer(freeze=pattern), None, (1, 8, 8))
    trainable.start_epoch(0)
    assert {name for name, module in model.named_modules() if module.training} == train


def test_unfreezing_wakes_all() -> None:
    model = _Flat()
    model.conv.bias.requires_grad_(False)  # type: ignore[union-attr]  # the model's own decision
    trainable = Trainable(model, Transfer(freeze="features", unfreeze_at=3), None, (1, 8, 8))
    assert [trainable.start_epoch(epoch) for epoch in range(4)] == [False, False, True, False]
    assert all(module.training for module in model.modules())
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["conv.bias"]


@pytest.mark.parametrize(
    ("transfer", "told"),
    [
        ({"freeze": "head*", "cut": "features.0", "head": [3]}, "is just the new head"),
        ({"freeze": "nothing"}, "matches no parameter"),
        ({"lr_multipliers": {"tail": 1}}, "lr_multipliers: 'tail' matches no parameter"),
    ],
)
def test_what_can_not_be_frozen_is_told(transfer: dict[str, Any], told: str) -> None:
    model = CNN((1, 8, 8), 10, channels=[4])
    changed, head = restructure(model, Transfer(**transfer), (1, 8, 8), 10)
    with pytest.raises(UserError, match=re.escape(told)):
        Trainable(changed, Transfer(**transfer), head, (1, 8, 8))
