"""What an augmentation is: random parameters for every image of a batch, and their effect.

Drawing and applying are apart, so that a plot can show the parameters with their effect and a
test can choose them. No augmentation reads a value from the device: it would have to wait for a
GPU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.errors import UserError

Draws = dict[str, Tensor]
"""Parameters by name, each (N,): value i belongs to image i."""

Interpolation = Literal["nearest", "bilinear"]
PaddingMode = Literal["zeros", "reflect", "edge"]
Probability = Annotated[float, Field(ge=0, le=1, description="Chance that an image is changed.")]
PAIR = Field(min_length=2, max_length=2)
AreaRange = Annotated[list[Annotated[float, Field(ge=0, le=1)]], PAIR]
PositiveRange = Annotated[list[Annotated[float, Field(gt=0)]], PAIR]


class Augmentation(ABC):
    """A random change to every image of a batch."""

    @abstractmethod
    def draw(self, sampler: Sampler) -> Draws:
        """Parameters for `sampler.count` images of `sampler.height` x `sampler.width` pixels."""

    def describe(self, draws: Draws) -> list[str]:
        """The parameters of each image as text, for the title of a plot."""
        columns = {name: values.tolist() for name, values in draws.items()}
        count = max(map(len, columns.values()), default=0)
        return [
            ", ".join(f"{name} {_show(values[i])}" for name, values in columns.items())
            for i in range(count)
        ]


class Geometric(Augmentation):
    """Moves pixels. Adjacent ones in the list are composed into a single resampling."""

    # What lies outside the image: black, its mirror image (the border pixel not repeated), or the
    # nearest border pixel.
    padding_mode: PaddingMode = "zeros"

    @abstractmethod
    def matrices(self, draws: Draws) -> Tensor:
        """Where each output pixel reads: (N, 3, 3), see `identity`.

        They map (x, y, 1) of the output to (x, y, 1) of the input, in pixels from the centre of the
        image, x to the right and y downwards.
        """


class Photometric(Augmentation):
    """Changes pixel values without moving them."""

    @abstractmethod
    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """(N, C, H, W) float32 in 0..1 to the same."""


class Policy(Augmentation):
    """Chooses among geometric and photometric operations for each image."""

    @abstractmethod
    def apply(self, images: Tensor, draws: Draws, interpolation: Interpolation) -> Tensor:
        """(N, C, H, W) float32 in 0..1 to the same."""


class Mixing(Augmentation):
    """Combines each image, and its label, with another of the batch."""

    @abstractmethod
    def apply(self, images: Tensor, targets: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) float32 in 0..1 and targets (N, K) float32 to the same."""


Applicable = Geometric | Photometric | Policy | Mixing
"""What the pipeline can apply."""


def per_image(values: Tensor) -> Tensor:
    """(N,) to (N, 1, 1, 1), which broadcasts over images."""
    return values.view(-1, 1, 1, 1)


def identity(like: Tensor) -> Tensor:
    """(N, 3, 3) identity matrices of `matrix_dtype` for N = len(like), on its device."""
    eye = torch.eye(3, dtype=matrix_dtype(like.device), device=like.device)
    return eye.expand(len(like), 3, 3).clone()


def matrix_dtype(device: torch.device) -> torch.dtype:
    """float64, so that matrices round to exactly Pillow's coefficients; MPS has none."""
    return torch.float32 if device.type == "mps" else torch.float64


def apply_where_(
    marked: Tensor, images: Tensor, operation: Callable[..., Tensor], *parameters: Tensor
) -> Tensor:
    """`operation(images, *parameters)` for the images that `marked` (N,) bool marks.

    May write into `images`; the result is what is returned.

    A CPU only computes on those. Elsewhere, finding out which they are would cost more than
    computing on all: the program would have to wait for the device.
    """
    if images.device.type == "cpu":
        index = marked.nonzero().squeeze(1)
        if len(index) == 0:
            return images
        changed = operation(images[index], *(parameter[index] for parameter in parameters))
        return images.index_copy_(0, index, changed)
    return torch.where(per_image(marked), operation(images, *parameters), images)


def ordered(name: str, limits: list[float]) -> tuple[float, float]:
    """The two limits of a range; `name` is its key in the YAML file.

    Raises:
        UserError: the first is larger than the second.
    """
    low, high = limits
    if low > high:
        raise UserError(f"{name}: {low:g} is larger than {high:g}; write the smaller one first")
    return low, high


def _show(value: float | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
