"""The data of an experiment: loaded, checked, split and prepared for its model."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from cnnrun import registry
from cnnrun.config.experiment import Experiment
from cnnrun.data.augmentations.base import Augmentation, Geometric, Mixing, Policy
from cnnrun.data.augmentations.geometric import RandomResizedCrop
from cnnrun.data.augmentations.one_by_one import OneByOne
from cnnrun.data.batches import decodes_crops
from cnnrun.data.dataset import Dataset
from cnnrun.data.displacement import displaced
from cnnrun.data.identity import identified
from cnnrun.data.images.conversion import with_form
from cnnrun.data.images.framing import RandomCrop
from cnnrun.data.inspection.presence import constant_labels_note
from cnnrun.data.splits import apply_splits
from cnnrun.data.target_kind import Targets
from cnnrun.engine.out_of_memory import fitting_memory
from cnnrun.engine.trial import check_dataset
from cnnrun.errors import UserError
from cnnrun.runs.checkpoint import Checkpoint, Normalization
from cnnrun.runtime.long_work import Progress
from cnnrun.runtime.randomness import derive_seed, generator
from cnnrun.runtime.weights import some


def build_dataset(experiment: Experiment, whole: bool = False) -> Dataset:
    """Load the data and split off the validation set.

    whole: only scored, not trained on: without splits of their own, all files are the test split.
    """
    options = experiment.dataset.image_options()
    options = replace(options, whole=whole, progress=Progress())
    entry = registry.datasets.get(experiment.dataset.name)
    # The parameter's name in older plug-ins.
    older = {"pictures": options} if "pictures" in entry.given else {}
    with fitting_memory(experiment, "dataset"):
        dataset: Dataset = registry.datasets.build(experiment.dataset, options=options, **older)
    if entry.is_users:
        with experiment.located("dataset"):
            check_dataset(dataset, entry)
    dataset = replace(dataset, bad_files=tuple(options.bad_files), notes=tuple(options.notes))
    with experiment.located("dataset"), fitting_memory(experiment, "dataset"):
        check_targets(dataset)
        dataset = identified(dataset)
        dataset = displaced(with_form(dataset, options), experiment.dataset.displace)
        if whole and not len(dataset.train):
            return dataset
        dataset = apply_splits(dataset, experiment.dataset, experiment.seed)
        notes = constant_labels_note(dataset.train.targets, dataset.classes)
        return with_copies_reported(replace(dataset, notes=(*dataset.notes, *notes)))


def with_copies_reported(dataset: Dataset) -> Dataset:
    """Note files with the same bytes in two splits, if their contents are known anyway."""
    notes = []
    for later, earlier in (("test", "train"), ("validation", "train")):
        ours, theirs = (dataset.split(name).contents for name in (later, earlier))
        if ours is None or theirs is None:
            continue
        copies = int((torch.isin(ours, theirs) & (ours > 0)).sum())
        if copies:
            notes.append(
                f"{copies:,} of {len(ours):,} {later} images are copies of training images, byte "
                "for byte: `cnnrun data` lists them"
            )
    return replace(dataset, notes=(*dataset.notes, *notes))


def check_targets(dataset: Dataset) -> None:
    """Refuse invalid labels and the like, before a GPU fails on one without a message.

    Names of classes may be any text that can be printed.

    Raises:
        UserError: the label, the split and the existing classes.
    """
    for name in dataset.classes:
        # It would be printed on terminals.
        if any(unicodedata.category(character) == "Cc" for character in name):
            raise UserError(f"the class {name!r} has a control character in its name; rename it")
    for name in ("train", "validation", "test"):
        dataset.split(name).targets.check(name, dataset.classes)


def build_augmentations(experiment: Experiment, targets: Targets) -> list[Augmentation]:
    """The augmentations of the experiment.

    Raises:
        ConfigError: one that would make `targets` false.
    """
    built = []
    for i, item in enumerate(experiment.dataset.augment):
        with experiment.located("dataset", "augment", i):
            augmentation = registry.augmentations.build(item)
            if why := _false_after(augmentation, targets):
                raise UserError(f"{item.name}: {why} it out")
            built.append(augmentation)
    return built


def _false_after(augmentation: Augmentation, targets: Targets) -> str:
    """Why targets would be wrong after an augmentation; "" if they would not."""
    if isinstance(augmentation, Mixing):
        return targets.refuses_mixing
    if isinstance(augmentation, Policy):
        return targets.refuses_policies
    if isinstance(augmentation, OneByOne):
        return targets.refuses_moving or (augmentation.refuses_masks if targets.move else "")
    return targets.refuses_moving if isinstance(augmentation, Geometric) else ""


def crop_at_decode(
    augmentations: list[Augmentation], dataset: Dataset, seed: int
) -> RandomCrop | None:
    """The first augmentation, if it is a random crop of files that are decoded at every use.

    Then the crop is decoded from the file at full quality, instead of enlarging a decoded image.
    """
    first = augmentations[0] if augmentations else None
    if not isinstance(first, RandomResizedCrop) or first.probability < 1:
        return None
    if dataset.train.targets.move or not decodes_crops(dataset.train.images):
        return None
    scale, ratio = (tuple(pair) for pair in (first.scale, first.ratio))
    return RandomCrop(derive_seed(seed, "crops"), scale, ratio)  # type: ignore[arg-type]


def with_checkpoint_labels(dataset: Dataset, checkpoint: Checkpoint) -> Dataset:
    """`dataset` with the labels of the checkpoint's classes, matched by name."""
    known, words = tuple(checkpoint.classes), dataset.train.targets.words
    unknown = [name for name in dataset.classes if name not in known]
    if unknown:
        raise UserError(
            f"the data has {words} that the model was not trained on: {some(unknown)} "
            f"(it knows {some(known)})"
        )
    if list(dataset.input_shape) != checkpoint.input_shape:
        raise UserError(
            f"the data's images are {_shape(dataset.input_shape)}, "
            f"but the model was trained on {_shape(checkpoint.input_shape)}"
        )
    return dataset if dataset.classes == known else dataset.with_labels_of(known)


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape))


def init_from_data(
    model: nn.Module, dataset: Dataset, normalization: Normalization, seed: int
) -> None:
    """Pass some normalized training images to a model that has `init_from_data`.

    `look_at` is the former name, still supported.
    """
    wanted = getattr(model, "init_from_data", None) or getattr(model, "look_at", None)
    if wanted is None:
        return
    chosen = torch.randperm(len(dataset.train), generator=generator(seed, "look at"))[:5000]
    images = dataset.train.images[chosen].float() / 255
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (normalization.mean, normalization.std))
    wanted((images - mean) / std)
