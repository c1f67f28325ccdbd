"""Levers of speed and accuracy: sizes that grow, test-time augmentation, measured settings."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cnnrun.components.tasks.classify import Classify
from cnnrun.config.experiment import Training
from cnnrun.engine import auto_speed
from cnnrun.engine.progressive_resizing import progressive, size_factor
from tests.conftest import Command


def test_images_grow_linearly_to_their_size() -> None:
    options = Training(epochs=10, progressive_from=0.5, progressive_until=0.5)
    shares = [size_factor(options, epoch) for epoch in range(10)]
    assert shares == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1, 1, 1])
    inputs = torch.randn(2, 3, 20, 30)
    assert progressive(inputs, options, 0).shape == (2, 3, 10, 15)
    assert progressive(inputs, options, 5) is inputs
    flat = torch.full((1, 1, 20, 30), 0.3)
    torch.testing.assert_close(progressive(flat, options, 0), torch.full((1, 1, 10, 15), 0.3))
    assert progressive(inputs, Training(), 0) is inputs


@pytest.mark.slow
def test_a_run_with_growing_images_resumes_and_scores_whole_ones(
    cnnrun: Command, tiny: Path
) -> None:
    changes = ("model={name: cnn, channels: [8, 8], head_pooling: average}",
               "training.progressive_from=0.5", "training.epochs=4")  # fmt: skip
    ended = cnnrun("train", tiny, "-q", *changes)
    assert ended.code == 0, ended.err
    flattened = cnnrun("train", tiny, "model={name: mlp}", "training.progressive_from=0.5")
    assert flattened.code == 2
    assert "training.progressive_from: the model takes images of one size only" in flattened.err


def test_views_are_mirror_images_and_small_moves() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert len(Classify().views(image)) == 1
    one, mirrored = Classify(tta="flip").views(image)
    assert torch.equal(one, image)
    assert torch.equal(mirrored, image.flip(3))
    views = Classify(tta="flip_and_shift").views(image)
    assert len(views) == 6
    assert torch.equal(views[2][..., 1:, 1:], image[..., :-1, :-1])
    assert torch.equal(views[4][..., :-1, :-1], image[..., 1:, 1:])


def test_views_are_averaged_when_a_run_is_scored(cnnrun: Command, tiny: Path) -> None:
    run = cnnrun("train", tiny, "-q").out.strip()
    plain = json.loads(cnnrun("eval", run, "--json").out)
    same = json.loads(cnnrun("eval", run, "--json", "task.tta=none").out)
    flipped = json.loads(cnnrun("eval", run, "--json", "task.tta=flip").out)
    assert same["loss"] == plain["loss"]
    assert flipped["loss"] != plain["loss"]
    assert 0 < flipped["accuracy"] < 1


def test_a_lever_that_fails_here_is_told_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> tuple[float, float]:
        raise RuntimeError("no C compiler\nand a long story")

    monkeypatch.setattr(auto_speed, "_steps", fail)
    trainers: list[Any] = [
        SimpleNamespace(experiment=SimpleNamespace(training=Training(compile=compile)))
        for compile in (True, False)
    ]
    assert math.isnan(auto_speed._first_loss(trainers[0], 1))
    assert capsys.readouterr().err == "auto_speed  compile: True fails: no C compiler\n"
    with pytest.raises(RuntimeError, match="no C compiler"):
        auto_speed._first_loss(trainers[1], 1)


def test_measured_settings_are_written_into_the_run(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("train", tiny, "-q", "training.auto_speed=true")
    assert ended.code == 0, ended.err
    assert ended.err.count("ms a step") == 2
    assert ended.err.count("chosen") == 1
    run = Path(ended.out.strip())
    config = (run / "config.yaml").read_text()
    assert "auto_speed: false" in config
    chosen = "true" if "channels_last: True, compile: False  chosen" in ended.err else "false"
    assert f"channels_last: {chosen}" in config
    assert len(list(run.parent.iterdir())) == 1, "measuring leaves nothing behind"
    again = cnnrun("train", run / "config.yaml", "-q")
    rows = [(Path(r) / "metrics.jsonl").read_text() for r in (run, again.out.strip())]
    assert rows[0] == rows[1]
