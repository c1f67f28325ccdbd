"""Images of any size converted to one size: which part is taken, and how it is resized.

Resizing is bilinear with antialiasing; torch's kernel for bytes works in channels-last memory
without the GIL and agrees with Pillow within 1 of 255.

Each operation of torch, of numpy on large arrays and of the system releases the GIL and has to get
it back from the other decoding threads, so there are as few as possible.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnrun.data.images.decoding import ImageFormat
from cnnrun.data.images.formats import Opened, open_image
from cnnrun.data.images.window import Pixels, Window
from cnnrun.runtime.randomness import derive_seed

# The operator behind F.interpolate, which has no `out` argument.
_resize: Any = torch._C._nn._upsample_bilinear2d_aa


@dataclass(frozen=True)
class RandomCrop:
    """A random part of the image, resized: Inception's crop (Szegedy et al. 2015).

    scale: smallest and largest fraction of the image's area. ratio: smallest and largest width /
    height.
    """

    seed: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def window(self, height: int, width: int, epoch: int, index: int) -> Window:
        """The crop of sample `index` in `epoch`; depends on nothing else but the seed."""
        draw = random.Random(derive_seed(self.seed, "random crop", epoch, index)).random
        low, high = (math.log(ratio) for ratio in self.ratio)
        for _ in range(10):
            area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * draw())
            ratio = math.exp(low + (high - low) * draw())
            wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < tall <= height:
                top, left = int((height - tall + 1) * draw()), int((width - wide + 1) * draw())
                return Window(top, left, tall, wide)
        # Too long an image for any: the center, as near to the target's aspect ratio as possible.
        nearest = min(max(width / height, self.ratio[0]), self.ratio[1])
        return middle(height, width, nearest)


def middle(height: int, width: int, ratio: float) -> Window:
    """The largest centered window with width / height `ratio`."""
    tall = max(min(height, round(width / ratio)), 1)
    wide = max(min(width, round(height * ratio)), 1)
    return Window((height - tall) // 2, (width - wide) // 2, tall, wide)


def kept_part(height: int, width: int, form: ImageFormat) -> Window:
    """The part of an image of this size that `form` resizes."""
    taken = Window(0, 0, height, width)
    if form.resize == "crop":
        taken = middle(height, width, form.size[1] / form.size[0])
    tall = max(round(taken.height * form.crop_fraction), 1)
    wide = max(round(taken.width * form.crop_fraction), 1)
    top, left = taken.top + (taken.height - tall) // 2, taken.left + (taken.width - wide) // 2
    return Window(top, left, tall, wide)


def frame(
    content: bytes,
    form: ImageFormat,
    out: Tensor,
    crop: RandomCrop | None = None,
    epoch: int = 0,
    index: int = 0,
) -> Opened:
    """Decode the content of a file into `out` (1, C, H, W) uint8, as `form` says.

    With `crop`, take the crop of sample `index` in `epoch` instead of `form.resize`. Returns the
    opened image, which knows its mode.

    Raises:
        UnreadableError: it can't be decoded.
    """
    image = open_image(content, form.reading)
    frame_opened(image, form, out, crop, epoch, index)
    return image


def frame_opened(
    image: Opened,
    form: ImageFormat,
    out: Tensor,
    crop: RandomCrop | None = None,
    epoch: int = 0,
    index: int = 0,
) -> None:
    """As `frame`, for an opened image."""
    height, width = image.size
    if crop is not None:
        window = crop.window(height, width, epoch, index)
    else:
        window = kept_part(height, width, form)
        if form.resize == "pad":
            _pad(image, window, form, out)
            return
    _resize_into(out, image.read(form.channels, window, form.size))


def _pad(image: Opened, window: Window, form: ImageFormat, out: Tensor) -> None:
    scale = min(form.size[0] / window.height, form.size[1] / window.width)
    tall, wide = max(round(window.height * scale), 1), max(round(window.width * scale), 1)
    top, left = (form.size[0] - tall) // 2, (form.size[1] - wide) // 2
    out.zero_()
    pixels = image.read(form.channels, window, (tall, wide))
    _resize_into(out[:, :, top : top + tall, left : left + wide], pixels)


def _resize_into(out: Tensor, pixels: Pixels) -> None:
    """Resize (h, w, C) to the height and width of `out` (1, C, H, W)."""
    size = out.shape[2:]
    if pixels.shape[:2] == size:
        out.copy_(_as_batch(pixels))
        return
    # The fast kernel needs contiguous channels-last images: copying the window pays off.
    source = _as_batch(np.ascontiguousarray(pixels))
    # Its output's memory format must be one of these two.
    if out.is_contiguous(memory_format=torch.channels_last) or out.is_contiguous():
        _resize(source, size, False, None, None, out=out)
    else:
        out.copy_(_resize(source, size, False, None, None))


def _as_batch(pixels: Pixels) -> Tensor:
    """(h, w, C) as (1, C, h, w); nothing is copied."""
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None])
