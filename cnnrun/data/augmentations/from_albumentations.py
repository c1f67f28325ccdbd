"""albumentations' transforms by their own names: `albumentations/RandomBrightnessContrast`."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from cnnrun.data.augmentations.base import Draws
from cnnrun.data.augmentations.one_by_one import OneByOne
from cnnrun.data.targets import IGNORED
from cnnrun.errors import UserError
from cnnrun.registry import augmentations
from cnnrun.runtime.torch_signatures import factory_like

# Written out, so that listing them imports nothing; a test compares them with the library's.
_OF_IMAGES = """
AdditiveNoise AdvancedBlur AutoContrast Blur CLAHE ChannelDropout ChannelShuffle ChromaticAberration
ColorJitter Defocus Downscale Emboss Equalize FancyPCA GaussNoise GaussianBlur GlassBlur HEStain
HueSaturationValue ISONoise Illumination ImageCompression InvertImg MedianBlur MotionBlur
MultiplicativeNoise PlanckianJitter PlasmaBrightnessContrast PlasmaShadow Posterize RGBShift
RandomBrightnessContrast RandomFog RandomGamma RandomGravel RandomRain RandomShadow RandomSnow
RandomSunFlare RandomToneCurve RingingOvershoot SaltAndPepper Sharpen ShotNoise Solarize Spatter
Superpixels ToSepia UnsharpMask ZoomBlur
"""
_OF_MASKS_TOO = """
Affine CoarseDropout CropAndPad D4 ElasticTransform Erasing GridDistortion GridDropout
GridElasticDeform HorizontalFlip Morphological OpticalDistortion Perspective PiecewiseAffine
PixelDropout RandomGridShuffle RandomResizedCrop RandomRotate90 RandomSizedCrop Rotate SafeRotate
SquareSymmetry ThinPlateSpline Transpose VerticalFlip XYMasking
"""
_WHY_REFUSED = {
    "changes the size of images, which dataset.size sets": """
        CenterCrop Crop CropNonEmptyMaskIfExists LongestMaxSize Pad PadIfNeeded RandomCrop
        RandomCropFromBorders RandomScale Resize SmallestMaxSize""",
    "converts images, which cnnrun does itself: leave it out (dataset.normalize)": """
        FromFloat NoOp Normalize ToFloat ToRGB ToTensorV2""",
    "takes other transforms, which YAML can't give: list them in `augment`": """
        Compose OneOf OneOrOther RandomOrder ReplayCompose SelectiveChannelTransform Sequential
        SomeOf""",
    "takes more than an image and its mask (boxes, other images, a font or a function)": """
        AtLeastOneBBoxRandomCrop BBoxSafeRandomCrop ConstrainedCoarseDropout FDA HistogramMatching
        Lambda MaskDropout Mosaic OverlayElements PixelDistributionAdaptation RandomCropNearBBox
        RandomSizedBBoxSafeCrop TextImage""",
    "is of volumes, which no task here has": """
        CenterCrop3D CoarseDropout3D CubicSymmetry Pad3D PadIfNeeded3D RandomCrop3D ToTensor3D""",
    "is another name of albumentations/XYMasking": "FrequencyMasking TimeMasking",
    "is another name of albumentations/HorizontalFlip": "TimeReverse",
    "is an older name of albumentations/Affine": "ShiftScaleRotate",
    "makes images gray: dataset.channels=gray; for some, torchvision/RandomGrayscale": "ToGray",
}
_REFUSED = {name: reason for reason, names in _WHY_REFUSED.items() for name in names.split()}
# What the library numbers, as OpenCV does: 0, 1, ...
_NAMED: dict[str, Any] = {
    "interpolation": Literal["nearest", "linear", "cubic", "area", "lanczos4"],
    "border_mode": Literal["constant", "replicate", "reflect", "wrap", "reflect_101"],
}
# Masks are always moved by the nearest pixel, and ignored where nothing is known.
_OF_MASKS = ("fill_mask", "mask_interpolation", "mask_fill_value", "mask_drop_value")
_NEAREST = 0
_LEFT_OUT = (*_OF_MASKS, "keypoint_remapping_method")


def members() -> tuple[str, ...]:
    """The names of the transforms that change an image and keep its size."""
    return tuple(sorted(f"{_OF_IMAGES} {_OF_MASKS_TOO}".split()))


@augmentations.libraries.register("albumentations", members, _REFUSED)
def albumentations_transform(member: str) -> Callable[..., Any]:
    """albumentations' transforms, image by image on the CPU (needs cnnrun[albumentations]).

    Masks are moved by the same draw; what comes in from outside of them is ignored.

    Raises:
        UserError: the package is not installed, or an older one without this transform.
    """
    kind = getattr(_library(), member, None)
    if kind is None:
        raise UserError(f"albumentations/{member}: this version of albumentations does not have it")

    def made(**keys: Any) -> AlbumentationsTransform:
        return AlbumentationsTransform(member, kind, keys)

    return factory_like(
        kind,
        made,
        leave_out=_LEFT_OUT,
        types=_NAMED,
        defaults=_named_defaults(kind),
    )


def _library() -> Any:
    """The package, which looks for updates on the web unless that is switched off."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        import albumentations
    except ImportError as error:
        raise UserError(
            "the package albumentations is not installed: pip install 'cnnrun[albumentations]'"
        ) from error
    return albumentations


def _named_defaults(kind: Any) -> dict[str, str]:
    """The names of the defaults that the library has as numbers."""
    known = inspect.signature(kind.__init__).parameters
    return {
        key: get_args(names)[known[key].default] for key, names in _NAMED.items() if key in known
    }


class AlbumentationsTransform(OneByOne):
    """One of albumentations' transforms, as cnnrun calls it."""

    refuses_masks = ""

    def __init__(self, member: str, kind: Any, keys: dict[str, Any]) -> None:
        """keys: of the constructor.

        Raises:
            UserError: values that it refuses.
        """
        self.name = f"albumentations/{member}"
        for key in _NAMED.keys() & keys.keys():
            keys[key] = get_args(_NAMED[key]).index(keys[key])
        known = inspect.signature(kind.__init__).parameters
        # None says that a dropped-out part of the image keeps its mask.
        if "fill_mask" in known and known["fill_mask"].default is not None:
            keys["fill_mask"] = IGNORED
        if "mask_interpolation" in known:
            keys["mask_interpolation"] = _NEAREST
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                self.transform = kind(**keys)
            except (ValueError, TypeError) as error:
                raise UserError(f"albumentations.{member}: {_message(error)}") from error
        # Others are advice.
        if adjusted := [str(each.message) for each in said if "adjusted" in str(each.message)]:
            raise UserError(f"albumentations.{member}: {adjusted[0]}")

    def apply(
        self, images: Tensor, masks: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Tensor | None]:
        """See `OneByOne.apply`; what the library warns of, as that it does nothing, is an error.

        OpenCV's own threads would cost more than these images take.
        """
        import cv2

        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                return super().apply(images, masks, draws)
        finally:
            cv2.setNumThreads(threads)

    def changed(self, image: Tensor, mask: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
        """See `OneByOne.changed`."""
        self.transform.set_random_seed(seed)
        given = {"image": np.ascontiguousarray(image.permute(1, 2, 0).numpy())}
        if mask is not None:
            given["mask"] = np.ascontiguousarray(mask.numpy())
        found = self.transform(**given)
        pixels = found["image"]
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        new = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
        return new, new if mask is None else torch.from_numpy(np.ascontiguousarray(found["mask"]))


def _message(error: Exception) -> str:
    """The error of a constructor in a line; pydantic's by their keys."""
    detailed = error.__cause__ or error
    if not isinstance(detailed, ValidationError):
        return " ".join(str(error).split())
    found = []
    for each in detailed.errors(include_url=False):
        key = ".".join(map(str, each["loc"]))
        said = each["msg"].removeprefix("Value error, ")
        found.append(f"{key}: {said}" if key else said)
    return "; ".join(found)
