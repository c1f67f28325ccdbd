"""The laws that every registered augmentation obeys."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.data.pipeline import Pipeline
from cnnrun.errors import UserError
from cnnrun.registry import augmentations

# Parameters by which each augmentation does nothing, and by which it surely does something.
NOTHING: dict[str, dict[str, Any]] = {
    "horizontal_flip": {"probability": 0.0},
    "vertical_flip": {"probability": 0.0},
    "rotation": {"degrees": 0.0},
    "translation": {"fraction": 0.0},
    "scale": {"min": 1.0, "max": 1.0},
    "shear": {"degrees": 0.0},
    "shift_crop": {"padding": 0},
    "random_resized_crop": {"scale": [1.0, 1.0], "ratio": [1.0, 1.0]},
    "brightness": {"amount": 0.0},
    "contrast": {"amount": 0.0},
    "saturation": {"amount": 0.0},
    "hue": {"amount": 0.0},
    "color_jitter": {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
    "grayscale": {"probability": 0.0},
    "blur": {"sigma": [0.0, 0.0]},
    "cutout": {"size": 0},
    "erasing": {"scale": [0.0, 0.0]},
    "randaugment": {"probability": 0.0},
    "trivial_augment": {"probability": 0.0},
    "mixup": {"alpha": 0.0},
    "cutmix": {"alpha": 0.0},
}
ALL = sorted(NOTHING)
HAVE_PROBABILITY = [n for n in ALL if "probability" in augmentations.get(n).parameters]


def build(name: str, **parameters: Any) -> Any:
    """What a YAML file with these keys gets: validated, with defaults."""
    schema = augmentations.get(name).schema()
    return augmentations.build(schema(name=name, **parameters))


def random_images(count: int = 8, channels: int = 3, height: int = 16, width: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def augment(images: Tensor, *items: Any, seed: int = 0, interpolation: Any = "nearest") -> Tensor:
    """(N, C, H, W) float32 in 0..1."""
    pipeline = Pipeline(
        items,
        [0.0] * images.shape[1],
        [1.0] * images.shape[1],
        interpolation=interpolation,
        device=torch.device("cpu"),
        num_classes=3,
    )
    return pipeline.augment_with_draws(images, torch.Generator().manual_seed(seed))[0]


def sampler(count: int, height: int = 16, width: int = 16, seed: int = 0) -> Sampler:
    return Sampler(count, height, width, torch.Generator().manual_seed(seed))


def test_every_augmentation_is_tested() -> None:
    # The flips that take turns are drawn for no one: see test_records.py.
    assert augmentations.names() == sorted([*ALL, "alternating_flip"])


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_zero_parameters_change_nothing(name: str, channels: int, interpolation: str) -> None:
    images = random_images(channels=channels)
    result = augment(images, build(name, **NOTHING[name]), interpolation=interpolation)
    torch.testing.assert_close(result, images / 255, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", HAVE_PROBABILITY)
def test_probability_zero_changes_nothing(name: str) -> None:
    images = random_images(height=11)
    result = augment(images, build(name, probability=0.0))
    torch.testing.assert_close(result, images / 255, rtol=0, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 9, 20), (3, 2, 1)])
@pytest.mark.parametrize("name", ALL)
def test_values_and_shape_are_kept(
    name: str, shape: tuple[int, int, int], interpolation: str
) -> None:
    images = random_images(40, *shape)
    result = augment(images, build(name), interpolation=interpolation)
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("name", ALL)
def test_a_seed_repeats_and_another_differs(name: str) -> None:
    images, item = random_images(32), build(name)
    first = augment(images, item, seed=1)
    assert torch.equal(first, augment(images, item, seed=1))
    assert not torch.equal(first, augment(images, item, seed=2))


@pytest.mark.parametrize("name", sorted({*ALL} - {"mixup", "cutmix"}))
def test_each_image_has_its_own_draw(name: str) -> None:
    copies = random_images(1).expand(64, -1, -1, -1)
    augmented = augment(copies, build(name))
    assert not torch.equal(augmented, augmented.roll(1, 0))


@pytest.mark.parametrize("name", sorted({*ALL} - {"mixup", "cutmix"}))
def test_neighbours_in_the_batch_do_not_matter(name: str) -> None:
    images, item = random_images(16), build(name)
    others = images.flip(0)
    others[3] = images[3]
    assert torch.equal(augment(images, item)[3], augment(others, item)[3])


@pytest.mark.parametrize("name", ALL)
def test_stored_images_and_the_global_stream_are_left_alone(name: str) -> None:
    images, state = random_images(), torch.get_rng_state()
    augment(images, build(name))
    assert torch.equal(images, random_images())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ALL)
def test_no_value_is_asked_of_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device has no values: whatever would wait for a GPU fails on it."""

    class MetaSampler(Sampler):
        @property
        def device(self) -> torch.device:
            return torch.device("meta")

    monkeypatch.setattr("cnnrun.data.pipeline.Sampler", MetaSampler)
    pipeline = Pipeline(
        [build(name), build("rotation")],
        [0.5],
        [0.5],
        interpolation="nearest",
        device=torch.device("meta"),
        num_classes=3,
    )
    labels = torch.empty(5, dtype=torch.int64, device="meta")
    images = torch.empty(5, 3, 8, 8, dtype=torch.uint8, device="meta")
    result, _ = pipeline(images, labels, torch.Generator())
    assert result.shape == images.shape


@pytest.mark.parametrize("name", ALL)
def test_draws_are_described_image_by_image(name: str) -> None:
    item = build(name)
    texts = item.describe(item.draw(sampler(5)))
    assert len(texts) == 5
    assert all(texts)


@pytest.mark.parametrize("key", ["scale", "ratio"])
@pytest.mark.parametrize("name", ["random_resized_crop", "erasing"])
def test_a_range_in_the_wrong_order_is_refused(name: str, key: str) -> None:
    with pytest.raises(UserError, match=rf"{key}: 0\.9 is larger than 0\.5"):
        build(name, **{key: [0.9, 0.5]})


def test_scale_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(UserError, match=r"min: 1\.5 is larger than max: 1\.1"):
        build("scale", min=1.5)
