"""torchvision's own transforms as augmentations: the same images, masks by the same draw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from cnnrun import registry
from cnnrun.data.augmentations.from_torchvision import members
from cnnrun.data.augmentations.one_by_one import OneByOne
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.data.pipeline import Pipeline
from cnnrun.data.targets import IGNORED, Labels, Masks
from cnnrun.errors import UserError
from tests.conftest import Command
from tests.data.refused_augmentations import why_refused

NEEDED: dict[str, dict[str, Any]] = {
    "RandomRotation": {"degrees": 30.0},
    "RandomAffine": {"degrees": 20.0, "translate": [0.1, 0.2], "scale": [0.8, 1.2]},
    "GaussianBlur": {"kernel_size": 3},
    "JPEG": {"quality": [20, 60]},
    "RandomAdjustSharpness": {"sharpness_factor": 2.0},
    "RandomPosterize": {"bits": 3},
    "RandomSolarize": {"threshold": 128.0},
    "RandomCrop": {"size": [24, 20], "padding": 4},
    "RandomResizedCrop": {"size": [24, 20]},
    "ColorJitter": {"brightness": 0.4, "hue": 0.1},
    "ElasticTransform": {"alpha": 60.0, "sigma": 2.0},
}
MOVING = ("RandomRotation", "RandomAffine", "RandomCrop", "RandomPerspective", "ElasticTransform")


def _built(member: str, **keys: Any) -> OneByOne:
    entry = registry.augmentations.get(f"torchvision/{member}")
    values = {"name": entry.name, **NEEDED.get(member, {}), **keys}
    made: OneByOne = registry.augmentations.build(entry.schema().model_validate(values))
    return made


def _images(count: int = 6) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 24, 20), dtype=torch.uint8, generator=random)


def _draws(augmentation: OneByOne, count: int = 6) -> dict[str, Tensor]:
    return augmentation.draw(Sampler(count, 24, 20, torch.Generator().manual_seed(7)))


@pytest.mark.parametrize("member", members())
def test_each_transform_gives_what_torchvision_gives(member: str) -> None:
    """Seeded alike, image by image; and each seed gives the same image again."""
    ours, images = _built(member), _images()
    draws = _draws(ours)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    found, _ = ours.apply(images, None, draws)
    assert torch.equal(torch.rand(2), expected)  # nobody else's random numbers are used up
    theirs = getattr(v2, member)(**NEEDED.get(member, {}))
    for image, changed, seed in zip(images, found, draws["seed"].tolist(), strict=True):
        torch.manual_seed(seed)
        given = image.float() / 255 if member == "GaussianNoise" else image
        assert torch.equal(changed, theirs(tv_tensors.Image(given)).as_subclass(Tensor))
    assert torch.equal(ours.apply(images, None, draws)[0], found)
    backwards = {"seed": draws["seed"].flip(0)}
    assert torch.equal(ours.apply(images.flip(0), None, backwards)[0].flip(0), found)


@pytest.mark.parametrize("member", MOVING)
def test_masks_move_by_the_draw_of_their_image(member: str) -> None:
    """An image whose pixels are its mask's stays that, and what comes in is ignored."""
    random = torch.Generator().manual_seed(2)
    masks = torch.randint(1, 5, (6, 24, 20), dtype=torch.uint8, generator=random)
    images = (masks[:, None] * 40).expand(-1, 3, -1, -1)
    ours = _built(member, interpolation="nearest") if member != "RandomCrop" else _built(member)
    found, moved = ours.apply(images, masks, _draws(ours))
    assert moved is not None
    outside = moved == IGNORED
    assert outside.any()
    assert torch.equal(found[:, 0][~outside], moved[~outside] * 40)
    assert (found[:, 0][outside] == 0).all()
    assert (moved != masks).any()


def test_in_the_pipeline_beside_augmentations_of_cnnrun() -> None:
    flip = registry.augmentations.get("horizontal_flip")
    both = [
        _built("RandomRotation"),
        registry.augmentations.build(flip.schema().model_validate({"name": "horizontal_flip"})),
        _built("RandomVerticalFlip", p=1.0),
    ]
    masks = torch.randint(0, 5, (6, 24, 20), dtype=torch.uint8)
    images = (masks[:, None] * 40).expand(-1, 3, -1, -1).contiguous()

    def seen(kind: type, targets: Tensor) -> tuple[Tensor, Tensor]:
        pipeline = Pipeline(both, [0.0] * 3, [1.0] * 3, interpolation="nearest",
                            device=torch.device("cpu"), num_classes=5, kind=kind)  # fmt: skip
        return pipeline(images, targets, torch.Generator().manual_seed(4))

    pixels, moved = seen(Masks, masks)
    known = moved != IGNORED
    torch.testing.assert_close(pixels[:, 0][known] * 255, moved[known].float() * 40)
    labels = torch.arange(6)
    again, same = seen(Labels, labels)
    assert torch.equal(again, pixels)
    assert torch.equal(same, labels)


def test_a_fill_of_the_images_is_none_of_the_masks() -> None:
    ours = _built("RandomRotation", degrees=[45.0, 45.0], fill=200)
    masks = torch.ones(1, 24, 20, dtype=torch.uint8)
    found, moved = ours.apply(torch.zeros(1, 3, 24, 20, dtype=torch.uint8), masks, _draws(ours, 1))
    assert moved is not None
    assert set(moved.unique().tolist()) == {1, IGNORED}
    assert (found[0, 0][moved[0] == IGNORED] == 200).all()


def test_what_changes_the_size_is_told_and_floats_come_as_bytes() -> None:
    ours = _built("RandomCrop", size=8)
    images, draws = _images(), _draws(ours)
    with pytest.raises(UserError, match="RandomCrop makes images of 3 x 24 x 20 to 3 x 8 x 8"):
        ours.apply(images, None, draws)
    with pytest.raises(UserError, match=r"torchvision\.transforms\.v2\.RandomRotation: "):
        _built("RandomRotation", degrees=[1.0, 2.0, 3.0])
    ours = _built("RandomEqualize", p=1.0)
    found = ours.apply(_images().float() / 255, None, _draws(ours))[0]
    assert torch.equal(found, ours.apply(_images(), None, _draws(ours))[0])


@pytest.mark.parametrize(
    ("config", "augment", "told"),
    [
        ("digits_cnn", "{name: torchvision/RandomRotation, degree: 3}", "did you mean 'degrees'?"),
        ("digits_cnn", "torchvision/RandomRotation", "dataset.augment.0.degrees: this key is req"),
        ("digits_cnn", "torchvision/RandomRotaton", "did you mean 'torchvision/RandomRotation'?"),
        ("digits_cnn", "torchvision/Resize", "dataset.augment.0: torchvision/Resize changes the"),
        ("digits_cnn", "torchvision/Normalize", "converts images, which cnnrun does itself"),
        ("digits_cnn", "torchvision/Compose", "list them in `augment`"),
        ("digits_cnn", "torchvision/CutMix", "use mixup or cutmix"),
        ("shapes_segment", "torchvision/RandAugment", "changes images and not their masks"),
        ("shapes_regress", "torchvision/RandomVerticalFlip", "would not move with it"),
    ],
)
def test_what_is_refused_has_its_place(
    cnnrun: Command, config: str, augment: str, told: str
) -> None:
    assert told in why_refused(cnnrun, config, augment)


def test_they_are_listed(cnnrun: Command) -> None:
    ended = cnnrun("list", "augmentation", "torchvision")
    assert "torchvision/RandomPerspective" in ended.out
    assert "slower than cnnrun's own" in ended.out
    assert "degrees" in cnnrun("list", "augmentation", "torchvision/RandomRotation").out


def _write(folder: Path, **training: Any) -> Path:
    file = folder / "c.yaml"
    values = {
        "dataset": {"name": "digits", "batch_size": 64, "limit": 200, "augment": [
            {"name": "torchvision/RandomRotation", "degrees": 10}, "horizontal_flip",
            "torchvision/TrivialAugmentWide"]},
        "model": {"name": "mlp", "hidden": [8]}, "optimizer": {"name": "sgd", "lr": 0.1},
        "training": {"epochs": 2, "draw": False, **training}, "device": "cpu",
    }  # fmt: skip
    file.write_text(json.dumps(values))
    return file


def test_a_run_resumes_to_the_same_bits(
    killed_and_resumed: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    whole, cut = killed_and_resumed(4, _write(tmp_path))
    ours, theirs = (torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]
                    for run in (whole, cut))  # fmt: skip
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_many_seeds_are_each_as_alone(cnnrun: Command, tmp_path: Path) -> None:
    file = _write(tmp_path)
    together = cnnrun("train", file, "--seeds", "2", "-q", f"output={tmp_path}/together")
    assert together.code == 0, together.err
    alone = cnnrun("train", file, "-q", "seed=1", f"output={tmp_path}/alone")
    log = (Path(alone.out.strip()) / "metrics.jsonl").read_text()
    logs = [(Path(run) / "metrics.jsonl").read_text() for run in together.out.split()]
    rows, wanted = (
        [json.loads(line)["train_loss"] for line in text.splitlines()] for text in (logs[1], log)
    )
    assert rows == pytest.approx(wanted, rel=1e-4)


def test_images_decoded_by_several_threads_are_changed_alike(
    cnnrun: Command, tmp_path: Path
) -> None:
    for k, image in enumerate(_images(20)):
        folder = tmp_path / "D" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{k}.png")
    logs = []
    for threads in (1, 3):
        ended = cnnrun("train", _write(tmp_path), "-q", f"dataset.threads={threads}",
                       f"dataset={{name: folder, root: {tmp_path}/D, batch_size: 4, augment: "
                       "[{name: torchvision/RandomRotation, degrees: 10}]}")  # fmt: skip
        assert ended.code == 0, ended.err
        logs.append((Path(ended.out.strip()) / "metrics.jsonl").read_bytes())
    assert logs[0] == logs[1]
