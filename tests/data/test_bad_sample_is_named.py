"""One bad sample among twelve: every source's message says which one it is."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command

BROKEN = b"\x89PNG no"
HEAD = "model: {name: mlp, hidden: [4]}\ndevice: cpu\n"
OWN = """
import torch
class D(torch.utils.data.Dataset):
    def __init__(self, bad, train=True): self.bad = bad
    def __len__(self): return 12
    def __getitem__(self, i):
        image, label = torch.rand(1, 8, 8), i % 2
        if i == 7:
            if self.bad == "nan": image[0, 1, 1] = float("nan")
            if self.bad == "shape": image = torch.rand(1, 8, 9)
            if self.bad == "label": label = -1
            if self.bad == "raise": raise OSError("truncated")
            if self.bad == "none": return None
        return image, label
"""


def _png() -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng().integers(0, 256, (8, 8), np.uint8)).save(held, "png")
    return held.getvalue()


def _npz(folder: Path, bad: str) -> str:
    images, labels = np.random.default_rng(0).random((12, 8, 8)), np.arange(12) % 2
    if bad == "label":
        labels[7] = -1
    else:
        images[7, 1, 1] = float(bad)
    np.savez(folder / "x.npz", train_images=images, train_labels=labels)
    return "{name: npz, file: x.npz}"


def _own(folder: Path, bad: str) -> str:
    (folder / "own.py").write_text(OWN)
    return f"{{name: own, target: 'own.py:D', arguments: {{bad: {bad}}}}}"


def _csv(folder: Path, bad: str) -> str:
    for k in range(12):
        broken = k == 7 and bad == "image"
        (folder / f"{k}.png").write_bytes(BROKEN if broken else _png())
    rows = {"missing": "none.png,a", "cells": "7.png,a,b"}
    lines = [rows.get(bad, "7.png,b") if k == 7 else f"{k}.png,{'ab'[k % 2]}" for k in range(12)]
    (folder / "t.csv").write_text("\n".join(["path,label", *lines]))
    return "{name: csv, file: t.csv}"


def _folder(folder: Path, bad: str) -> str:
    for k in range(12):
        file = folder / "data" / "ab"[k % 2] / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bad.encode() if k == 7 else _png())
    return "{name: folder, root: data}"


def _tar(folder: Path, bad: str) -> str:
    with tarfile.open(folder / "x.tar", "w") as tar:
        for k in range(12):
            image = BROKEN if k == 7 and bad == "image" else _png()
            for end, content in (("png", image), ("cls", str(k % 2).encode())):
                member = tarfile.TarInfo(f"s{k}.{end}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return "{name: webdataset, train: x.tar, test: x.tar}"


@pytest.mark.parametrize(
    ("source", "bad", "named"),
    [
        *((_npz, bad, "x.npz: train: .*(sample 7)") for bad in ("nan", "inf", "3", "label")),
        *((_own, bad, "item 7") for bad in ("nan", "shape", "label", "raise", "none")),
        (_csv, "image", "7.png: not an image"),
        (_csv, "missing", "t.csv:9: "),
        (_csv, "cells", "t.csv:9: "),
        (_folder, "no image", "data/b/7.png: not an image"),
        (_folder, "", "data/b/7.png"),
        (_tar, "image", "x.tar/s7: not an image"),
    ],
)
def test_the_message_names_it(
    cnnrun: Command, tmp_path: Path, source: object, bad: str, named: str
) -> None:
    (tmp_path / "x.yaml").write_text(f"{HEAD}dataset: {source(tmp_path, bad)}\n")  # type: ignore[operator]
    ended = cnnrun("check", "x.yaml")
    assert ended.code != 0
    start, _, end = named.partition(".*")
    assert start in ended.err
    assert end in ended.err
    assert "Traceback" not in ended.err
