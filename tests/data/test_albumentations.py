"""albumentations' transforms as augmentations: the same images, masks by the same draw."""

from __future__ import annotations

import inspect
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cnnrun import registry
from cnnrun.config.experiment import load
from cnnrun.data.augmentations import from_albumentations
from cnnrun.data.augmentations.from_albumentations import members
from cnnrun.data.augmentations.one_by_one import OneByOne
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.data.targets import IGNORED
from cnnrun.errors import UserError
from tests.conftest import Command
from tests.data.refused_augmentations import why_refused

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as library

SIDE = 24
NEEDED: dict[str, dict[str, Any]] = {
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 3},
    "RandomResizedCrop": {"size": [SIDE, SIDE]},
    "RandomSizedCrop": {"min_max_height": [12, 20], "size": [SIDE, SIDE]},
    "CropAndPad": {"percent": [-0.1, 0.1]},
    "ElasticTransform": {"alpha": 60.0, "sigma": 4.0},
    "Affine": {"rotate": [-30.0, 30.0], "scale": [0.8, 1.2]},
}
MOVING = (
    *("Affine", "D4", "ElasticTransform", "GridDistortion", "HorizontalFlip", "OpticalDistortion"),
    *("Perspective", "PiecewiseAffine", "RandomGridShuffle", "RandomRotate90", "Rotate"),
    "ThinPlateSpline",
)
FILLED = ("Affine", "Rotate", "GridDistortion", "OpticalDistortion")


def _keys(member: str) -> dict[str, Any]:
    return {**NEEDED.get(member, {}), "p": 1.0}


def _built(member: str, **keys: Any) -> OneByOne:
    entry = registry.augmentations.get(f"albumentations/{member}")
    values = {"name": entry.name, **_keys(member), **keys}
    made: OneByOne = registry.augmentations.build(entry.schema().model_validate(values))
    return made


def _images(count: int = 3, channels: int = 3) -> Tensor:
    made = torch.Generator().manual_seed(1)
    shape = (count, channels, SIDE, SIDE)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=made)


def _draws(augmentation: OneByOne, count: int = 3) -> dict[str, Tensor]:
    return augmentation.draw(Sampler(count, SIDE, SIDE, torch.Generator().manual_seed(7)))


def _global_draws() -> list[Any]:
    return [random.random(), np.random.rand(), torch.rand(1).item()]


def _seed() -> None:
    random.seed(3), np.random.seed(3), torch.manual_seed(3)


@pytest.mark.parametrize("member", members())
def test_each_transform_gives_what_the_library_gives(member: str) -> None:
    """Seeded alike, image by image; each seed gives the same image again, in any order."""
    ours, images = _built(member), _images()
    draws = _draws(ours)
    _seed()
    expected = _global_draws()
    _seed()
    found, _ = ours.apply(images, None, draws)
    assert _global_draws() == expected, "nobody else's random numbers are used up"
    theirs = getattr(library, member)(**_keys(member))
    for image, changed, seed in zip(images, found, draws["seed"].tolist(), strict=True):
        theirs.set_random_seed(seed)
        wanted = theirs(image=np.ascontiguousarray(image.permute(1, 2, 0)))["image"]
        assert np.array_equal(changed.permute(1, 2, 0), wanted)
    backwards = {"seed": draws["seed"].flip(0)}
    assert torch.equal(ours.apply(images.flip(0), None, backwards)[0].flip(0), found)


def test_the_names_are_those_of_the_library() -> None:
    """Each is usable or refused with its reason, but for what others are derived from."""
    bases = (library.BasicTransform, library.BaseCompose)
    kinds = {
        n for n, kind in vars(library).items() if inspect.isclass(kind) and issubclass(kind, bases)
    }
    abstract = {
        "BasicTransform",
        "BaseCompose",
        "DualTransform",
        "ImageOnlyTransform",
        "Transform3D",
    }
    assert set(members()) | set(from_albumentations._REFUSED) == kinds - abstract
    of_masks = {n for n in members() if issubclass(getattr(library, n), library.DualTransform)}
    assert set(from_albumentations._OF_MASKS_TOO.split()) == of_masks


@pytest.mark.parametrize("member", MOVING)
def test_masks_move_by_the_draw_of_their_image(member: str) -> None:
    """An image whose pixels are its mask's stays that, and what comes in is ignored."""
    made = torch.Generator().manual_seed(2)
    masks = torch.randint(1, 5, (3, SIDE, SIDE), dtype=torch.uint8, generator=made)
    images = (masks[:, None] * 40).expand(-1, 3, -1, -1)
    takes = "interpolation" in registry.augmentations.get(f"albumentations/{member}").parameters
    ours = _built(member, **({"interpolation": "nearest"} if takes else {}))
    found, moved = ours.apply(images, masks, _draws(ours))
    assert moved is not None
    outside = moved == IGNORED
    assert outside.any() or member not in FILLED
    assert (found[:, 0][outside] == 0).all()
    assert torch.equal(found[:, 0][~outside], moved[~outside] * 40)
    assert (moved != masks).any()


@pytest.mark.parametrize(
    "member", ["RandomBrightnessContrast", "Affine", "GaussNoise", "CoarseDropout"]
)
@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_other_channels(member: str, channels: int) -> None:
    ours, images = _built(member), _images(channels=channels)
    found = ours.apply(images, None, _draws(ours))[0]
    assert found.shape == images.shape
    assert not torch.equal(found, images)


@pytest.mark.parametrize(
    ("config", "augment", "told"),
    [
        ("digits_cnn", "{name: albumentations/Affine, rotat: 3}", "did you mean 'rotate'?"),
        ("digits_cnn", "albumentations/RandomSizedCrop", "min_max_height: this key is required"),
        ("digits_cnn", "albumentations/Afine", "did you mean 'albumentations/Affine'?"),
        ("digits_cnn", "albumentations/Resize", "dataset.augment.0: albumentations/Resize changes"),
        ("digits_cnn", "albumentations/Normalize", "converts images, which cnnrun does itself"),
        ("digits_cnn", "albumentations/OneOf", "list them in `augment`"),
        ("digits_cnn", "albumentations/FDA", "takes more than an image and its mask"),
        ("digits_cnn", "albumentations/CenterCrop3D", "is of volumes"),
        (
            "digits_cnn",
            "{name: albumentations/Blur, blur_limit: [7, 3]}",
            "automatically adjusted to (3, 3)",
        ),
        (
            "digits_cnn",
            "albumentations/CropAndPad",
            "albumentations.CropAndPad: Both px and percent",
        ),
        ("shapes_regress", "albumentations/VerticalFlip", "would not move with it"),
    ],
)
def test_what_is_refused_has_its_place(
    cnnrun: Command, config: str, augment: str, told: str
) -> None:
    assert told in why_refused(cnnrun, config, augment)


def test_what_the_library_can_not_do_with_an_image_is_told(cnnrun: Command) -> None:
    for name, told in (("RandomFog", ""), ("HueSaturationValue", "not applicable to grayscale")):
        ended = cnnrun("train", "digits_cnn", f"dataset.augment=[albumentations/{name}]")
        assert ended.code in (1, 2)
        assert f"augment: albumentations/{name}: " in ended.err
        assert told in ended.err
    ours = _built("Affine", rotate=[45.0, 45.0], fit_output=True)
    with pytest.raises(UserError, match="Affine makes images of 3 x 24 x 24 to 3 x "):
        ours.apply(_images(), None, _draws(ours))


def test_without_the_package_the_extra_is_named(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "albumentations", None)
    known = registry.augmentations.libraries.asked_for
    monkeypatch.delitem(known, "albumentations/Blur", raising=False)
    ended = cnnrun("check", "digits_cnn", "dataset.augment=[albumentations/Blur]")
    assert ended.code == 2
    assert (
        "dataset.augment.0: the package albumentations is not installed: pip install" in ended.err
    )
    listed = cnnrun("list", "augmentation", "albumentations")
    assert "albumentations/RandomBrightnessContrast" in listed.out


@pytest.mark.slow
def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys; from pathlib import Path; from cnnrun.config import experiment, listing\n"
        "experiment.load(Path('digits_cnn')); listing.components('augmentation', None)\n"
        "print('albumentations' in sys.modules, 'cv2' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "False"]


def test_the_whole_config_is_read_back(tmp_path: Path) -> None:
    """Defaults are values of their keys' types: what a run has written starts it again."""
    names = [{"name": f"albumentations/{m}", **NEEDED.get(m, {})} for m in members()]
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps({"dataset": {"name": "digits", "limit": 64, "augment": names},
                                "model": "mlp", "name": "c"}))  # fmt: skip
    (tmp_path / "again.yaml").write_text(load(file).to_yaml())
    assert load(tmp_path / "again.yaml").to_dict() == load(file).to_dict()
