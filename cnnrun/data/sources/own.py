"""A user's own torch Dataset, named by `module:Class` or `file.py:Class`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from cnnrun.data.dataset import Dataset, Images, Split
from cnnrun.data.identity import id_of_content
from cnnrun.data.images.arrays import as_bytes
from cnnrun.data.images.assemble import check_range
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.modes import highest_value
from cnnrun.data.images.reading import ImageReading
from cnnrun.data.sources.array_targets import kind_of, names_of, targets_of
from cnnrun.data.target_kind import Kind
from cnnrun.data.targets import Labels
from cnnrun.errors import UserError, did_you_mean
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded

# What the constructor gets to select a split: `train=True`, `split="train"` ...
Choice = bool | int | str


@datasets.register("own")
def own(
    options: ImageOptions | None = None,
    *,
    target: str,
    arguments: dict[str, Any] = {},
    split_argument: str = "train",
    train: Choice = True,
    test: Choice = False,
    val: Choice | None = None,
    classes: list[str] | None = None,
    targets: Kind | None = None,
    lazy: bool = False,
) -> Dataset:
    """Your own torch Dataset: `module:Class` or `file.py:Class`.

    The class is called once for each split, as `Class(**arguments, train=True)` for training and
    `Class(**arguments, train=False)` for the test split. Where it wants something else, e.g.
    `split="train"` and `split="test"`, say `split_argument: split`, `train: train`, `test: test`
    (and `val: val`, where there is such a split).

    Its items are (image, target): a PIL image, or a numpy array (H, W), (H, W, 1) or (H, W, 3), or
    a tensor (H, W), (1, H, W) or (3, H, W); uint8 in 0..255 or float in 0..1, not normalized; all
    of one size. PIL images of other modes are converted as those in files are. A target
    is a label, a whole number from 0 on; or 0 and 1 for each label of a set; or numbers; or a mask
    (H, W) of whole numbers, 255 being ignored. `classes` names labels or numbers; by default the
    Dataset's own attribute `classes` does.

    All items are read once at the start, for their labels.

    target: Your class, as `module:Class` or `file.py:Class`.
    arguments: Arguments for the class, by name.
    split_argument: Name of the argument that selects the split.
    train: Its value for the training split.
    test: Its value for the test split.
    val: Its value for the validation split, where there is one.
    targets: What the targets are; by default one number is a label, several whole numbers are a set
        of labels, several floating-point numbers values, and a plane is a mask.
    classes: Names of the classes; by default the attribute `classes` of the Dataset.
    lazy: Read each image when it is needed instead of keeping all in memory.

    Raises:
        UserError: the class is missing, is not a torch Dataset, fails (the message has the line of
            its file), or its items are not as described.
    """
    kind = _load_class(target)
    options = options or ImageOptions()
    splits = {}
    for name, value in (("train", train), ("test", test), ("validation", val)):
        if value is not None:
            with _errors_of(kind, f"{target} ({split_argument}={value!r})"):
                made = kind(**arguments, **{split_argument: value})
            splits[name] = _split(kind, made, f"{target}, {name} split", lazy, options, targets)
            named = getattr(made, "classes", None) if classes is None else classes
    held = [split.targets for split in splits.values()]
    if len({each.kind for each in held}) > 1:
        raise UserError(f"{target}: targets of several kinds; set dataset.targets to one of them")
    if isinstance(held[0], Labels):
        names = _class_names(target, named, [split.labels for split in splits.values()])
    else:
        names = names_of(held, named, target)
    return Dataset(names, splits["train"], splits["test"], splits.get("validation"))


def _load_class(target: str) -> type[TorchDataset[Any]]:
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise UserError(f"target: '{target}' is neither `module:Class` nor `file.py:Class`")
    with _errors_of(None, target):
        module = _load_file(place) if place.endswith(".py") else importlib.import_module(place)
    found = getattr(module, name, None)
    if found is None:
        raise UserError(f"target: {place} has no '{name}'{did_you_mean(name, vars(module))}")
    # Nothing else is called, so that a config can't run arbitrary functions.
    if not (isinstance(found, type) and issubclass(found, TorchDataset)):
        raise UserError(f"target: {target} is not a subclass of torch.utils.data.Dataset")
    return found


def _load_file(file: str) -> ModuleType:
    path = expanded(file).resolve()
    if not path.is_file():
        raise UserError(f"target: there is no file {file} (paths are from {Path.cwd()})")
    spec = importlib.util.spec_from_file_location(f"cnnrun_own_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _errors_of(kind: type | None, what: str) -> Iterator[None]:
    """Report an exception of the user's code by the innermost line of the user's own file."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        frames = [
            f"{frame.filename}:{frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename != __file__ and not frame.filename.startswith("<frozen")
        ]
        source = str(sys.modules[kind.__module__].__file__) if kind else ""
        own_frames = [frame for frame in frames if source and frame.startswith(source)]
        if isinstance(error, SyntaxError) and error.filename:
            frames = [f"{error.filename}:{error.lineno}"]
        where = f" at {(own_frames or frames)[-1]}" if frames else ""
        raise UserError(f"{what} failed{where}: {type(error).__name__}: {error}") from error


def _split(
    kind: type, made: Any, where: str, lazy: bool, options: ImageOptions, wanted: Kind | None
) -> Split:
    """The items of the user's Dataset, read now and, if `lazy`, again when indexed.

    They are identified by their pixels if two reads give the same, else by their positions.
    """
    with _errors_of(kind, where):
        count = len(made)
    if count == 0:
        raise UserError(f"{where}: has no items")
    items = OwnImages(kind, made, where, count, options.reading, wanted)
    images = None if lazy else torch.empty(items.shape, dtype=torch.uint8)
    rows, contents = [], torch.empty(count, dtype=torch.int64)
    for index in range(count):
        image, row = items.item(index)
        rows.append(row)
        contents[index] = id_of_content(image.contiguous().numpy().tobytes())
        if images is not None:
            images[index] = image
    if options.reading.high is None:
        check_range(items.highest, options)
    held = targets_of(np.stack(rows), items.kind or "labels")
    read: Images = items if images is None else images
    if not all(torch.equal(items.item(k)[0], items.item(k)[0]) for k in range(min(count, 3))):
        return Split(read, held, contents=torch.zeros_like(contents))
    return Split(read, held, ids=contents, keys=contents, contents=contents)


class OwnImages:
    """The images of a user's Dataset, read through its `__getitem__` when indexed."""

    def __init__(
        self,
        kind: type,
        dataset: Any,
        where: str,
        count: int,
        reading: ImageReading,
        targets: Kind | None = None,
    ) -> None:
        """reading: which values are black and white; `highest` is the highest so far. targets:

        their kind; by default that of item 0, then kept as `kind`.
        """
        self._class = kind
        self._dataset = dataset
        self._where = where
        self._reading = reading
        self.highest = -1
        # Batches are read ahead by threads, and the user's class may not be thread-safe.
        self._turn = threading.Lock()
        self.kind = targets
        first, self._row = self._read(0)
        self.shape = torch.Size((count, *first.shape))

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """The images at `indices` (M,) int64: (M, C, H, W) uint8, 0..255."""
        images = torch.empty((len(indices), *self.shape[1:]), dtype=torch.uint8)
        with self._turn:
            for row, index in enumerate(indices.tolist()):
                images[row] = self.item(index)[0]
        return images

    def item(self, index: int) -> tuple[Tensor, NDArray[Any]]:
        """Image (C, H, W) uint8 of the common size, and target, of the shape that all have."""
        image, row = self._read(index)
        if row.shape != self._row.shape:
            message = f"its target has shape {row.shape}, and that of item 0 {self._row.shape}"
            raise UserError(f"{self._where}, item {index}: {message}")
        if image.shape != self.shape[1:]:
            raise UserError(
                f"{self._where}, item {index}: {_sizes(image)}, but item 0 is {_sizes(self)}; "
                "give all images one size and mode in your Dataset"
            )
        return image, row

    def _read(self, index: int) -> tuple[Tensor, NDArray[Any]]:
        where = f"{self._where}, item {index}"
        with _errors_of(self._class, where):
            item = self._dataset[index]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UserError(f"{where}: expected (image, label), found {type(item).__name__}")
        image, target = item
        row = self._target(target, where)
        if isinstance(image, Image.Image):
            self.highest = max(self.highest, highest_value(image) or -1)
        try:
            pixels = as_bytes(image, self._reading)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        if self.kind == "masks" and row.shape != pixels.shape[1:]:
            raise UserError(f"{where}: a mask {row.shape} of an image {tuple(pixels.shape[1:])}")
        return pixels, row

    def _target(self, target: Any, where: str) -> NDArray[Any]:
        """An item's target as a row, checked."""
        if self.kind in (None, "labels") and np.ndim(target) == 0:
            self.kind = "labels"
            try:
                number = int(target)
            except (TypeError, ValueError):
                number = -1
            if number < 0 or number != target:
                raise UserError(f"{where}: the label is {target!r}, not a whole number from 0 on")
            return np.array(number)
        row = np.asarray(target)[None]
        self.kind = self.kind or kind_of(row)
        try:
            held = targets_of(row, self.kind).held[0].numpy()
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        # Values keep their digits until all of them are known.
        return np.atleast_1d(row[0]) if self.kind == "values" else held


def _class_names(target: str, named: Any, labels: list[Tensor]) -> tuple[str, ...]:
    needed = max(int(part.max()) for part in labels) + 1
    if named is None:
        return tuple(map(str, range(needed)))
    names = tuple(map(str, named))
    if len(names) < needed or len(set(names)) < len(names):
        raise UserError(
            f"{target}: labels go up to {needed - 1}, but `classes` has "
            f"{len(set(names))} different names"
        )
    return names


def _sizes(images: Any) -> str:
    return " x ".join(map(str, images.shape[-3:]))
