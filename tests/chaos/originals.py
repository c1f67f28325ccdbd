"""Good files of every kind that a command opens, in a folder of each kind."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.test_splits_and_batches import write_cifar10

SMALL = "model: {name: mlp, hidden: [4]}\ndevice: cpu\ntraining: {epochs: 2, draw: false}\n"
_RUN = "name: small\ndataset: {name: digits, limit: 60}\n" + SMALL
_SWEEP = "base: base.yaml\ngrid: {optimizer.lr: [0.1, 0.2]}\nname: quick\nworkers: 1\n"


def run_command(*arguments: str) -> int:
    """`cnnrun` in this process; its exit code."""
    from cnnrun.cli import main

    sys.argv = ["cnnrun", *arguments]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def write_originals(root: Path, with_sweep: bool) -> None:
    """Write a folder of each kind below `root`; this process works there afterwards.

    with_sweep: also a sweep that has ended, which takes some seconds.
    """
    for write in (_write_images, _write_idx, _write_shards, _write_run):
        write(root)
    write_cifar10(root / "cifar" / "cifar-10-batches-py", per_file=5)
    (root / "cifar" / "x.yaml").write_text(
        "dataset: {name: cifar10, root: ., download: false}\n" + SMALL
    )
    if with_sweep:
        _write_sweep(root / "sweep")


def _image(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
    return Image.fromarray(pixels)


def _png(number: int) -> bytes:
    stream = io.BytesIO()
    _image(number).save(stream, "PNG")
    return stream.getvalue()


def _write_images(root: Path) -> None:
    """A folder of images, and a table that names them."""
    rows = []
    for number in range(8):
        file = root / "folder" / "images" / f"class{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_png(number))
        split = ("train", "test", "val")[number // 2 % 3]
        rows.append((f"images/{file.parent.name}/{file.name}", file.parent.name, split))
    for cache in ("none", "disk"):
        (root / "folder" / f"{cache}.yaml").write_text(
            f"dataset: {{name: folder, root: images, size: 8, cache: {cache}, cache_dir: cache}}\n"
            + SMALL
        )
    table = shutil.copytree(root / "folder", root / "table")
    with (table / "table.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "split"), *rows])
    (table / "x.yaml").write_text(
        "dataset: {name: csv, file: table.csv, cache_dir: cache}\n" + SMALL
    )


def _write_idx(root: Path) -> None:
    folder = root / "idx" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, count in (("train", 40), ("t10k", 20)):
        images = random.integers(0, 255, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for file, magic, values in (
            (f"{name}-images-idx3-ubyte", 0x803, images),
            (f"{name}-labels-idx1-ubyte", 0x801, labels),
        ):
            header = b"".join(n.to_bytes(4, "big") for n in (magic, *values.shape))
            content = header + values.tobytes()
            if name == "t10k":
                (folder / f"{file}.gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                (folder / file).write_bytes(content)
    (root / "idx" / "x.yaml").write_text(
        "dataset: {name: mnist, root: ., download: false}\n" + SMALL
    )


def _write_shards(root: Path) -> None:
    (root / "shards").mkdir()
    for name in ("train", "test"):
        with tarfile.open(root / "shards" / f"{name}.tar", "w") as target:
            for number in range(12):
                for ending, content in (("png", _png(number)), ("cls", b"%d" % (number % 2))):
                    member = tarfile.TarInfo(f"{name}{number:02}.{ending}")
                    member.size = len(content)
                    target.addfile(member, io.BytesIO(content))
    (root / "shards" / "x.yaml").write_text(
        "dataset: {name: webdataset, train: train.tar, test: test.tar, spool: spool, size: 8,\n"
        "  cache_dir: cache}\n" + SMALL
    )


def _write_run(root: Path) -> None:
    """A run that has ended, another next to it, images to predict, and weights in both formats."""
    folder = root / "run"
    folder.mkdir()
    (folder / "x.yaml").write_text(_RUN)
    os.chdir(folder)
    assert run_command("train", "x.yaml", "-q") == 0
    [made] = (folder / "runs" / "small").iterdir()
    assert run_command("train", "--resume", str(made), "-q", "training.epochs=3") == 0
    shutil.copytree(made, folder / "theirs")
    made.rename(folder / "runs" / "small" / "20260101-000000")
    (folder / "images").mkdir()
    for number in range(2):
        _image(number).save(folder / "images" / f"{number}.png")
    assert run_command("export", "theirs", "--format", "safetensors", "-o", "w.safetensors") == 0
    model = torch.load(folder / "theirs" / "checkpoints" / "best.pt", weights_only=True)["model"]
    torch.save(model, folder / "w.pt")
    for kind in ("pt", "safetensors"):
        (folder / f"transfer_{kind}.yaml").write_text(
            _RUN + f"transfer: {{weights: w.{kind}, case: large_similar}}\n"
        )


def _write_sweep(folder: Path) -> None:
    """A sweep of two trials that has ended; its runs are forks of this process."""
    from tests.forking import fork_runs

    folder.mkdir()
    os.chdir(folder)
    (folder / "base.yaml").write_text(_RUN)
    (folder / "quick.yaml").write_text(_SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        fork_runs(patch)
        assert run_command("sweep", "quick.yaml") == 0
    assert json.loads((next(folder.glob("sweeps/quick/runs/*/*/summary.json"))).read_text())
