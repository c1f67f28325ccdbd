"""Shared by all data sets of torchvision: fetch the files, call its class, complete the splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.sources.download import download_with_torchvision
from cnnrun.data.splits import stratified_choice
from cnnrun.errors import UserError
from cnnrun.runtime.paths import expanded

# Without an official test split, this fraction of every class is it.
TEST_SHARE = 0.2


@dataclass(frozen=True)
class TorchvisionSet:
    """How to get one data set from torchvision.

    kind: the class in `torchvision.datasets`.
    files: what is below the root when the set is downloaded.
    parts: for `train`, `test` and perhaps `validation`, the arguments of the class; a set that
        has only `train` is split here, stratified and always in the same way.
    downloadable: torchvision's class can fetch it.
    """

    kind: str
    files: tuple[str, ...]
    parts: Mapping[str, Mapping[str, Any]]
    downloadable: bool = True

    def open(self, root: str, download: bool) -> dict[str, Any]:
        """torchvision's object for each part, fetched first where files are missing.

        Raises:
            UserError: the files are missing and can't be downloaded, or are damaged.
        """
        self.require(root, download)
        return {name: self._open_part(root, arguments) for name, arguments in self.parts.items()}

    def require(self, root: str, download: bool) -> None:
        """Fetch the files if any is missing."""
        place = expanded(root)
        if all((place / file).exists() for file in self.files):
            return
        folder, names = self._folder_and_names()
        if not self.downloadable:
            raise UserError(
                f"{self.kind} is not in {place / folder} and can't be downloaded "
                f"automatically; put these files into {place / folder}: {names}"
            )
        download_with_torchvision(
            self.kind, place, folder, names, allowed=download, parts=list(self.parts.values())
        )

    def _folder_and_names(self) -> tuple[str, str]:
        """The sub-folder of the root that contains all files, and the files below it."""
        folders = {file.partition("/")[0] if "/" in file else "" for file in self.files}
        folder = folders.pop() if len(folders) == 1 else ""
        return folder, ", ".join(file.removeprefix(f"{folder}/") for file in self.files)

    def _open_part(self, root: str, arguments: Mapping[str, Any]) -> Any:
        from torchvision import datasets as sources

        try:
            return getattr(sources, self.kind)(expanded(root), **arguments)
        # What torchvision raises on a damaged file depends on the file's format.
        except Exception as error:
            files = ", ".join(str(expanded(root) / file) for file in self.files)
            raise UserError(
                f"{self.kind} can't be read ({error or type(error).__name__}); "
                f"delete what is damaged of {files} to fetch it again"
            ) from error


def array_split(images: Any, labels: Any) -> Split:
    """A split of (N, H, W) or (N, C, H, W) uint8 and (N,) integers, copied."""
    pixels = torch.as_tensor(np.ascontiguousarray(images)).clone()
    numbers = torch.as_tensor(np.asarray(labels)).long()
    return Split(pixels.unsqueeze(1) if pixels.dim() == 3 else pixels, numbers)


def listing(made: Any) -> list[tuple[str, int]]:
    """Path and label of every image of a torchvision data set of files, ordered by path."""
    if hasattr(made, "categories"):
        pairs: Iterable[tuple[Any, int]] = _caltech(made)
    elif hasattr(made, "all_categories"):
        pairs = [(Path(made.root, made.all_categories[k], file), k) for k, file in made.index]
    elif any(hasattr(made, name) for name in _PAIRS):
        pairs = next(getattr(made, name) for name in _PAIRS if hasattr(made, name))
    else:
        files = made._images if hasattr(made, "_images") else made._image_files
        pairs = zip(files, made._labels, strict=True)
    return sorted((str(file), int(label)) for file, label in pairs)


# Attributes by which torchvision's classes hold (path, label).
_PAIRS = ("samples", "_samples", "imgs")


def _caltech(made: Any) -> list[tuple[Path, int]]:
    """All files of a class; torchvision's own index assumes that they are numbered 1 to n."""
    folder = next(Path(made.root).glob("*_ObjectCategories"))
    return [
        (file, label)
        for label, name in enumerate(made.categories)
        for file in (folder / name).glob("*.jpg")
    ]


def assemble(classes: tuple[str, ...], splits: Mapping[str, Split]) -> Dataset:
    """The data set of `splits`; without `test`, a fixed fraction of `train` becomes it.

    Raises:
        UserError: a label has no class.
    """
    for name, split in splits.items():
        if len(split) and not 0 <= int(split.labels.min()) <= int(split.labels.max()) < len(
            classes
        ):
            raise UserError(
                f"labels of the {name} split go from {int(split.labels.min())} to "
                f"{int(split.labels.max())}; there are {len(classes)} classes"
            )
    if "test" in splits:
        return Dataset(classes, splits["train"], splits["test"], splits.get("validation"))
    everything = splits["train"]
    test = stratified_choice(everything.labels, round(TEST_SHARE * len(everything)), seed=0)
    rest = torch.ones(len(everything), dtype=torch.bool)
    rest[test] = False
    return Dataset(classes, everything.take(rest.nonzero().squeeze(1)), everything.take(test))


def load_arrays(
    known: TorchvisionSet,
    root: str,
    download: bool,
    classes: tuple[str, ...],
    read: Callable[[Any], tuple[Any, Any]],
) -> Dataset:
    """A set that torchvision holds in memory; `read` takes images and labels from its object."""
    made = known.open(root, download)
    return assemble(classes, {name: array_split(*read(part)) for name, part in made.items()})
