"""PatchCamelyon, read from its HDF5 files on demand: 9 GB that need not fit in memory."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.sources.keys import Download, Root
from cnnrun.data.sources.torchvision_adapter import TorchvisionSet, assemble
from cnnrun.errors import UserError
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded

_PARTS = {"train": "train", "test": "test", "validation": "valid"}


@datasets.register("pcam")
def pcam(*, root: Root = "data", download: Download = True) -> Dataset:
    """Tissue with or without tumour, RGB 96x96, 327,680 images (Veeling et al. 2018).

    Needs the package `h5py`, and `gdown` to download.
    """
    try:
        import h5py  # noqa: F401
    except ImportError as error:
        raise UserError(
            "dataset 'pcam' needs the package `h5py`: pip install 'cnnrun[pcam]'"
        ) from error
    known = TorchvisionSet(
        "PCAM",
        tuple(f"pcam/{_file(part, kind)}" for part in _PARTS for kind in "xy"),
        {"train": {"split": "train"}, "test": {"split": "test"}, "validation": {"split": "val"}},
    )
    known.require(root, download)
    folder = expanded(root) / "pcam"
    return assemble(("no tumour", "tumour"), {part: _split(folder, part) for part in _PARTS})


def _file(part: str, kind: str) -> str:
    return f"camelyonpatch_level_2_split_{_PARTS[part]}_{kind}.h5"


def _split(folder: Path, part: str) -> Split:
    images, labels = HDF5Images(folder / _file(part, "x")), folder / _file(part, "y")
    numbers = np.asarray(_open(labels)["y"], dtype=np.int64).reshape(-1)
    if len(numbers) != images.shape[0]:
        raise UserError(f"{labels} has {len(numbers):,} labels for {images.shape[0]:,} images")
    return Split(images, torch.from_numpy(numbers))


def _open(file: Path) -> Any:
    import h5py

    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise UserError(f"{file}: can't be read ({error}); delete it to fetch it again") from error


class HDF5Images:
    """The images (N, H, W, C) uint8 in an HDF5 file's data set `x`, read when indexed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._opened: tuple[int, Any] | None = None
        count, height, width, channels = self._pixels().shape
        self.shape = torch.Size((count, channels, height, width))

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """The images at `indices` (M,) int64: (M, C, H, W) uint8, 0..255."""
        _, channels, height, width = self.shape
        images = np.empty((len(indices), height, width, channels), np.uint8)
        with self._lock:
            pixels = self._pixels()
            for row, index in enumerate(indices.tolist()):
                images[row] = pixels[index]
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def _pixels(self) -> Any:
        """The open data set; a process that was forked or spawned opens its own."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), _open(self._file)["x"])
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self._file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["file"])  # type: ignore[misc]
