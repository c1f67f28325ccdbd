"""Choosing samples: seeded and stratified, so that each class keeps its share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cnnrun.data.dataset import Dataset
from cnnrun.data.options import DatasetOptions
from cnnrun.errors import UserError
from cnnrun.runtime.randomness import derive_seed


def apply_splits(dataset: Dataset, options: DatasetOptions, seed: int) -> Dataset:
    """Cut the training split down as asked, then set its validation samples aside.

    Raises:
        UserError: nothing would be left to train on.
    """
    labels = dataset.train.labels
    if options.per_class is not None:
        kept = per_class_choice(labels, options.per_class, derive_seed(seed, "per class"))
        dataset = replace(dataset, train=dataset.train.take(kept))
    if options.limit is not None and options.limit < len(dataset.train):
        labels = dataset.train.labels
        kept = stratified_choice(labels, options.limit, derive_seed(seed, "limit"))
        dataset = replace(dataset, train=dataset.train.take(kept))
    if options.fold is not None:
        fold, _, folds = options.fold.partition("/")
        return with_fold(dataset, int(fold), int(folds), seed)
    return with_validation(dataset, options.validation, seed)


def with_validation(dataset: Dataset, amount: int | float, seed: int) -> Dataset:
    """Move `amount` of the training split (a share below 1, or a number) to a validation split.

    A data set that comes with its own validation split keeps it as it is.

    Raises:
        UserError: nothing would be left to train on.
    """
    if dataset.validation is not None or amount == 0:
        return dataset
    total = len(dataset.train)
    count = amount if isinstance(amount, int) else round(amount * total)
    if count >= total:
        raise UserError(f"validation takes {count:,} of {total:,} training images; none is left")
    labels = dataset.train.labels
    return _set_aside(
        dataset, stratified_choice(labels, count, derive_seed(seed, "validation split"))
    )


def with_fold(dataset: Dataset, fold: int, folds: int, seed: int) -> Dataset:
    """Cross-validation: part `fold` (1..folds) of the training split validates, the rest trains.

    The parts do not overlap, cover every training sample, and are the same whichever is asked for.

    Raises:
        UserError: the data set has a validation split of its own, or too few samples.
    """
    if dataset.validation is not None:
        raise UserError("fold: this data set comes with a validation split; folds would ignore it")
    if not 1 <= fold <= folds <= len(dataset.train):
        raise UserError(
            f"fold {fold}/{folds}: with {len(dataset.train):,} training images there can be "
            f"folds 1/{folds} to {folds}/{folds}, if there are as many images"
        )
    labels = dataset.train.labels.numpy()
    random = np.random.default_rng(derive_seed(seed, "folds"))
    # Samples sorted by class, shuffled within, are dealt out in turn like cards.
    shuffled = random.permutation(len(labels))
    dealt = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return _set_aside(dataset, torch.from_numpy(np.sort(dealt[fold - 1 :: folds])))


def _set_aside(dataset: Dataset, chosen: Tensor) -> Dataset:
    rest = torch.ones(len(dataset.train), dtype=torch.bool)
    rest[chosen] = False
    return replace(
        dataset,
        train=dataset.train.take(rest.nonzero().squeeze(1)),
        validation=dataset.train.take(chosen),
    )


def stratified_choice(labels: Tensor, count: int, seed: int) -> Tensor:
    """`count` distinct indices into `labels` (N,), sorted: (count,) int64.

    Every class gets its share rounded down; the largest remainders get the rest (Hamilton's
    method), so that no class is off by one whole sample or more.
    """
    _, counts = np.unique(labels.numpy(), return_counts=True)
    shares = counts * count / max(len(labels), 1)
    wanted = np.floor(shares).astype(int)
    by_remainder = np.argsort(wanted - shares, kind="stable")
    wanted[by_remainder[: count - wanted.sum()]] += 1
    return _choice(labels, wanted, seed)


def per_class_choice(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` samples of each class (all of a class that has fewer), sorted."""
    _, counts = np.unique(labels.numpy(), return_counts=True)
    return _choice(labels, np.minimum(counts, count), seed)


def _choice(
    labels: Tensor, wanted: np.ndarray[tuple[int, ...], np.dtype[np.int_]], seed: int
) -> Tensor:
    """`wanted[k]` random indices of the k-th class that occurs, sorted."""
    _, classes = np.unique(labels.numpy(), return_inverse=True)
    random = np.random.default_rng(seed)
    taken = [random.permutation(np.flatnonzero(classes == k))[:n] for k, n in enumerate(wanted)]
    return torch.from_numpy(np.sort(np.concatenate([np.empty(0, np.int64), *taken])))
