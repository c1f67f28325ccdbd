"""Choosing samples: seeded and stratified by class.

In a fixed set positions decide, by stratified draws of exact size. Files may come and go; of these
each sample's own key decides (`Split.keys`): its hash with the seed is a number in 0..1, and where
that is below 0.2 it belongs to the share of 0.2 that is set aside. So no other file can move a
sample from one split to another; the price is that sizes vary randomly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.identity import Numbers, mixed
from cnnrun.data.options import DatasetOptions
from cnnrun.data.targets import Labels, Masks
from cnnrun.errors import UserError
from cnnrun.runtime.randomness import derive_seed

Counts = NDArray[np.int_]


def apply_splits(dataset: Dataset, options: DatasetOptions, seed: int) -> Dataset:
    """Reduce the training split by `limit` and the like, then split off validation samples.

    Raises:
        UserError: nothing would be left to train on.
    """
    train = dataset.train
    if options.per_class is not None:
        if not isinstance(train.targets, Labels):
            kind = train.targets.kind.replace("_", " ")
            raise UserError(
                f"per_class: images are counted by their class, and these data have {kind}; "
                "dataset.limit cuts them down as a whole"
            )
        wanted = np.minimum(_class_sizes(train.targets.strata), options.per_class)
        chosen = _choice(train.targets.strata, wanted, derive_seed(seed, "per class"), train.keys)
        train = train.take(chosen)
    if options.limit is not None and options.limit < len(train):
        wanted = allocate(_class_sizes(train.targets.strata), options.limit)
        chosen = _choice(train.targets.strata, wanted, derive_seed(seed, "limit"), train.keys)
        train = train.take(chosen)
    dataset = replace(dataset, train=train)
    if options.fold is not None:
        fold, _, folds = options.fold.partition("/")
        parted = with_fold(dataset, int(fold), int(folds), seed, options.stratify)
        return _with_untrained_reported(parted)
    return _with_untrained_reported(with_validation(dataset, options.validation, seed))


def with_validation(dataset: Dataset, amount: int | float, seed: int) -> Dataset:
    """Move `amount` of the training split (a fraction below 1, or a number) to a validation split.

    A data set with its own validation split keeps that.

    Raises:
        UserError: nothing would be left to train on.
    """
    if dataset.validation is not None or amount == 0:
        return dataset
    train, total = dataset.train, len(dataset.train)
    count = amount if isinstance(amount, int) else round(amount * total)
    if count >= total:
        raise UserError(f"validation takes {count:,} of {total:,} training images; none is left")
    seed = derive_seed(seed, "validation split")
    if train.keys is not None:
        return _set_aside(dataset, chosen_by_key(train.keys, train.targets.strata, amount, seed))
    return _set_aside(dataset, stratified_choice(train.targets.strata, count, seed))


def with_fold(
    dataset: Dataset, fold: int, folds: int, seed: int, stratify: bool = False
) -> Dataset:
    """Cross-validation: part `fold` (1..folds) of the training split validates, the rest trains.

    The parts do not overlap, cover every training sample, and are the same whichever is asked for.
    stratify: parts of files have equal numbers of each class, too, as those of a fixed set.

    Raises:
        UserError: the data set has a validation split of its own, or too few samples.
    """
    if dataset.validation is not None:
        raise UserError("fold: this data set comes with a validation split; folds would ignore it")
    train = dataset.train
    if not 1 <= fold <= folds <= len(train):
        if folds > len(train):
            raise UserError(
                f"fold {fold}/{folds}: {len(train):,} training images are too few for {folds} folds"
            )
        raise UserError(f"fold {fold}/{folds}: the folds are 1/{folds} to {folds}/{folds}")
    seed = derive_seed(seed, "folds")
    if train.keys is None:
        return _set_aside(dataset, _dealt(train.targets.strata, fold, folds, seed))
    draws = _draws(train.keys, seed)
    part = np.floor(draws * folds).astype(int)
    if stratify:
        part = fold_of_groups(draws, train.targets.strata.numpy(), folds)
    chosen = np.flatnonzero(part == fold - 1)
    if not 0 < len(chosen) < len(train):
        raise UserError(
            f"fold {fold}/{folds} would have {len(chosen):,} of {len(train):,} images: each file's "
            "name decides its fold, and these are too few for that many folds; ask for fewer"
        )
    return _set_aside(dataset, torch.from_numpy(chosen))


def fold_of_groups(
    groups: NDArray[np.float64], strata: NDArray[np.int64], folds: int
) -> NDArray[np.int64]:
    """The fold, from 0, of each sample: (N,) int64; samples of one group are in the same.

    Groups are dealt in an order that their draws decide, larger ones first: each to the fold that
    has least of the group's classes by then, and of folds alike to the smallest. groups: (N,) draws
    in 0..1. strata: (N,), 0 and more.
    """
    draws, which = np.unique(groups, return_inverse=True)
    if len(draws) == len(groups):  # samples on their own, which may be millions
        part = np.empty(len(groups), np.int64)
        part[np.lexsort((groups, strata))] = np.arange(len(groups)) % folds
        return part
    classes = int(strata.max(initial=0)) + 1
    found = np.empty(len(draws), np.int64)
    order = np.argsort(-np.bincount(which), kind="stable")
    by_group = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    held, totals = np.zeros((folds, classes)), np.zeros(folds)
    sizes = np.maximum(np.bincount(strata, minlength=classes), 1)
    for group in order:
        own, counts = np.unique(strata[by_group[group]], return_counts=True)
        full = (held[:, own] / sizes[own] * counts).sum(1)
        fold = np.lexsort((totals, full))[0]
        held[fold, own] += counts
        totals[fold] += counts.sum()
        found[group] = fold
    return found[which]


def _dealt(labels: Tensor, fold: int, folds: int, seed: int) -> Tensor:
    """Samples, sorted by class and shuffled within, are dealt to folds in turn."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    dealt = shuffled[np.argsort(labels.numpy()[shuffled], kind="stable")]
    return torch.from_numpy(np.sort(dealt[fold - 1 :: folds]))


def _set_aside(dataset: Dataset, chosen: Tensor) -> Dataset:
    train, validation = divided(dataset.train, chosen)
    return replace(dataset, train=train, validation=validation)


def divided(split: Split, chosen: Tensor) -> tuple[Split, Split]:
    """(the rest, the samples at `chosen`)."""
    rest = torch.ones(len(split), dtype=torch.bool)
    rest[chosen] = False
    return split.take(rest.nonzero().squeeze(1)), split.take(chosen)


def _with_untrained_reported(dataset: Dataset) -> Dataset:
    untrained = [dataset.classes[int(k)] for k in (dataset.class_counts == 0).nonzero()]
    if not untrained or not len(dataset.train):
        return dataset
    some = ", ".join(untrained[:8]) + (", ..." if len(untrained) > 8 else "")
    targets = dataset.train.targets
    what = "pixel" if isinstance(targets, Masks) else "image"
    note = (
        f"no training {what} of {len(untrained):,} of {len(dataset.classes):,} {targets.words} "
        f"({some}): "
        "what is set aside (dataset.validation, limit, fold) or the data leave none"
    )
    return replace(dataset, notes=(*dataset.notes, note))


def chosen_by_key(keys: Tensor, labels: Tensor, amount: int | float, seed: int) -> Tensor:
    """The held-out samples, chosen by their own keys: sorted indices, int64.

    amount: a share, below which a sample's draw in 0..1 is to be; or a number of samples, the
        lowest draws of all. Samples with equal keys go together.

    Every class keeps its sample with the highest draw, as a class that is wholly set aside is not
    learned; and where the share means a sample or more, but no draw is so low, the lowest is taken.
    """
    draws, which = _draws(keys, seed), labels.numpy()
    highest = np.full(int(which.max(initial=-1)) + 1, -1.0)
    np.maximum.at(highest, which, draws)
    free = ~np.isin(draws, highest)  # of all classes: a group with several stays together
    by_draw = np.sort(draws[free])
    if not len(by_draw):
        return torch.empty(0, dtype=torch.int64)
    if isinstance(amount, int):
        limit = by_draw[min(amount, len(by_draw)) - 1]
    else:
        below = by_draw[by_draw < amount]
        some = len(below) or round(amount * len(draws)) > 0
        limit = by_draw[max(len(below) - 1, 0)] if some else -1.0
    return torch.from_numpy(np.flatnonzero(free & (draws <= limit)))


def _draws(keys: Tensor, seed: int) -> NDArray[np.float64]:
    """(N,) float64 in 0..1, one for each key and seed, as if tossed."""
    bits: Numbers = mixed(mixed(keys) ^ np.uint64(seed))
    draws: NDArray[np.float64] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return draws


def stratified_choice(labels: Tensor, count: int, seed: int) -> Tensor:
    """`count` distinct indices into `labels` (N,), sorted: (count,) int64.

    Every class gets its proportion rounded down; the largest remainders get the rest (Hamilton's
    method), so that no class is off by one whole sample or more.
    """
    return _choice(labels, allocate(_class_sizes(labels), count), seed)


def allocate(sizes: Counts, count: int) -> Counts:
    """How many of `count` samples each class of `sizes` gets, by Hamilton's method."""
    exact = sizes * count / max(sizes.sum(), 1)
    wanted: Counts = np.floor(exact).astype(int)
    by_remainder = np.argsort(wanted - exact, kind="stable")
    wanted[by_remainder[: count - wanted.sum()]] += 1
    return wanted


def _class_sizes(labels: Tensor) -> Counts:
    """Of the classes that occur."""
    sizes: Counts = np.unique(labels.numpy(), return_counts=True)[1]
    return sizes


def _choice(labels: Tensor, wanted: Counts, seed: int, keys: Tensor | None = None) -> Tensor:
    """`wanted[k]` indices of the k-th class that occurs, sorted: random ones, or by their keys."""
    _, classes = np.unique(labels.numpy(), return_inverse=True)
    random = np.random.default_rng(seed)
    draws = None if keys is None else _draws(keys, seed)
    taken = [np.empty(0, np.int64)]
    for k, count in enumerate(wanted):
        own = np.flatnonzero(classes == k)
        order = random.permutation(own) if draws is None else own[np.argsort(draws[own])]
        taken.append(order[:count])
    return torch.from_numpy(np.sort(np.concatenate(taken)))
