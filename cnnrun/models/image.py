"""An image whose pixels are trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.models.block import Shape
from cnnrun.registry import models


@models.register("image")
class TrainedImage(nn.Module):
    """An image as a model: its pixels are the parameters, optimized from coarse to fine."""

    stage: Tensor
    content: Tensor

    def __init__(
        self,
        input_shape: Shape,
        *,
        stages: Annotated[int, Field(ge=1, le=6)] = 2,
        start: Literal["content", "noise"] = "content",
        colors: Literal["free", "content"] = "free",
    ) -> None:
        """stages: Sizes that are trained one after the other, each twice the height and width of
            the one before.
        start: What the first stage starts from.
        colors: `free`, or `content`: keep the content's colors and train only the luminance (Gatys
            et al. 2016).

        Raises:
            UserError: not an RGB image.
        """
        super().__init__()
        channels, height, width = input_shape
        if channels != 3:
            raise UserError(f"an image has 3 channels, not {channels}; set dataset.channels: rgb")
        self.start, self.keeps_colors = start, colors == "content"
        self.levels = nn.ParameterList(
            torch.zeros(1, 1 if self.keeps_colors else 3, *_shrunk(height, width, 2**k))
            for k in reversed(range(stages))
        )
        self.register_buffer("content", torch.zeros(1, *input_shape))
        self.register_buffer("stage", torch.tensor(-1))
        self._train_only(-1)  # keeps `stage` where reading it needs no host sync

    def enter(self, stage: int, content: Tensor) -> bool:
        """Move on to level `stage`, which starts from the one before; returns whether it is new.

        content: (1, 3, H, W) float32 in 0..1; the first level starts from it, or from noise.
        """
        if stage == self.current:
            return False
        with torch.no_grad():
            self.content.copy_(content)
            level = self.levels[stage]
            size = level.shape[2:]
            if stage:
                level.copy_(_resized(self.levels[stage - 1], size))
            elif self.start == "content":
                first = _luminance(content) if self.keeps_colors else content
                level.copy_(_resized(first, size))
            else:
                random = torch.Generator().manual_seed(0)
                level.copy_(torch.rand(level.shape, generator=random))
            self.stage.fill_(stage)
        self._train_only(stage)
        return True

    def _train_only(self, stage: int) -> None:
        self.current = stage
        for k, level in enumerate(self.levels):
            level.requires_grad_(k == max(stage, 0))

    def forward(self, images: Tensor) -> Tensor:  # noqa: ARG002
        """The current image, (1, 3, h, w) in 0..1, whatever the input."""
        level: Tensor = self.levels[max(self.current, 0)]
        if self.training:
            with torch.no_grad():
                level.clamp_(0, 1)
        if not self.keeps_colors:
            return level if self.training else level.clamp(0, 1)
        content = _resized(self.content, level.shape[2:])
        # The same for all three channels, so that only the luminance changes.
        return (content + (level - _luminance(content))).clamp(0, 1)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        super()._load_from_state_dict(*arguments, **options)
        self._train_only(int(self.stage))


def _shrunk(height: int, width: int, factor: int) -> tuple[int, int]:
    return max(1, height // factor), max(1, width // factor)


def _luminance(image: Tensor) -> Tensor:
    """(N, 3, H, W) to (N, 1, H, W), luma (ITU-R BT.601)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=image.device).view(1, 3, 1, 1)
    return (image * weights).sum(1, keepdim=True)


def _resized(image: Tensor, size: torch.Size) -> Tensor:
    if image.shape[2:] == size:
        return image
    new = nn.functional.interpolate(image, tuple(size), mode="bilinear", antialias=True)
    return new.clamp(0, 1)
