"""The data sets of torchvision whose images have sets of labels or masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.keys import Download, Root
from cnnrun.data.sources.labelled_files import Listing, labelled_dataset
from cnnrun.data.sources.listed_targets import Reading, SeveralLabels
from cnnrun.data.sources.mask_files import MaskFiles
from cnnrun.data.sources.torchvision_adapter import TorchvisionSet, listing
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded

_VOC = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
)


@datasets.register("celeba")
def celeba(options: ImageOptions, *, root: Root = "data", download: Download = True) -> Dataset:
    """Faces with 40 attributes, each there or not, 202,599 in all (Liu et al. 2015; multilabel)."""
    names = ("list_attr", "list_bbox", "list_landmarks_align")
    known = TorchvisionSet(
        "CelebA",
        (
            *(f"celeba/{name}_celeba.txt" for name in names),
            *("celeba/identity_CelebA.txt", "celeba/list_eval_partition.txt"),
            "celeba/img_align_celeba",
        ),
        {
            "train": {"split": "train"},
            "validation": {"split": "valid"},
            "test": {"split": "test"},
        },
    )
    listings = {}
    for split, made in known.open(root, download).items():
        listings[split] = Listing()
        folder = expanded(root) / "celeba" / "img_align_celeba"
        labels = [name for name in made.attr_names if name]
        for file, row in zip(made.filename, made.attr.tolist(), strict=True):
            there = [name for name, value in zip(labels, row, strict=True) if value]
            listings[split].add([str(folder / file)], there)
    return _dataset(root, listings, options, SeveralLabels(labels))


@datasets.register("oxford_pets_masks")
def oxford_pets_masks(
    options: ImageOptions, *, root: Root = "data", download: Download = True
) -> Dataset:
    """Photos of cats and dogs with masks: pet and background (Parkhi et al. 2012; segmentation).

    The trimaps' outline, which is not classified, is ignored.
    """
    known = TorchvisionSet(
        "OxfordIIITPet",
        ("oxford-iiit-pet/images", "oxford-iiit-pet/annotations"),
        {"train": {"split": "trainval"}, "test": {"split": "test"}},
    )
    masks = expanded(root) / "oxford-iiit-pet" / "annotations" / "trimaps"
    pairs = {
        split: [(image, masks / f"{Path(image).stem}.png") for image, _ in listing(made)]
        for split, made in known.open(root, download).items()
    }
    return _masked(root, pairs, options, MaskFiles({2: "background", 1: "pet"}))


@datasets.register("voc_segmentation")
def voc_segmentation(
    options: ImageOptions,
    *,
    year: Literal["2007", "2008", "2009", "2010", "2011", "2012"] = "2012",
    root: Root = "data",
    download: Download = True,
) -> Dataset:
    """Photos with masks of 20 kinds of things and the background (Everingham et al. 2010).

    The official validation split serves as test. Outlines (255) are ignored.

    year: Of the challenge; each has the photos of those before.
    """
    base = f"VOCdevkit/VOC{year}" if year != "2011" else "TrainVal/VOCdevkit/VOC2011"
    known = TorchvisionSet(
        "VOCSegmentation",
        tuple(f"{base}/{name}" for name in ("ImageSets/Segmentation", "JPEGImages")),
        {
            "train": {"year": year, "image_set": "train"},
            "test": {"year": year, "image_set": "val"},
        },
    )
    pairs = {
        split: list(zip(made.images, made.targets, strict=True))
        for split, made in known.open(root, download).items()
    }
    return _masked(root, pairs, options, MaskFiles(_VOC.split()))


def _masked(
    root: str, pairs: Mapping[str, list[Any]], options: ImageOptions, reading: Reading
) -> Dataset:
    listings = {split: Listing() for split in pairs}
    for split, held in pairs.items():
        for image, mask in held:
            listings[split].add([str(image)], str(mask))
    return _dataset(root, listings, options, reading)


def _dataset(
    root: str, listings: dict[str, Listing], options: ImageOptions, reading: Reading
) -> Dataset:
    return labelled_dataset(root, str(expanded(root)), listings, 0.2, options, reading)
