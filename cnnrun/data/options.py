"""The keys that every `dataset` section has, whichever source it names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from cnnrun.data.normalize import Normalize
from cnnrun.registry import Component, augmentations

Positive = Annotated[int, Field(ge=1)]


class DatasetOptions(Component):
    """How the pictures that a source delivers are chosen, batched and prepared."""

    batch_size: Positive = 64
    # Small-data experiments: so many training images in all, or of each class.
    limit: Positive | None = None
    per_class: Positive | None = None
    # Set aside from the training split to choose by: a share (0.1) or a number of images (500).
    validation: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] = 0.1
    # Cross-validation instead: "2/5" validates on the second of five parts.
    fold: Annotated[str, Field(pattern=r"^[1-9]\d{0,3}/[1-9]\d{0,3}$")] | None = None
    normalize: Normalize = "auto"
    augment: list[Any] = []
    # How geometric augmentations read between pixels.
    interpolation: Literal["nearest", "bilinear"] = "nearest"


def dataset_options() -> type[DatasetOptions]:
    """`DatasetOptions` whose `augment` is a list of what is registered now, plug-ins included."""
    fields: dict[str, Any] = {"augment": (list.__class_getitem__(augmentations.annotation()), [])}
    return create_model("DatasetOptions", __base__=DatasetOptions, **fields)
