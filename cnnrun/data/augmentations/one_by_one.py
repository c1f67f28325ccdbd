"""Other libraries' transforms: one image after the other, on the CPU, each from a seed of its own.

This is slow compared with augmentations of a whole batch: the loop waits for the device and for
each image. The seeds are drawn as all of a batch's random numbers are, so a resumed run, and any
number of threads that read images, gets the same images.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from cnnrun.data.augmentations.base import Augmentation, Draws
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.errors import UserError

_SEEDS = 2**31 - 1


class OneByOne(Augmentation):
    """Changes each image, and moves its mask, by a transform of another library."""

    name: str
    # Why masks can't be moved along, up to "leave"; "" where they can.
    refuses_masks: str = "it changes images and not their masks; leave"

    @abstractmethod
    def changed(self, image: Tensor, mask: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
        """An image (C, H, W) uint8 and its mask (H, W) uint8, if any, moved by the same draw.

        Returns: the image, uint8 or float32 in 0..1, and the mask; without one, anything.
        """

    def draw(self, sampler: Sampler) -> Draws:
        """See `Augmentation.draw`."""
        return {"seed": sampler.integers(0, _SEEDS)}

    def apply(
        self, images: Tensor, masks: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Tensor | None]:
        """Images (N, C, H, W), uint8 or float32 in 0..1, and masks (N, H, W) uint8, to the same.

        Raises:
            UserError: the transform fails, or gives an image of another form.
        """
        whole = images if images.dtype == torch.uint8 else images.mul(255).round().byte()
        held = masks.cpu() if masks is not None else None
        seeds = draws["seed"].tolist()
        pairs = []
        with torch.random.fork_rng(devices=[]):
            for i, image in enumerate(whole.cpu()):
                mask = None if held is None else held[i]
                pairs.append(self._checked(image, mask, seeds[i]))
        changed, moved = zip(*pairs, strict=True)
        targets = None if masks is None else torch.stack(moved).to(masks.device)
        return torch.stack(changed).to(images.device), targets

    def _checked(self, image: Tensor, mask: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
        try:
            found, moved = self.changed(image, mask, seed)
        # Whatever another library says of an image or a value that it can't use.
        except Exception as error:
            message = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"augment: {self.name}: {message}") from error
        if found.shape != image.shape or (mask is not None and moved.shape != mask.shape):
            was, now = (" x ".join(map(str, each.shape)) for each in (image, found))
            raise UserError(f"augment: {self.name} makes images of {was} to {now}")
        return found, moved
