"""Numbers that no machine computes with are mistakes of the config, told with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Command

CONFIG = """\
dataset: digits
model: {name: cnn, channels: [4]}
optimizer: sgd
device: cpu
training: {epochs: 1, draw: false}
"""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("dataset.size=2147483648", "dataset.size"),
        ("dataset.size=[1,2147483648]", "dataset.size"),
        ("dataset.size=65535", "too large for this machine"),
        ("initializer={name: constant, value: 1e300}", "initializer.value: 1e+300 is beyond"),
        ("initializer={name: normal, std: 1e300}", "initializer.std: 1e+300 is beyond"),
        ("dataset.augment=[{name: brightness, amount: 1e300}]", "amount: 1e+300 is beyond"),
        ("dataset.augment=[{name: contrast, amount: 3.5e38}]", "amount: 3.5e+38 is beyond"),
        ("dataset.augment=[{name: crop, scale: [1e39, 1e40]}]", "dataset.augment"),
        ("optimizer.lr=1e300", "optimizer.lr: 1e+300 is beyond"),
        ("optimizer.weight_decay=1e300", "optimizer.weight_decay: 1e+300 is beyond"),
        ("training.clip_norm=1e39", "training.clip_norm: 1e+39 is beyond"),
        ("dataset={name: fake, classes: 2, size: 8, train: 9223372036854775807}", "dataset"),
        ("model={name: cnn, channels: [9223372036854775807]}", "too large for this machine"),
    ],
)
def test_are_told_as_mistakes(cnnrun: Command, tmp_path: Path, change: str, told: str) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG)
    ended = cnnrun("check", "x.yaml", change)
    assert ended.code in (1, 2)
    assert told in ended.err
    assert "a bug" not in ended.err, ended.err
