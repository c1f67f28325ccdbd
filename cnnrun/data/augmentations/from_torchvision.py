"""torchvision's transforms (v2) by their own names: `torchvision/RandomRotation`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from cnnrun.data.augmentations.one_by_one import OneByOne
from cnnrun.data.targets import IGNORED
from cnnrun.errors import UserError
from cnnrun.registry import augmentations
from cnnrun.runtime.torch_signatures import factory_like

_SIZE = "changes the size of images, which dataset.size sets"
_FORM = "converts images, which cnnrun does itself: leave it out (dataset.normalize)"
_OTHERS = "takes other transforms, which YAML can't give: list them in `augment`"
_BOXES = "is of boxes, key points or videos, which no task here has"
_MIXES = "mixes images of a batch: use mixup or cutmix"
_REFUSED = {
    **dict.fromkeys(
        (
            *("Resize", "RandomResize", "ScaleJitter", "RandomShortestSize", "FiveCrop", "TenCrop"),
            *("Pad", "CenterCrop", "RandomZoomOut"),
        ),
        _SIZE,
    ),
    **dict.fromkeys(
        (
            *("ToDtype", "ToImage", "ToPILImage", "ToPureTensor", "ToTensor", "PILToTensor"),
            *("ConvertImageDtype", "Normalize", "LinearTransformation", "RGB", "Identity"),
        ),
        _FORM,
    ),
    **dict.fromkeys(("Compose", "Lambda", "RandomApply", "RandomChoice", "RandomOrder"), _OTHERS),
    **dict.fromkeys(
        (
            *("ClampBoundingBoxes", "ClampKeyPoints", "ConvertBoundingBoxFormat", "RandomIoUCrop"),
            *("SanitizeBoundingBoxes", "SanitizeKeyPoints", "SetClampingMode"),
            "UniformTemporalSubsample",
        ),
        _BOXES,
    ),
    **dict.fromkeys(("CutMix", "MixUp"), _MIXES),
    "Grayscale": "makes every image gray: dataset.channels=gray; for some, torchvision/"
    "RandomGrayscale",
}
# Policies change images alone, and torchvision refuses masks with them.
_OF_IMAGES_ALONE = ("AugMix", "AutoAugment", "RandAugment", "TrivialAugmentWide")
# It computes in floats; all others get bytes, as JPEG and equalizing need them.
_IN_FLOATS = ("GaussianNoise",)
_TYPES = {
    "degrees": float | list[float],
    "policy": Literal["imagenet", "cifar10", "svhn"],
    "interpolation": Literal["nearest", "bilinear", "bicubic"],
}


@lru_cache(maxsize=1)
def members() -> tuple[str, ...]:
    """The names of `torchvision.transforms.v2` that change an image and keep its size."""
    from torchvision.transforms import v2

    found = (name for name in dir(v2) if inspect.isclass(getattr(v2, name)))
    kinds = (name for name in found if issubclass(getattr(v2, name), v2.Transform))
    return tuple(name for name in kinds if name not in _REFUSED and name != "Transform")


@augmentations.libraries.register("torchvision", members, _REFUSED)
def torchvision_transform(member: str) -> Callable[..., Any]:
    """torchvision's transforms (v2), image by image on the CPU: slower than cnnrun's own.

    Masks are moved by the same draw; what comes in from outside of them is ignored.
    """
    from torchvision.transforms import v2

    kind = getattr(v2, member)

    def made(**keys: Any) -> TorchvisionTransform:
        return TorchvisionTransform(member, kind, keys)

    return factory_like(
        kind, made, leave_out=("inplace",), types=_TYPES, defaults={"policy": "imagenet"}
    )


class TorchvisionTransform(OneByOne):
    """One of torchvision's transforms, as cnnrun calls it."""

    def __init__(self, member: str, kind: Any, keys: dict[str, Any]) -> None:
        """keys: of the constructor.

        Raises:
            UserError: values that it refuses.
        """
        from torchvision import tv_tensors

        self.name = f"torchvision/{member}"
        self.in_floats = member in _IN_FLOATS
        alone = member in _OF_IMAGES_ALONE
        self.refuses_masks = OneByOne.refuses_masks if alone else ""
        if "policy" in keys:
            from torchvision.transforms import AutoAugmentPolicy

            keys["policy"] = AutoAugmentPolicy(keys["policy"])
        if "fill" in keys and not alone:
            keys["fill"] = {tv_tensors.Mask: IGNORED, "others": keys["fill"]}
        try:
            self.transform = kind(**keys)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise UserError(f"torchvision.transforms.v2.{member}: {error}") from error

    def changed(self, image: Tensor, mask: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
        """See `OneByOne.changed`."""
        from torchvision import tv_tensors

        torch.default_generator.manual_seed(seed)  # which torchvision draws from
        given = tv_tensors.Image(image.float() / 255 if self.in_floats else image)
        if mask is None:
            found = self.transform(given).as_subclass(Tensor)
            return found, found
        found, moved = self.transform(given, tv_tensors.Mask(mask))
        return found.as_subclass(Tensor), moved.as_subclass(Tensor)
