"""The keys that every `dataset` section has, whichever source it names."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.reading import ImageReading
from cnnrun.data.normalize import Normalize
from cnnrun.registry import Component, Entry, augmentations
from cnnrun.registry.options import made_model

Positive = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=65_535)]
Sampler = Literal["none", "balanced"] | list[Annotated[float, Field(ge=0)]]


def _differs(span: list[float]) -> list[float]:
    if span[0] == span[1]:
        raise ValueError(f"black and white can't both be {span[0]:g}; write two numbers, [0, 4095]")
    return span


Span = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_differs)]


class DatasetOptions(Component):
    """How the images that a source delivers are chosen, batched and prepared."""

    batch_size: Positive = 64
    """Images of a training step."""
    limit: Positive | None = None
    """Train on at most this many images."""
    per_class: Positive | None = None
    """Train on at most this many images of each class."""
    validation: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Validation set to take from the training images: a fraction (0.1) or a number (500)."""
    stratify: bool = False
    """Folds of image files get equal parts of every class; else each file's name decides its fold,
    and no file that comes or goes moves another.
    """
    fold: Annotated[str, Field(pattern=r"^[1-9]\d{0,3}/[1-9]\d{0,3}$")] | None = None
    """Cross-validation instead: 2/5 validates on the second of five parts."""
    sampler: Sampler = "none"
    """Oversampling of rare classes: `balanced` draws every class equally often, a list has the
    weight of an image of each class, such as [1, 5]; an epoch keeps its number of images.
    """
    size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    """Height and width that images are brought to; one number for both."""
    resize: Literal["crop", "squash", "pad"] = "crop"
    """How images of other proportions get to `size`."""
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Center crop before resizing: keep this fraction of height and width, e.g. 0.875 = 224/256."""
    channels: Literal["auto", "gray", "rgb"] = "auto"
    """Gray or RGB; `auto` is what the data have."""
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    """Bits of each value in 16-bit gray images, e.g. 12 for a camera's, where 4095 is white."""
    range: Span | None = None
    """Values that are black and white, such as [0, 4095]; what lies beyond is clipped to them."""
    page: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Page or frame of files that hold several (TIFF, GIF, DICOM), from 0; by default the first."""
    displace: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Move every image of every split, once, by up to this fraction of its height and width."""
    normalize: Normalize = "auto"
    """What pixels are shifted and divided by; `auto` measures the training images."""
    augment: list[Any] = []
    """Data augmentation: random changes to training images, in this order."""
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    """How geometric augmentations read between pixels."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do with a damaged image file: stop, or skip it."""
    check: Literal["auto", "all", "first_use", "none"] = "auto"
    """When image files are decoded to find damaged ones: `all` before training, `first_use` a
    sample before and each when it is used, `none` only then; `auto` is `all` up to 100,000 files.
    """
    cache: Literal["none", "ram", "disk"] = "none"
    """Where decoded image files are kept."""
    cache_dir: str | None = None
    """Folder of `cache: disk`; by default one in the user's cache."""
    threads: Positive | None = None
    """Threads or processes that decode image files; by default one for each core."""

    def image_options(self) -> ImageOptions:
        """The options about the format of images, for sources and conversions."""
        size = [self.size, self.size] if isinstance(self.size, int) else self.size
        wanted: dict[str, Literal[1, 3] | None] = {"auto": None, "gray": 1, "rgb": 3}
        return ImageOptions(
            size=(size[0], size[1]) if size else None,
            channels=wanted[self.channels],
            resize=self.resize,
            reading=ImageReading.of(self.bits, self.range, self.page),
            crop_fraction=self.crop_fraction,
            on_error=self.on_error,
            check=self.check,
            cache=self.cache,
            cache_dir=self.cache_dir,
            threads=self.threads,
        )


def dataset_options() -> type[DatasetOptions]:
    """`DatasetOptions` whose `augment` is a list of what is registered now, plug-ins included."""
    return _options_with((*augmentations.entries(), *augmentations.libraries.asked_for.values()))


@lru_cache(maxsize=8)
def _options_with(_registered: tuple[Entry, ...]) -> type[DatasetOptions]:
    known: Any = list.__class_getitem__(augmentations.annotation())
    text = DatasetOptions.model_fields["augment"].description
    augment: Any = known, Field([], description=text)
    return made_model("DatasetOptions", DatasetOptions, {"augment": augment})
