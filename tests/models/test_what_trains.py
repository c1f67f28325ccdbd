"""What is frozen, rests, thaws, is cached and at which rate it trains: as the plain loop has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnrun.config.experiment import load
from cnnrun.engine import trainer
from cnnrun.runs.checkpoint import Checkpoint
from tests import reference_loop
from tests.conftest import Command

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

# What is asked for, the head that it has, whether that is new, and whether features are kept.
MATRIX: dict[str, tuple[list[str], str, bool, bool]] = {
    "all trains": (["transfer={freeze: none}"], "head.4", False, False),
    "features": (["transfer={freeze: features}"], "head.4", False, True),
    "features, adam": (["transfer={freeze: features}", ADAM], "head.4", False, True),
    "a new layer": (["transfer={freeze: features, head: []}"], "head.4", True, True),
    "a new head of two": (["transfer={freeze: features, head: [7]}"], "head.4", True, True),
    "of three, adam": (["transfer={freeze: features, head: [7, 5]}", ADAM], "head.4", True, True),
    "cut": (["transfer={freeze: features, cut: features.0, head: [9]}"], "head", True, True),
    "a case": (["transfer={case: small_different, head: [9]}"], "head", True, True),
    "pattern with its dropout": (["transfer={freeze: 'features*'}"], "head.4", False, True),
    "first block": (["transfer={freeze: features.0}"], "head.4", False, False),
    "names with a star": (["transfer={freeze: '*conv*'}"], "head.4", False, False),
    "norms alone": (["transfer={freeze: '*norm*'}"], "head.4", False, False),
    "the last layer": (["transfer={freeze: head.4}"], "head.4", False, False),
    "all, new head": (["transfer={freeze: '*', head: [7]}"], "head.4", True, True),
    "rates": (
        ["transfer={lr_multipliers: {features.0: 0.1, features: 0.5}, head: [7]}"],
        "head.4", True, False,
    ),
    "large similar": (["transfer={case: large_similar, head: [7]}"], "head.4", True, False),
    "thaws": (["transfer={freeze: features, unfreeze_at: 2}"], "head.4", False, False),
    "thaws at once": (["transfer={freeze: features, unfreeze_at: 1}"], "head.4", False, False),
    "thaws never": (["transfer={freeze: features, unfreeze_at: 9}"], "head.4", False, False),
    "thaws at its rates": (
        ["transfer={freeze: features, unfreeze_at: 2, head: [7], "
         "lr_multipliers: {features.0: 0.05, features: 0.2, head.4.3: 2}}"],
        "head.4", True, False,
    ),
    "thaws at its rates, adam": (
        ["transfer={freeze: features.*, unfreeze_at: 3, lr_multipliers: {features: 0.1}}", ADAM],
        "head.4", False, False,
    ),
    "cut, thaws": (
        ["transfer={cut: features.1, freeze: features, head: [], unfreeze_at: 2}", NO_DROPOUT],
        "head", True, False,
    ),
    "augmented": (
        ["transfer={freeze: features}", "dataset.augment=[rotation]"], "head.4", False, False,
    ),
    "no dropout": (["transfer={freeze: features, head: [7]}", NO_DROPOUT], "head.3", True, True),
    "plain": (["transfer={freeze: 'features*', unfreeze_at: 3}", PLAIN], "head.3", False, False),
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "matrix.yaml"
    file.write_text(CONFIG)
    return file


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_as_reference(run: Path, wanted: reference_loop.Reference) -> None:
    rows = rows_of(run)
    assert [row["train_loss"] for row in rows] == pytest.approx(wanted.train_loss, rel=1e-4)
    validation = [row["validation_loss"] for row in rows]
    assert validation == pytest.approx(wanted.validation_loss, rel=1e-4)
    weights = Checkpoint.load(run / "checkpoints" / "last.pt").model
    assert weights.keys() == wanted.weights.keys()
    for key, value in weights.items():
        torch.testing.assert_close(value, wanted.weights[key], rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", MATRIX)
def test_what_trains_is_what_the_plain_loop_trains(
    cnnrun: Command, config: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, head, new, kept = MATRIX[name]
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
    wanted = reference_loop.train(load(config, changes), head, new)
    assert_as_reference(Path(ended.out.strip()), wanted)


@pytest.mark.parametrize(
    "name", ["features", "pattern with its dropout", "a new head of two", "cut"]
)
def test_features_that_are_kept_change_nothing(
    cnnrun: Command, config: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, head, new, _ = MATRIX[name]
    monkeypatch.setattr(trainer, "on_frozen_features", lambda *_: None)
    ended = cnnrun("train", config, "-q", *changes)
    assert_as_reference(
        Path(ended.out.strip()), reference_loop.train(load(config, changes), head, new)
    )


@pytest.mark.parametrize("step", [5, 7, 9, 13])
@pytest.mark.parametrize("name", ["thaws at its rates", "thaws at its rates, adam", "features"])
def test_a_run_goes_on_across_the_thaw(
    killed_and_resumed: Any, config: Path, name: str, step: int
) -> None:
    """6 steps an epoch: before the thaw, at it, and after it."""
    changes, *_ = MATRIX[name]
    whole, cut = killed_and_resumed(step, config, *changes)
    wanted, found = (Checkpoint.load(run / "checkpoints" / "last.pt") for run in (whole, cut))
    for key, value in wanted.model.items():
        assert torch.equal(found.model[key], value), key
    assert found.optimizer["param_groups"] == wanted.optimizer["param_groups"]


def test_head_dropout_counts_where_features_are_frozen(cnnrun: Command, config: Path) -> None:
    def losses(dropout: float) -> list[float]:
        model = f"model={{name: cnn, channels: [4], dropout: {dropout}}}"
        run = cnnrun("train", config, "-q", model, "transfer.freeze=features").out.strip()
        return [row["train_loss"] for row in rows_of(Path(run))]

    assert losses(0.01) != pytest.approx(losses(0.9), rel=0.1)
