"""Targets of each kind: counted, taken, renamed, mixed and moved as what they are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cnnrun.data.augmentations.base import Augmentation, Draws, Photometric
from cnnrun.data.augmentations.geometric import (
    HorizontalFlip,
    RandomResizedCrop,
    Rotation,
    ShiftCrop,
)
from cnnrun.data.augmentations.mixing import Mixup
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.pipeline import Pipeline
from cnnrun.data.sources.shapes import shapes
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import IGNORED, Labels, LabelSets, Masks, Values, as_targets
from cnnrun.errors import UserError

NAMES = ("a", "b", "c")
EACH: list[Targets] = [
    Labels(torch.tensor([2, 0, 1, 1])),
    LabelSets(torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 1], [1, 0, 0]])),
    Values(torch.tensor([[0.5, -2, 3], [1, 1, 1], [7, 8, 9], [0.0, 0.25, 1e6]])),
    Masks(torch.tensor([[[0, 1], [2, 255]]] * 3 + [[[1, 1], [1, 1]]], dtype=torch.uint8)),
]


def _pipeline(
    augmentations: list[Augmentation], kind: type[Targets], channels: int = 1
) -> Pipeline:
    return Pipeline(
        augmentations,
        [0.0] * channels,
        [1.0] * channels,
        interpolation="nearest",
        device=torch.device("cpu"),
        num_classes=3,
        kind=kind,
    )


@pytest.mark.parametrize("targets", EACH, ids=lambda t: t.kind)
def test_taken_renamed_and_counted(targets: Targets) -> None:
    order = torch.tensor([3, 0, 2])
    assert torch.equal(targets.take(order).held, targets.held[order])
    other = ("c", "a", "b")
    there = targets.renamed(NAMES, other)
    back = there.renamed(other, NAMES)
    assert torch.equal(back.held, targets.held)
    assert targets.captions(NAMES) == back.captions(NAMES)
    if targets.kind != "values":
        counts = dict(zip(NAMES, targets.counts(3).tolist(), strict=True))
        assert dict(zip(other, there.counts(3).tolist(), strict=True)) == counts
    targets.check("train", NAMES)
    unknown = type(targets).unknown(2, 3, (2, 2))
    assert unknown.held.shape[1:] == targets.held.shape[1:]
    assert unknown.held.dtype == targets.held.dtype


def test_counts_are_of_samples_or_pixels() -> None:
    assert [t.counts(3).tolist() for t in EACH] == [[1, 2, 1], [2, 1, 2], [4, 4, 4], [3, 7, 3]]


@pytest.mark.parametrize("targets", EACH, ids=lambda t: t.kind)
def test_numbers_tell_different_targets_apart(targets: Targets) -> None:
    assert torch.equal(targets.numbers, targets.numbers)
    alone = [targets.take(torch.tensor([k])).numbers.item() for k in range(4)]
    assert alone == targets.numbers.tolist()
    distinct = len(torch.unique(targets.held, dim=0))
    assert len(set(alone)) == distinct
    assert torch.equal(targets.take(torch.arange(0)).numbers, torch.empty(0, dtype=torch.int64))


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (Labels(torch.tensor([0, 3])), "the label 3, but there are 3 classes"),
        (LabelSets(torch.tensor([[0, 1, 0.5]])), "neither 0 nor 1"),
        (LabelSets(torch.ones(1, 2)), "shape (1, 2) for 3 labels"),
        (Values(torch.tensor([[1, 2, float("nan")]])), "nan for 'c' (sample 0)"),
        (Values(torch.ones(2, 4)), "shape (2, 4) for 3 values"),
        (Masks(torch.tensor([[[0, 7]]], dtype=torch.uint8)), "masks with the value 7"),
    ],
)
def test_what_is_no_target_is_refused(targets: Targets, told: str) -> None:
    with pytest.raises(UserError, match=told.replace("(", r"\(").replace(")", r"\)")):
        targets.check("train", NAMES)


def test_a_tensor_is_the_kind_that_it_can_only_be() -> None:
    given = {
        Labels: torch.tensor([1]),
        Values: torch.zeros(1, 2),
        Masks: torch.zeros(1, 2, 2, dtype=torch.uint8),
    }
    for kind, tensor in given.items():
        assert type(as_targets(tensor)) is kind
    sets = LabelSets(torch.zeros(1, 2))
    assert as_targets(sets) is sets


def test_who_needs_labels_is_refused_others() -> None:
    split = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), EACH[1])
    with pytest.raises(UserError, match="one class per image, and these data have label sets"):
        _ = split.labels


class Nothing(Photometric):
    """Changes no value, but ends a row of moves."""

    def draw(self, sampler: Sampler) -> Draws:
        return {"nothing": sampler.uniform(0, 1)}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:  # noqa: ARG002
        return images


GEOMETRY: list[Augmentation] = [
    HorizontalFlip(),
    Rotation(degrees=40),
    ShiftCrop(padding=3),
    ShiftCrop(padding=3, padding_mode="reflect"),
    RandomResizedCrop(scale=[0.3, 1.0]),
]


@given(st.lists(st.sampled_from(GEOMETRY), min_size=1, max_size=3), st.integers(0, 1000))
def test_masks_move_with_the_very_draws_of_their_images(
    moves: list[Augmentation], seed: int
) -> None:
    """Images whose pixels are their masks' classes: what comes in is black, there ignored."""
    random = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 3, (5, 9, 12), generator=random, dtype=torch.uint8)
    images = (masks + 1)[:, None]
    for augmentations in (moves, [*moves[:1], Nothing(), *moves[1:]]):
        inputs, moved = _pipeline(augmentations, Masks)(images, masks, random.manual_seed(seed))
        seen = (inputs[:, 0] * 255).round().to(torch.uint8)
        expected = torch.where(seen == 0, IGNORED, seen - 1)
        assert torch.equal(moved, expected)


def test_masks_keep_their_classes_where_images_are_averaged() -> None:
    data = shapes(targets="masks", classes=2, side=16, train=8, test=1).train
    pipeline = _pipeline([Rotation(degrees=30)], Masks, channels=3)
    pipeline.interpolation = "bilinear"
    _, moved = pipeline(data.images[torch.arange(8)], data.targets.held, torch.Generator())
    assert set(moved.unique().tolist()) <= {0, 1, 2, IGNORED}


def test_mixup_mixes_sets_of_labels_as_it_mixes_images() -> None:
    images = torch.tensor([0, 100, 200], dtype=torch.uint8).view(3, 1, 1, 1)
    sets = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 1]])
    mixed, targets = _pipeline([Mixup(alpha=1.0)], LabelSets)(images, sets, torch.Generator())
    before = images.float().flatten() / 255
    share = (mixed.flatten() - before.roll(1)) / (before - before.roll(1))
    expected = share[:, None] * sets + (1 - share[:, None]) * sets.roll(1, 0)
    assert torch.allclose(targets, expected, atol=1e-5)


def _means_over(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum((1, 2)) / where.sum((1, 2))


def test_shapes_of_values_lie_where_they_say() -> None:
    """The crescent's own pixels are on the left of its centre before it is turned."""
    data = shapes(targets="values", side=64, train=40, test=1, color=False, position=0.1)
    images = data.train.images[torch.arange(40)][:, 0].float()
    shape = (images - images[:, :1, :1]).abs() > 20
    grid = (torch.arange(64) + 0.5) / 64
    x, y = _means_over(grid.expand(40, 64, 64), shape), _means_over(grid.view(64, 1), shape)
    true_x, true_y, sine, cosine = data.train.targets.held.unbind(1)
    assert data.classes == ("x", "y", "sine", "cosine")
    left, up = true_x - x, true_y - y  # of the mass, as seen from the centre
    angle = torch.atan2(up, left)
    difference = (angle - torch.atan2(sine, cosine) + torch.pi).remainder(2 * torch.pi) - torch.pi
    assert difference.abs().max() < 0.2


def test_shapes_of_scenes_agree_with_one_another() -> None:
    """Sets of labels and masks are of the same images, and say the same of each."""
    either = {
        kind: shapes(targets=kind, classes=4, train=60, test=1)  # type: ignore[arg-type]
        for kind in ("label_sets", "masks")
    }
    sets, masks = either["label_sets"], either["masks"]
    assert torch.equal(sets.train.images[:], masks.train.images[:])  # type: ignore[call-overload]
    assert masks.classes == ("background", *sets.classes)
    held = masks.train.targets.held.flatten(1)
    there = torch.stack([(held == k).any(1) for k in range(1, 5)], 1)
    assert torch.equal(there.float(), sets.train.targets.held)
    assert 0.2 < float(there.float().mean()) < 0.8


def test_renaming_needs_every_value() -> None:
    with pytest.raises(UserError, match="the data have no values d"):
        EACH[2].renamed(NAMES, ("a", "b", "c", "d"))


def test_a_data_set_of_a_checkpoint_has_its_order() -> None:
    split = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), EACH[2])
    data = Dataset(NAMES, split, split).with_labels_of(("c", "a", "b"))
    assert torch.equal(data.train.targets.held, split.targets.held[:, [2, 0, 1]])
