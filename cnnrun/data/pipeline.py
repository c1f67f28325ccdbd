"""From a batch of stored images to the model's input: augment and normalize, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from cnnrun.data.augmentations.base import (
    Augmentation,
    Draws,
    Geometric,
    Interpolation,
    Mixing,
    Photometric,
    Policy,
)
from cnnrun.data.augmentations.one_by_one import OneByOne
from cnnrun.data.augmentations.resampling import Warp, resample, to_unit
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import IGNORED, Labels
from cnnrun.registry import augmentations as registered


class Pipeline:
    """Augments (in the order of the list) and normalizes batches on `device`."""

    def __init__(
        self,
        augmentations: Sequence[Augmentation],
        mean: Sequence[float],
        std: Sequence[float],
        *,
        interpolation: Interpolation,
        device: torch.device,
        num_classes: int,
        kind: type[Targets] = Labels,
    ) -> None:
        """mean, std: one for each channel, in units of 0..1. kind: of the targets."""
        self.augmentations = list(augmentations)
        self.kind = kind
        self.interpolation = interpolation
        self.num_classes = num_classes
        self.mean = torch.tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        # (x / 255 - mean) / std as one product and one sum.
        self._factor = 1 / self.std
        self._shift = -self.mean / self.std
        self._byte_factor = self._factor / 255

    def __call__(
        self,
        images: Tensor,
        targets: Tensor,
        generator: torch.Generator | None,
        samples: Tensor | None = None,
        epoch: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """The model's input and its targets.

        images: (N, C, H, W) uint8. targets: (N, ...), as `kind` holds them. generator: on
        the images' device; None means evaluation, without augmentation. samples: (N,) int64, which
        training images these are. epoch: from 0.

        Returns:
            (N, C, H, W) float32, normalized, and the targets; masks are moved with their images,
            and labels become (N, K) float32 shares of the classes where images are mixed.
        """
        if generator is None or not self.augmentations:
            return self.normalize(images), targets
        images, targets, _ = self._augment(images, targets, generator, samples, epoch)
        return self.normalize(images), targets

    @property
    def draws(self) -> bool:
        """Whether training images need random numbers."""
        return bool(self.augmentations)

    def normalize(self, images: Tensor) -> Tensor:
        """(x - mean) / std of (N, C, H, W) uint8 in 0..255 or float32 in 0..1."""
        factor = self._byte_factor if images.dtype == torch.uint8 else self._factor
        return images.to(torch.float32, copy=True).mul_(factor).add_(self._shift)

    def denormalize(self, images: Tensor) -> Tensor:
        """What `normalize` made of images back to 0..1, to look at."""
        return (images * self.std + self.mean).clamp_(0, 1)

    def augment_with_draws(
        self, images: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, list[tuple[str, Draws]]]:
        """Augmented images, not normalized, and what was drawn for them.

        images: (N, C, H, W) uint8.

        Returns:
            (N, C, H, W) float32 in 0..1, and for each augmentation its name and its draws.
        """
        labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        alone = copy(self)  # only the images are shown
        alone.kind = Labels
        images, _, steps = alone._augment(images, labels, generator)
        names = [_name_of(augmentation) for augmentation in self.augmentations]
        return to_unit(images), list(zip(names, steps, strict=True))

    def captions(self, steps: Sequence[tuple[str, Draws]]) -> list[str]:
        """The draws of `augment_with_draws` as text: one line per augmentation, for each image."""
        described = [
            [f"{name}: {text}" for text in augmentation.describe(draws)]
            for augmentation, (name, draws) in zip(self.augmentations, steps, strict=True)
        ]
        return ["\n".join(lines) for lines in zip(*described, strict=True)]

    def _augment(
        self,
        images: Tensor,
        targets: Tensor,
        generator: torch.Generator,
        samples: Tensor | None = None,
        epoch: int = 0,
    ) -> tuple[Tensor, Tensor, list[Draws]]:
        """Augmented images, uint8 if they were only moved or else float32 in 0..1."""
        count, _, height, width = images.shape
        sampler = Sampler(count, height, width, generator, samples, epoch)
        moves: list[Warp] = []  # waiting, so that neighbours cost one resampling
        steps = []
        for augmentation in self.augmentations:
            draws = augmentation.draw(sampler)
            steps.append(draws)
            if isinstance(augmentation, Geometric):
                matrices = augmentation.matrices(draws)
                moves.append(Warp(matrices, augmentation.padding_mode))
                continue
            images, targets = self._move(images, targets, moves)
            moves = []
            if not isinstance(augmentation, OneByOne):
                images = to_unit(images)
            if isinstance(augmentation, Photometric):
                images = augmentation.apply(images, draws)
            elif isinstance(augmentation, OneByOne):
                masks = targets if self.kind.move else None
                images, moved = augmentation.apply(images, masks, draws)
                targets = targets if moved is None else moved
            elif isinstance(augmentation, Policy):
                images = augmentation.apply(images, draws, self.interpolation)
            elif isinstance(augmentation, Mixing):
                targets = self.kind.mixable(targets, self.num_classes)
                images, targets = augmentation.apply(images, targets, draws)
        return *self._move(images, targets, moves), steps

    def _move(self, images: Tensor, targets: Tensor, moves: list[Warp]) -> tuple[Tensor, Tensor]:
        if not moves:
            return images, targets
        if self.kind.move:
            targets = moved_masks(targets, moves)
        return resample(images, moves, self.interpolation), targets


def moved_masks(masks: Tensor, moves: Sequence[Warp]) -> Tensor:
    """Masks (N, H, W) uint8 moved as `resample` moves images; from outside, `IGNORED` comes in.

    Always the nearest pixel: between two classes there is none.
    """
    # Outside of an image `resample` reads 0; of the masks' complement, that is `IGNORED`.
    return (IGNORED - resample((IGNORED - masks)[:, None], moves, "nearest"))[:, 0]


def _name_of(augmentation: Augmentation) -> str:
    """The name it is registered by."""
    if isinstance(augmentation, OneByOne):
        return augmentation.name
    names = (n for n in registered.names() if registered.get(n).factory is type(augmentation))
    return next(names, type(augmentation).__name__)
