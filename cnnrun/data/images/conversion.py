"""Images given as arrays, converted to the requested size and channels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnrun.data.dataset import Dataset, Images, Split
from cnnrun.data.images.decoding import ImageFormat, ImageOptions
from cnnrun.data.images.framing import kept_part
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import IGNORED, Masks
from cnnrun.errors import UserError

_CHUNK_BYTES = 2**26


def with_form(dataset: Dataset, options: ImageOptions) -> Dataset:
    """Every split with the size and channels of `options`; None leaves them unchanged.

    Images in files already have them: their source was given `options`.
    """
    channels, height, width = dataset.input_shape
    if options.channels not in (None, channels) and channels not in (1, 3):
        raise UserError(f"channels: the images have {channels}, which are neither gray nor RGB")
    form = ImageFormat(
        options.size or (height, width),
        options.channels or channels,
        options.resize,
        crop_fraction=options.crop_fraction,
    )
    if (channels, height, width) == (form.channels, *form.size) and form.crop_fraction == 1:
        return dataset

    def formed(split: Split) -> Split:
        if split.names is not None:
            return split  # files are resized as they are decoded
        why = split.targets.refuses_moving
        if why and ((height, width) != form.size or form.crop_fraction != 1):
            raise UserError(f"size: {why} the size as it is")
        return replace(
            split, images=_formed(split.images, form), targets=_targets(split.targets, form)
        )

    return dataset.each_split(formed)


def _targets(targets: Targets, form: ImageFormat) -> Targets:
    """Resize masks to their images' size, by nearest neighbour; other targets are unchanged."""
    if not isinstance(targets, Masks):
        return targets
    return Masks(convert_masks(targets.held, form))


def convert_masks(masks: Tensor, form: ImageFormat) -> Tensor:
    """(N, H, W) uint8 to (N, *form.size) uint8, like `convert`; padding is ignored."""
    masks = _kept(masks, form)
    height, width = masks.shape[1:]
    if form.resize != "pad":
        return _nearest(masks, form.size)
    scale = min(form.size[0] / height, form.size[1] / width)
    inner = max(round(height * scale), 1), max(round(width * scale), 1)
    top, left = (form.size[0] - inner[0]) // 2, (form.size[1] - inner[1]) // 2
    out = masks.new_full((len(masks), *form.size), IGNORED)
    out[:, top : top + inner[0], left : left + inner[1]] = _nearest(masks, inner)
    return out


def restored_mask(mask: Tensor, size: tuple[int, int], form: ImageFormat) -> Tensor:
    """A mask (*form.size) uint8 resized to its image's own (height, width).

    Parts of the image that the network did not see are `IGNORED`.
    """
    window = kept_part(*size, form)
    if form.resize == "pad":
        height, width = window.height, window.width
        scale = min(form.size[0] / height, form.size[1] / width)
        inner = max(round(height * scale), 1), max(round(width * scale), 1)
        top, left = (form.size[0] - inner[0]) // 2, (form.size[1] - inner[1]) // 2
        mask = mask[top : top + inner[0], left : left + inner[1]]
    out = mask.new_full(size, IGNORED)
    rows = slice(window.top, window.top + window.height)
    columns = slice(window.left, window.left + window.width)
    out[rows, columns] = _nearest(mask[None], (window.height, window.width))[0]
    return out


def _kept(images: Tensor, form: ImageFormat) -> Tensor:
    """The part of images (..., H, W) that `form` resizes."""
    height, width = images.shape[-2:]
    window = kept_part(height, width, form)
    rows = slice(window.top, window.top + window.height)
    return images[..., rows, window.left : window.left + window.width]


def _nearest(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(masks[:, None], size=size, mode="nearest-exact")[:, 0]


def _formed(images: Images, form: ImageFormat) -> Images:
    """A tensor is converted now, chunk by chunk; other images when they are read."""
    if not isinstance(images, Tensor):
        return Converted(images, form)
    chunk = max(1, _CHUNK_BYTES // max(images[:1].numel(), 1))
    return torch.cat([convert(part, form) for part in torch.split(images, chunk)])


@dataclass(frozen=True)
class Converted:
    """Images that are converted when they are read."""

    images: Images
    form: ImageFormat

    @property
    def shape(self) -> torch.Size:
        return torch.Size((self.images.shape[0], self.form.channels, *self.form.size))

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        return convert(self.images[indices], self.form)


def convert(images: Tensor, form: ImageFormat) -> Tensor:
    """(N, C, H, W) uint8 to (N, form.channels, *form.size) uint8, antialiased."""
    images = _kept(to_channels(images, form.channels), form)
    height, width = images.shape[2:]
    if (height, width) == form.size:
        return images
    if form.resize != "pad":
        return _resized(images, form.size)
    scale = min(form.size[0] / height, form.size[1] / width)
    inner = max(round(height * scale), 1), max(round(width * scale), 1)
    top, left = (form.size[0] - inner[0]) // 2, (form.size[1] - inner[1]) // 2
    out = images.new_zeros(len(images), form.channels, *form.size)
    out[:, :, top : top + inner[0], left : left + inner[1]] = _resized(images, inner)
    return out


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[2:]) == size:
        return images
    # torch's quick kernel for bytes wants channels-last memory.
    images = images.contiguous(memory_format=torch.channels_last)
    return F.interpolate(images, size=size, mode="bilinear", antialias=True).contiguous()


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Gray repeated to RGB, or RGB to gray with Pillow's integer weights (ITU-R 601 luma)."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    red, green, blue = images.to(torch.int32).unbind(1)
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma.to(torch.uint8).unsqueeze(1)
