"""The data sets of torchvision whose images are files: only their paths are kept in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.assemble import image_splits
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.files import Files
from cnnrun.data.sources.keys import Download, Root
from cnnrun.data.sources.torchvision_adapter import TorchvisionSet, assemble, listing
from cnnrun.data.sources.traffic_signs import TRAFFIC_SIGNS
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded

Parts = Mapping[str, Mapping[str, Any]]

_TRAIN_TEST: Parts = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: Parts = {**_TRAIN_TEST, "validation": {"split": "val"}}
# Where the test labels were never published, the official validation split serves as test.
_TRAIN_VAL: Parts = {"train": {"split": "train"}, "test": {"split": "val"}}
_ONE: Parts = {"train": {}}

_UNSPLIT = (
    "There is no official test split: 20 % of each class, always the same, are the test split."
)
_BY_HAND = "Its address is dead; put the files there yourself."

# Name here, summary, further documentation, and how to get it from torchvision.
_TABLE: list[tuple[str, str, str, TorchvisionSet]] = [
    (
        "flowers102",
        "Photos of flowers, 102 kinds, with a validation split (Nilsback & Zisserman 2008).",
        "",
        TorchvisionSet(
            "Flowers102",
            ("flowers-102/jpg", "flowers-102/imagelabels.mat", "flowers-102/setid.mat"),
            _THREE,
        ),
    ),
    (
        "oxford_pets",
        "Photos of cats and dogs, 37 breeds (Parkhi et al. 2012).",
        "",
        TorchvisionSet(
            "OxfordIIITPet",
            ("oxford-iiit-pet/images", "oxford-iiit-pet/annotations"),
            {"train": {"split": "trainval"}, "test": {"split": "test"}},
        ),
    ),
    (
        "food101",
        "Photos of dishes, 101 kinds, 101,000 in all (Bossard et al. 2014).",
        "",
        TorchvisionSet("Food101", ("food-101/meta", "food-101/images"), _TRAIN_TEST),
    ),
    (
        "gtsrb",
        "German traffic signs, 43 kinds, 51,839 images (Stallkamp et al. 2012).",
        "",
        TorchvisionSet(
            "GTSRB",
            (
                "gtsrb/GTSRB/Training",
                "gtsrb/GTSRB/Final_Test/Images",
                "gtsrb/GT-final_test.csv",
            ),
            _TRAIN_TEST,
        ),
    ),
    (
        "eurosat",
        "Satellite images of land use, RGB 64x64, 10 classes (Helber et al. 2019).",
        _UNSPLIT,
        TorchvisionSet("EuroSAT", ("eurosat/2750",), _ONE),
    ),
    (
        "caltech101",
        "Photos of things, 101 classes, 8,677 in all (Li et al. 2004).",
        _UNSPLIT,
        TorchvisionSet("Caltech101", ("caltech101/101_ObjectCategories",), _ONE),
    ),
    (
        "caltech256",
        "Photos of things, 257 classes, 30,607 in all (Griffin et al. 2007).",
        _UNSPLIT,
        TorchvisionSet("Caltech256", ("caltech256/256_ObjectCategories",), _ONE),
    ),
    (
        "stanford_cars",
        "Photos of cars, 196 models (Krause et al. 2013); place by hand.",
        _BY_HAND,
        TorchvisionSet(
            "StanfordCars",
            (
                "stanford_cars/devkit",
                "stanford_cars/cars_train",
                "stanford_cars/cars_test",
                "stanford_cars/cars_test_annos_withlabels.mat",
            ),
            _TRAIN_TEST,
            downloadable=False,
        ),
    ),
    (
        "sun397",
        "Photos of scenes, 397 kinds, 108,754 in all (Xiao et al. 2010).",
        _UNSPLIT,
        TorchvisionSet("SUN397", ("SUN397",), _ONE),
    ),
    (
        "country211",
        "Photos from 211 countries, the classes; with a validation split (Radford et al. 2021).",
        "",
        TorchvisionSet(
            "Country211",
            ("country211",),
            {
                "train": {"split": "train"},
                "validation": {"split": "valid"},
                "test": {"split": "test"},
            },
        ),
    ),
    (
        "places365",
        "Photos of places, 365 kinds, 1.8 million of 256x256 (Zhou et al. 2017).",
        "The official validation split serves as test.",
        TorchvisionSet(
            "Places365",
            (
                "categories_places365.txt",
                "places365_train_standard.txt",
                "places365_val.txt",
                "data_256_standard",
                "val_256",
            ),
            {
                "train": {"split": "train-standard", "small": True},
                "test": {"split": "val", "small": True},
            },
        ),
    ),
    (
        "rendered_sst2",
        "Sentences drawn as images, kind or unkind, 2 classes (Radford et al. 2021).",
        "",
        TorchvisionSet("RenderedSST2", ("rendered-sst2",), _THREE),
    ),
]


def _register(name: str, summary: str, remark: str, known: TorchvisionSet) -> None:
    """A factory for one row of the table."""

    def load(options: ImageOptions, *, root: Root = "data", download: Download = True) -> Dataset:
        return load_files(known, root, download, options)

    load.__name__ = load.__qualname__ = name
    load.__doc__ = f"{summary}\n\n{remark}" if remark else summary
    datasets.register(name)(load)


for _row in _TABLE:
    _register(*_row)


@datasets.register("imagenette")
def imagenette(
    options: ImageOptions,
    *,
    files: Literal["full", "320px", "160px"] = "160px",
    root: Root = "data",
    download: Download = True,
) -> Dataset:
    """Ten easy classes of ImageNet, 13,394 photos (Howard 2019).

    The official validation split serves as test.

    files: Shorter side of the images.
    """
    folder = {"full": "imagenette2", "320px": "imagenette2-320", "160px": "imagenette2-160"}[files]
    parts = {name: {**chosen, "size": files} for name, chosen in _TRAIN_VAL.items()}
    known = TorchvisionSet("Imagenette", (f"{folder}/train", f"{folder}/val"), parts)
    return load_files(known, root, download, options)


@datasets.register("dtd")
def dtd(
    options: ImageOptions,
    *,
    partition: Annotated[int, Field(ge=1, le=10)] = 1,
    root: Root = "data",
    download: Download = True,
) -> Dataset:
    """Photos of textures, 47 kinds, with a validation split (Cimpoi et al. 2014).

    partition: Which of the ten official splits to use.
    """
    parts = {name: {**chosen, "partition": partition} for name, chosen in _THREE.items()}
    known = TorchvisionSet("DTD", ("dtd/dtd/labels", "dtd/dtd/images"), parts)
    return load_files(known, root, download, options)


@datasets.register("fgvc_aircraft")
def fgvc_aircraft(
    options: ImageOptions,
    *,
    level: Literal["variant", "family", "manufacturer"] = "variant",
    root: Root = "data",
    download: Download = True,
) -> Dataset:
    """Photos of aircraft, 100 variants, with a validation split (Maji et al. 2013).

    level: What a class is, from fine to coarse.
    """
    parts = {name: {**chosen, "annotation_level": level} for name, chosen in _THREE.items()}
    known = TorchvisionSet("FGVCAircraft", ("fgvc-aircraft-2013b/data",), parts)
    return load_files(known, root, download, options)


@datasets.register("inaturalist")
def inaturalist(
    options: ImageOptions,
    *,
    train: Literal["2021_train_mini", "2021_train"] = "2021_train_mini",
    root: Root = "data",
    download: Download = True,
) -> Dataset:
    """Photos of 10,000 species of animals, plants and fungi (Van Horn et al. 2021).

    The official validation split serves as test.

    train: 50 photos of each species (42 GB), or all 2.7 million (224 GB).
    """
    parts: Parts = {"train": {"version": train}, "test": {"version": "2021_valid"}}
    known = TorchvisionSet("INaturalist", (train, "2021_valid"), parts)
    return load_files(known, root, download, options)


def load_files(known: TorchvisionSet, root: str, download: bool, options: ImageOptions) -> Dataset:
    """A set whose images are files, with the class names that torchvision gives it."""
    made = known.open(root, download)
    parts = {name: _files_and_labels(part, root) for name, part in made.items()}
    return assemble(_class_names(known.kind, made["train"]), image_splits(parts, options))


def _files_and_labels(made: Any, root: str) -> tuple[Files, Tensor]:
    pairs = listing(made)
    labels = torch.tensor([label for _, label in pairs], dtype=torch.int64)
    return Files([file for file, _ in pairs], str(expanded(root))), labels


def _class_names(kind: str, made: Any) -> tuple[str, ...]:
    if kind == "GTSRB":
        return TRAFFIC_SIGNS
    names = next(
        getattr(made, name)
        for name in ("classes", "categories", "all_categories")
        if hasattr(made, name)
    )
    if kind == "Caltech256":  # 001.ak47
        return tuple(name.partition(".")[2] or name for name in names)
    if kind == "Places365":  # /a/airfield
        return tuple(name.split("/", 2)[-1] for name in names)
    # Imagenette's are tuples of synonyms.
    return tuple(name if isinstance(name, str) else name[0] for name in names)
