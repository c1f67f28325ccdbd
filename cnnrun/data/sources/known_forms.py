"""Shapes of fixed data sets, so that a network can be described before its data are downloaded."""

from __future__ import annotations

from cnnrun.data.options import DatasetOptions

Shape = tuple[int, int, int]

# (C, H, W) of the images, and how many classes there are.
_KNOWN: dict[str, tuple[Shape, int]] = {
    **dict.fromkeys(("mnist", "fashion_mnist", "kmnist", "qmnist"), ((1, 28, 28), 10)),
    **dict.fromkeys(("usps", "semeion"), ((1, 16, 16), 10)),
    **dict.fromkeys(("cifar10", "svhn"), ((3, 32, 32), 10)),
    "cifar100": ((3, 32, 32), 100),
    "stl10": ((3, 96, 96), 10),
    "fer2013": ((1, 48, 48), 7),
    "pcam": ((3, 96, 96), 2),
}


def known_form(options: DatasetOptions) -> tuple[Shape, int] | None:
    """((C, H, W), number of classes) of the data set with `options`; None if unknown."""
    if options.name not in _KNOWN:
        return None
    (channels, height, width), classes = _KNOWN[options.name]
    wanted = options.image_options()
    height, width = wanted.size or (height, width)
    return (wanted.channels or channels, height, width), classes
