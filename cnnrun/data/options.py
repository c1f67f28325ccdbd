"""The keys that every `dataset` section has, whichever source it names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.normalize import Normalize
from cnnrun.registry import Component, augmentations

Positive = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=65_535)]


class DatasetOptions(Component):
    """How the pictures that a source delivers are chosen, batched and prepared."""

    # Images of a training step.
    batch_size: Positive = 64
    # Small-data experiments: so many training images in all, or of each class.
    limit: Positive | None = None
    per_class: Positive | None = None
    # Set aside from the training split to choose by: a share (0.1) or a number of images (500).
    validation: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] = 0.1
    # Cross-validation instead: "2/5" validates on the second of five parts.
    fold: Annotated[str, Field(pattern=r"^[1-9]\d{0,3}/[1-9]\d{0,3}$")] | None = None
    # What pictures are brought to: height and width (one number for both), and how they get there.
    size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    resize: Literal["crop", "squash", "pad"] = "crop"
    channels: Literal["auto", "gray", "rgb"] = "auto"
    # Bits that each value of 16-bit gray images has, e.g. 12 of a camera's: then 4095 is white.
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    # Moves every picture of every split, once, by up to this share of its height and width.
    displace: Annotated[float, Field(ge=0, le=1)] = 0.0
    # What is subtracted from pixels and what they are divided by; `auto` measures the training set.
    normalize: Normalize = "auto"
    # Random changes to training images, in this order.
    augment: list[Any] = []
    # How geometric augmentations read between pixels.
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    # Image files: what a damaged one means, where decoded pictures are kept, how many decode.
    on_error: Literal["stop", "skip"] = "stop"
    cache: Literal["none", "ram", "disk"] = "none"
    cache_dir: str | None = None
    threads: Positive | None = None

    def pictures(self) -> ImageOptions:
        """What sources and conversions are told about the form of pictures."""
        size = [self.size, self.size] if isinstance(self.size, int) else self.size
        wanted: dict[str, Literal[1, 3] | None] = {"auto": None, "gray": 1, "rgb": 3}
        return ImageOptions(
            size=(size[0], size[1]) if size else None,
            channels=wanted[self.channels],
            resize=self.resize,
            bits=self.bits,
            on_error=self.on_error,
            cache=self.cache,
            cache_dir=self.cache_dir,
            threads=self.threads,
        )


def dataset_options() -> type[DatasetOptions]:
    """`DatasetOptions` whose `augment` is a list of what is registered now, plug-ins included."""
    fields: dict[str, Any] = {"augment": (list.__class_getitem__(augmentations.annotation()), [])}
    return create_model("DatasetOptions", __base__=DatasetOptions, **fields)
