"""A small trained run that several files of tests look at and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

CONFIG = """\
name: small
dataset: {name: digits, batch_size: 64}
model: {name: cnn, channels: [8, 16], batch_norm: true}
optimizer: {name: adam, lr: 0.01}
device: cpu
training: {epochs: 2, draw: false}
"""


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of a CNN on digits."""
    from cnnrun import train

    folder = tmp_path_factory.mktemp("small_run")
    (folder / "small.yaml").write_text(CONFIG)
    return train(folder / "small.yaml", f"output={folder}").path


def write_test_images(folder: Path, count: int) -> torch.Tensor:
    """The first test digits as PNG files `000.png` ...; returns them, (count, 1, 8, 8) uint8."""
    from cnnrun.data.sources.digits import digits

    images = digits().test.images[torch.arange(count)]
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(folder / f"{number:03}.png")
    return images
