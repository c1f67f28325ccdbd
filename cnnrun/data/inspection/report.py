"""What to know about a data set before training: counts, pixels, duplicates, bad files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cnnrun.data.dataset import Dataset, Split, origin
from cnnrun.data.images.files import ImageFiles, for_each
from cnnrun.data.images.formats import read_header
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.inspection.duplicates import (
    SMALLEST,
    Fingerprints,
    exact_groups,
    fingerprint,
    near_copies,
)
from cnnrun.data.inspection.places import Places
from cnnrun.data.inspection.presence import constant_labels, presence
from cnnrun.errors import UserError

FEW = 10
"""A class with fewer training samples is reported."""

IMBALANCED = 10
"""Ratio of the largest to the smallest class that deserves a warning."""

LISTED = 200
"""Limit for listed blank images, groups and pairs; the counts are of all."""

_LISTED_IN_GROUP = 20
_CHUNK_BYTES = 2**24

Progress = Callable[[str, int, int], None]
Report = dict[str, Any]


def report(dataset: Dataset, progress: Progress | None = None) -> Report:
    """Inspect every image of `dataset` once; the result can be written as JSON.

    `counts` (of the images that have each class, by split), `totals` (of images), `imbalance`,
    `missing` and `few` classes, `everywhere` (labels that all training images have); `image`
    (channels, height, width) and `files` (their own sizes and modes, where images come from
    files); `pixels` of the training split (mean, std, brightness in 0..1, histogram); `blank`
    images; `bad_files`; `exact` and `near` duplicates, with those across splits and with
    differing labels first. Images are named by split and index in it, class, and file if any.
    Blank images are no duplicates of one another.

    progress: called with the kind of work, images done and images in all.

    Raises:
        UserError: there are no training images.
    """
    if not len(dataset.train):
        raise UserError("there are no training images to report on")
    splits = {name: dataset.split(name) for name in ("train", "validation", "test")}
    splits = {name: split for name, split in splits.items() if len(split)}
    looked = _look(splits, progress)
    places = Places(dataset.classes, splits)
    channels, height, width = dataset.input_shape
    return {
        "classes": list(dataset.classes),
        "targets": dataset.train.targets.kind,
        **_class_counts(dataset.classes, splits),
        "image": {"channels": channels, "height": height, "width": width},
        "files": _files(splits),
        "pixels": _pixels(looked),
        "blank": _blank(looked.prints, places),
        "bad_files": [{"path": bad.path, "reason": bad.reason} for bad in dataset.bad_files],
        "notes": list(dataset.notes),
        "exact": _exact(looked.prints, places),
        "near": _near(looked.prints, places, min(height, width)),
    }


@dataclass
class _Looked:
    """Findings of one pass over all splits.

    prints: of all images, split after split. histogram: (C, 256) and brightness: (N,) 0..1, of
    the training split.
    """

    prints: Fingerprints
    histogram: NDArray[np.int64]
    brightness: NDArray[np.float32]


def _look(splits: dict[str, Split], progress: Progress | None) -> _Looked:
    total, done = sum(map(len, splits.values())), 0
    histogram = torch.zeros(splits["train"].images.shape[1], 256, dtype=torch.int64)
    prints, brightness = [], []
    for name, split in splits.items():
        step = max(1, _CHUNK_BYTES // max(1, split.images.shape[1:].numel()))
        for start in range(0, len(split), step):
            images = split.images[torch.arange(start, min(start + step, len(split)))].cpu()
            prints.append(fingerprint(images))
            if name == "train":
                histogram += _histogram(images)
                brightness.append(images.float().mean((1, 2, 3)).numpy() / 255)
            done += len(images)
            if progress:
                progress("looking at images", done, total)
    return _Looked(Fingerprints.joined(prints), histogram.numpy(), np.concatenate(brightness))


def _histogram(images: Tensor) -> Tensor:
    """(C, 256) histogram of each channel of (N, C, H, W) uint8."""
    channels = images.unbind(1)
    return torch.stack([torch.bincount(c.flatten(), minlength=256) for c in channels])


def _class_counts(classes: tuple[str, ...], splits: dict[str, Split]) -> Report:
    counts = {
        name: presence(split.targets, len(classes)).tolist() for name, split in splits.items()
    }
    counts["all"] = [sum(of_class) for of_class in zip(*counts.values(), strict=True)]
    totals = {name: len(split) for name, split in splits.items()}
    train = counts["train"]
    largest, smallest = (int(at(train)) for at in (np.argmax, np.argmin))
    return {
        "counts": counts,
        "totals": {**totals, "all": sum(totals.values())},
        "imbalance": {
            "largest": {"class": classes[largest], "count": train[largest]},
            "smallest": {"class": classes[smallest], "count": train[smallest]},
            "ratio": train[largest] / train[smallest] if train[smallest] else None,
        },
        "missing": {
            name: [classes[k] for k, count in enumerate(counts[name]) if count == 0]
            for name in splits
        },
        "few": [classes[k] for k, count in enumerate(train) if 0 < count < FEW],
        "everywhere": constant_labels(splits["train"].targets, classes)[0],
    }


def _pixels(looked: _Looked) -> Report:
    """For the training split, in units of 0..1 except the histogram."""
    values = np.arange(256) / 255
    shares = looked.histogram / np.maximum(looked.histogram.sum(1, keepdims=True), 1)
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(1)
    levels = np.quantile(looked.brightness, [0, 0.01, 0.5, 0.99, 1])
    names = ("least", "1%", "median", "99%", "most")
    return {
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
        "brightness": dict(zip(names, levels.tolist(), strict=True)),
        "histogram": looked.histogram.tolist(),
    }


def _blank(prints: Fingerprints, places: Places) -> Report:
    numbers = np.flatnonzero(prints.blank)
    return {"count": len(numbers), "images": [places[n] for n in numbers[:LISTED]]}


def _exact(prints: Fingerprints, places: Places) -> Report:
    """Groups of images with the same pixels, those that spoil training first."""
    groups = exact_groups(prints)
    differ = [places.differ(group) for group in groups]
    order = sorted(range(len(groups)), key=lambda k: (not differ[k][0], not differ[k][1], k))
    return {
        "groups": len(groups),
        "surplus": sum(len(group) - 1 for group in groups),
        "across": sum(across for across, _ in differ),
        "leaked": places.leaked(groups),
        "conflicts": sum(conflict for _, conflict in differ),
        "images": [[places[n] for n in groups[k][:_LISTED_IN_GROUP]] for k in order[:LISTED]],
    }


def _near(prints: Fingerprints, places: Places, side: int) -> Report:
    """Pairs that may be copies, those across splits first, then the most alike."""
    found = near_copies(prints)
    pairs = list(found.pairs)
    differ = [places.differ(pair) for pair in pairs]
    order = sorted(range(len(pairs)), key=lambda k: (not differ[k][0], k))[:LISTED]
    return {
        "searched": side >= SMALLEST,
        "pairs": len(pairs),
        "across": sum(across for across, _ in differ),
        "leaked": places.leaked(pairs),
        "conflicts": sum(conflict for _, conflict in differ),
        "images": [[places[n] for n in pairs[k]] for k in order],
        "likeness": [round(1 - float(found.rest[k]), 4) for k in order],
    }


def _files(splits: dict[str, Split]) -> Report | None:
    """How often each (size, mode) occurs in the files; None if there are no files."""
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    for split in splits.values():
        images, numbers = origin(split.images, torch.arange(len(split)))
        if isinstance(images, ImageFiles):
            for (height, width), mode in _headers(images, numbers.tolist()):
                sizes[f"{height} x {width}"] += 1
                modes[mode] += 1
    if not sizes:
        return None
    return {"sizes": dict(sizes.most_common()), "modes": dict(modes.most_common())}


def _headers(images: ImageFiles, numbers: list[int]) -> list[tuple[tuple[int, int], str]]:
    """((height, width), Pillow's mode) of files, read from their headers alone."""
    found: list[tuple[tuple[int, int], str]] = []

    def look(number: int) -> None:
        try:
            content = images.files.read(number)
            size, _ = read_header(content)
        except UnreadableError:  # decoding reports the reason
            return
        with Image.open(BytesIO(content)) as image:
            found.append((size, image.mode))

    for_each(look, numbers, images.threads)
    return found
