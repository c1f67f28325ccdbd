"""A data set of your own: cnnrun train digits_cnn dataset=halves --plugin examples/my_dataset.py"""

import torch

from cnnrun.plugin import Dataset, Split, datasets


@datasets.register("halves")
def halves(*, side: int = 8, count: int = 400) -> Dataset:
    """Gray noise with a brighter half, left or right, which is the class."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (count,), generator=random)
    images = torch.randint(0, 128, (count, 1, side, side), generator=random, dtype=torch.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        image.chunk(2, dim=2)[label].add_(100)
    test = count // 5
    return Dataset(
        ("left", "right"),
        train=Split(images[test:], labels[test:]),  # (N, C, H, W) uint8 and (N,) int64
        test=Split(images[:test], labels[:test]),
    )
