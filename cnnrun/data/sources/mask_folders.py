"""Images in one folder and masks of the same names in another."""

from __future__ import annotations

import os
from pathlib import Path

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.folder_listing import folders, identities, images_below
from cnnrun.data.sources.groups import By, sources, warn_of_series
from cnnrun.data.sources.labelled_files import Amount, Listing, labelled_dataset
from cnnrun.data.sources.listed_names import listed
from cnnrun.data.sources.mask_files import MaskFiles
from cnnrun.data.sources.mask_pixels import MaskClasses
from cnnrun.data.sources.split_names import splits_named
from cnnrun.errors import UserError, did_you_mean
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded

_FORM = "<root>/images/<name>.jpg and <root>/masks/<name>.png, or the same in <root>/train"


@datasets.register("mask_folders")
def mask_folders(
    options: ImageOptions,
    *,
    root: str,
    images: str = "images",
    masks: str = "masks",
    mask_suffix: str = "",
    mask_classes: MaskClasses = None,
    group: By | None = None,
    test: Amount = 0.2,
) -> Dataset:
    """Images with masks of the same names: `root/images/a.jpg`, `root/masks/a.png` (segmentation).

    With splits of their own they lie in `root/train/images` and `root/train/masks`, or in
    `root/images/train` and `root/masks/train`; `val` and `test` likewise. Otherwise each image's
    own name decides which split it is in. Where there is `val` but no `test`, `val` is the test
    split, and `dataset.validation` is set aside from `train`.

    A mask is 8-bit gray or has a palette, and the values of its pixels are classes; 255 is ignored.
    Masks in colors need `mask_classes`.

    root: Folder of the two folders, or of `train`, `val` and `test` with two folders in each.
    images: Name of the folder of images.
    masks: Name of the folder of masks.
    mask_suffix: What a mask's name adds to that of its image, such as `_mask`.
    mask_classes: Names of the pixel values 0, 1, ..., or of any values, e.g. {0: ground, 255:
        road}, or of colors, e.g. {'#000000': ground, '#ff0000': road}, all others being ignored.
    group: What comes from one source is never divided between splits: files of one `folder` below
        that of the images, or files whose `name` is the same up to its last number.
    test: Where there is neither `val` nor `test`, about this fraction of the images (or this many)
        is the test split.

    Raises:
        UserError: a folder is not there, an image lacks its mask, or a bad image or mask.
    """
    base = expanded(root)
    if not base.is_dir():
        raise UserError(f"dataset.root: there is no folder {root} (paths are from {Path.cwd()})")
    listings = {}
    for split, pair in _splits(base, images, masks).items():
        listings[split] = _pairs(*pair, mask_suffix, options)
        if group:
            listings[split].groups = sources(listings[split].paths, str(pair[0].parent), group)
    if not group and set(listings) == {"train"}:
        paths = listings["train"].paths
        warn_of_series(paths, [""] * len(paths), str(base / images), options)
    reading = MaskFiles(mask_classes)
    return labelled_dataset(root, str(base), listings, test, options, reading)


def _splits(base: Path, images: str, masks: str) -> dict[str, tuple[Path, Path]]:
    """The folders of images and masks of each split.

    Raises:
        UserError: there are none, or one lacks the other.
    """
    if (base / images).is_dir():
        pair = base / images, _mask_folder(base, masks, images)
        inner = _named(pair[0])
        if "train" not in inner:
            return {"train": pair}
        return {split: (pair[0] / name, _inner(pair, split)) for split, name in inner.items()}
    found = {
        split: (base / name / images, _mask_folder(base / name, masks, images))
        for split, name in _named(base).items()
        if (base / name / images).is_dir()
    }
    if not found:
        names = [entry.name for entry in folders(str(base))]
        raise UserError(
            f"dataset.root: {base} has no folder '{images}'{did_you_mean(images, names)} "
            f"(it has {listed(names) or 'no folders'}); expected {_FORM}"
        )
    return found


def _mask_folder(base: Path, masks: str, images: str) -> Path:
    if (base / masks).is_dir():
        return base / masks
    names = [entry.name for entry in folders(str(base)) if entry.name != images]
    raise UserError(
        f"dataset.masks: {base} has no folder '{masks}' next to '{images}'"
        f"{did_you_mean(masks, names)} (there are {listed(names) or 'no others'})"
    )


def _inner(pair: tuple[Path, Path], split: str) -> Path:
    """The folder of a split's masks, under any of the words for that split."""
    found = _named(pair[1])
    if split not in found:
        raise UserError(
            f"dataset.masks: {pair[1]} has no folder for the {split} split, but {pair[0]} has one"
        )
    return pair[1] / found[split]


def _named(folder: Path) -> dict[str, str]:
    """The names of folders by the split that they mean, without unlabelled ones."""
    found: dict[str, str] = {}
    for name, split in splits_named(entry.name for entry in folders(str(folder))).items():
        if split in found:
            raise UserError(f"{folder}: {found[split]} and {name} are both {split}")
        found[split] = name
    found.pop("unlabelled", None)
    return found


def _pairs(images: Path, masks: Path, suffix: str, options: ImageOptions) -> Listing:
    """Every image with its mask.

    Raises:
        UserError: an image has no mask, and is not to be skipped.
    """
    named_images, drawn = _by_stem(images, ""), _by_stem(masks, suffix)
    alone = [stem for stem in named_images if stem not in drawn]
    if alone and (options.on_error == "stop" or len(alone) == len(named_images)):
        stem = alone[0]
        longer = next((name for name in drawn if name.startswith(stem)), None)
        hint = f"; is it {longer}? (dataset.mask_suffix: {longer[len(stem) :]})" if longer else ""
        raise UserError(
            f"{masks}: {len(alone):,} of {len(named_images):,} images have no mask: there is no "
            f"{stem}{suffix}.png for {named_images[stem]}{hint}"
        )
    listing = Listing()
    for stem, path in named_images.items():
        if stem in drawn:
            listing.add([path], drawn[stem])
    if alone:
        options.notes.append(f"{images}: {len(alone):,} images without a mask are left out")
    if unused := [drawn[stem] for stem in drawn if stem not in named_images]:
        options.notes.append(
            f"{masks}: {len(unused):,} masks without an image are not used: {listed(unused, 3)}"
        )
    return listing


def _by_stem(folder: Path, suffix: str) -> dict[str, str]:
    """The images in a folder by their relative paths, without extension and suffix.

    Raises:
        UserError: two have the same.
    """
    paths, _ = images_below(str(folder), identities(str(folder.parent)))
    found: dict[str, str] = {}
    for path in paths:
        stem = os.path.relpath(path, folder).replace(os.sep, "/")
        stem = (stem.rpartition(".")[0] or stem).removesuffix(suffix)
        if stem in found:
            raise UserError(f"{path} and {found[stem]} differ only in their endings")
        found[stem] = path
    return found
