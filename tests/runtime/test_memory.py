"""How much memory data take, measured in processes of their own."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.test_splits_and_batches import idx_bytes

MEASURE = """
import resource, sys, torch
from pathlib import Path
from cnnrun import runner
from cnnrun.config.experiment import load
from cnnrun.engine.build import build
from cnnrun.plots import of_data
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
experiment = load(Path(sys.argv[1]), sys.argv[2:])
{action}
print(peak() - before)
"""


def _megabytes(action: str, *arguments: object) -> float:
    """The rise of the peak of resident memory above the interpreter with everything imported."""
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE.format(action=action), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(ended.stdout)


@pytest.mark.slow
def test_sixty_thousand_mnist_images(tiny: Path, tmp_path: Path) -> None:
    """47 MB of training pixels and 8 of test pixels, once more while they are split."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    dataset = f"dataset={{name: mnist, root: {tmp_path}}}"
    assert _megabytes("build(experiment)", tiny, dataset) < 150


@pytest.mark.slow
def test_thousands_of_jpegs_without_cache(tiny: Path, tmp_path: Path) -> None:
    """Ten times the files may not take ten times the memory: decoded they would be 0.9 GB."""
    random = np.random.default_rng(0)
    encoded = []
    for _ in range(20):
        buffer = io.BytesIO()
        pixels = random.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((224, 224)).save(buffer, "JPEG")
        encoded.append(buffer.getvalue())
    rises = {}
    for count in (600, 6_000):
        for i in range(count):
            file = tmp_path / str(count) / f"class{i % 2}" / f"{i}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded[i % 20])
        rises[count] = _megabytes(
            "runner.train(experiment, quiet=True)",
            tiny,
            f"dataset={{name: folder, root: {tmp_path / str(count)}, normalize: half}}",
            "model={name: cnn, channels: [2], stride: 4}",
            "training.epochs=1",
            f"output={tmp_path / 'runs'}",
        )
    assert rises[6_000] < rises[600] + 150
