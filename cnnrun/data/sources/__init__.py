"""Data sources. Each is a function that returns a `Dataset`.

A new one is a file here with `@datasets.register("name")` on a function whose keyword-only
parameters are its YAML keys, and a line below. A source of image files takes `options` and leaves
decoding to `cnnrun.data.images.assemble`.
"""

from cnnrun.data.sources import (
    cifar,
    csv_file,
    digits,
    fake,
    folder,
    huggingface,
    idx,
    image,
    imagenet,
    mask_folders,
    none,
    npz_file,
    own,
    pcam,
    shapes,
    torchvision_arrays,
    torchvision_sets,
    torchvision_targets,
    webdataset_shards,
)

__all__ = [
    "cifar",
    "csv_file",
    "digits",
    "fake",
    "folder",
    "huggingface",
    "idx",
    "image",
    "imagenet",
    "mask_folders",
    "none",
    "npz_file",
    "own",
    "pcam",
    "shapes",
    "torchvision_arrays",
    "torchvision_sets",
    "torchvision_targets",
    "webdataset_shards",
]
