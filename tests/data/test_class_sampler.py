"""Rare classes are drawn more often: exactly as often as asked for, and the same way each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.data.class_sampler import samples_of_epoch
from cnnrun.data.dataset import Split
from cnnrun.runs.checkpoint import Checkpoint
from tests.conftest import Command
from tests.small_tasks import write

BASE = """\
dataset: {name: digits, limit: 200, batch_size: 32, sampler: [1, 1, 1, 1, 1, 1, 1, 1, 1, 6]}
model: {name: mlp, hidden: [16]}
optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
device: cpu
training: {epochs: 3, draw: false}
"""


def split_of(labels: list[int]) -> Split:
    return Split(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), torch.tensor(labels))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.lists(st.floats(0.1, 9), min_size=4, max_size=4),
    st.booleans(),
    st.integers(0, 99),
)
def test_every_class_gets_its_share_and_every_image_its_turn(
    labels: list[int], weights: list[float], balanced: bool, epoch: int
) -> None:
    split = split_of(labels)
    taken = samples_of_epoch(split, "balanced" if balanced else weights, seed=3, epoch=epoch)
    assert taken is not None
    assert len(taken) == len(labels)
    sizes = np.bincount(labels, minlength=4)
    mass = (sizes > 0) * 1.0 if balanced else sizes * np.array(weights)
    shares = len(labels) * mass / mass.sum()
    found = np.bincount(split.labels[taken].numpy(), minlength=4)
    assert np.abs(found - shares).max() < 1 + 1e-9
    times = np.bincount(taken.numpy(), minlength=len(labels))
    for label in set(labels):
        own = times[np.array(labels) == label]
        assert own.max() - own.min() <= 1
    again = samples_of_epoch(split, "balanced" if balanced else weights, seed=3, epoch=epoch)
    assert torch.equal(taken, again)


def test_which_images_come_once_more_changes_from_epoch_to_epoch() -> None:
    split = split_of([0] * 30 + [1] * 10)
    counts = torch.zeros(40)
    for epoch in range(200):
        counts += torch.bincount(samples_of_epoch(split, "balanced", 0, epoch), minlength=40)
    assert samples_of_epoch(split, "none", 0, 0) is None
    # Each class has half of 8,000 draws, dealt evenly.
    assert (counts[:30] / (4000 / 30) - 1).abs().max() < 0.2
    assert torch.equal(counts[30:], torch.full((10,), 400.0))


def test_a_run_that_was_killed_goes_on_with_the_same_images(
    killed_and_resumed: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text(BASE)
    whole, cut = killed_and_resumed(9, "x.yaml")
    first, second = (Checkpoint.load(run / "checkpoints/last.pt").model for run in (whole, cut))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_seeds_together_and_frozen_features_draw_the_same(
    cnnrun: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.yaml").write_text(BASE)
    ended = cnnrun("train", "x.yaml", "--seeds", "0,1", "-q")
    assert ended.code == 0, ended.err
    together = {
        (tmp_path / "runs/x" / name / "metrics.jsonl").read_text()
        for name in sorted(path.name for path in (tmp_path / "runs/x").iterdir())
        if (tmp_path / "runs/x" / name / "metrics.jsonl").is_file()
    }
    apart = {
        (Path(cnnrun("train", "x.yaml", f"seed={k}", "-q").out.strip()) / "metrics.jsonl")
        .read_text()
        .split('"train_loss"')[0]
        for k in (0, 1)
    }
    assert {text.split('"train_loss"')[0] for text in together} == apart
    frozen = ["transfer={freeze: features}", "model={name: cnn, channels: [4]}"]
    cached = Path(cnnrun("train", "x.yaml", *frozen, "-q").out.strip())
    from cnnrun.engine import trainer

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "on_frozen_features", lambda *_: None)
        plain = Path(cnnrun("train", "x.yaml", *frozen, "-q").out.strip())
    first, second = (
        Checkpoint.load(run / "checkpoints/last.pt").model["head.1.weight"]
        for run in (cached, plain)
    )
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "sampler", "told"),
    [
        ("regress", "balanced", "these data have values; leave it out"),
        ("multilabel", "balanced", "these data have label sets; for rare labels: loss.pos_weight"),
        ("segment", "[1, 2]", "these data have masks; for rare classes of pixels: loss.weight"),
        (None, "[1, 2]", " weights for 10 classes; write one for each, in their order"),
        (None, "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", "no training image would ever be drawn"),
    ],
)
def test_a_sampler_without_meaning_is_refused(
    cnnrun: Command, tmp_path: Path, task: str | None, sampler: str, told: str
) -> None:
    if task:
        file = write(task, tmp_path)
    else:
        file = tmp_path / "x.yaml"
        file.write_text(BASE)
    ended = cnnrun("check", file, f"dataset.sampler={sampler}")
    assert ended.code == 2
    assert "dataset.sampler" in ended.err
    assert told in ended.err
