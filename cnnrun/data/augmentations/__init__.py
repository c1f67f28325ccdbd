"""Augmentations of a whole batch on its device, with random parameters per image.

`base` says what an augmentation is; each other file registers a few of them.
"""

from cnnrun.data.augmentations import (
    blur,
    color,
    erasing,
    from_albumentations,
    from_torchvision,
    geometric,
    mixing,
    policies,
)

__all__ = [
    "blur",
    "color",
    "erasing",
    "from_albumentations",
    "from_torchvision",
    "geometric",
    "mixing",
    "policies",
]
