"""`load_model(x).predict(image)`: the answers of `cnnrun predict`, bit by bit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from cnnrun import UserError, load_model, train
from cnnrun.data.images.decoding import BadImageError
from tests.conftest import Command
from tests.small_run import small_run, write_test_images
from tests.small_tasks import TASKS, experiment

__all__ = ["small_run"]


def pixels(height: int, width: int, channels: int = 3) -> np.ndarray:
    random = np.random.default_rng(height * width)
    smooth = np.linspace(0, 200, height)[:, None, None] + random.integers(0, 50, (height, width, 1))
    return np.broadcast_to(smooth, (height, width, channels)).astype(np.uint8).copy()


def photo(file: Path, **options: Any) -> Path:
    Image.fromarray(pixels(40, 60)).save(file, **options)
    return file


WAYS: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda file: file.read_bytes(),
    "opened": Image.open,
    "decoded": lambda file: Image.open(file).copy(),
    "array": lambda file: np.asarray(Image.open(file)),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_image_has_the_same_bits_however_it_is_given(
    cnnrun: Command, small_run: Path, tmp_path: Path, way: str
) -> None:
    file = photo(tmp_path / "a.png")
    [row] = json.loads(cnnrun("predict", small_run, file, "--json", "--device", "cpu").out)[
        "predictions"
    ]
    wanted = [(each["class"], each["probability"]) for each in row["top"]]
    model = load_model(small_run, device="cpu")
    assert model.predict(WAYS[way](file)) == wanted
    assert model.predict([WAYS[way](file)]) == [wanted]
    assert model.predict(file) == model.predict(str(file)) == {str(file): wanted}


def rotated_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jpg", {}), ("b.jpg", {"exif": rotated_exif()}), ("c.tif", {}), ("d.webp", {})],
)
def test_a_file_that_pillow_opened_is_read_as_the_file(
    small_run: Path, tmp_path: Path, name: str, options: Any
) -> None:
    """Large JPEGs are decoded at a reduced scale, and an orientation is obeyed, either way."""
    file = tmp_path / name
    Image.fromarray(pixels(400, 300)).save(file, **options)
    model = load_model(small_run, device="cpu")
    with Image.open(file) as image:
        found = model.predict(image)
        assert image.load() is not None  # it is still to be used
    assert found == model.predict(file.read_bytes()) == model.predict([file])[str(file)]


def test_what_was_drawn_into_an_image_counts(small_run: Path, tmp_path: Path) -> None:
    model = load_model(small_run, device="cpu")
    with Image.open(photo(tmp_path / "a.png")) as image:
        before = model.predict(image)
        ImageDraw.Draw(image).rectangle((10, 0, 40, 40), fill="white")
        after = model.predict(image)
        assert after != before
        assert after == model.predict(np.asarray(image))


def test_channels_of_arrays_are_those_of_files(small_run: Path, tmp_path: Path) -> None:
    model = load_model(small_run, device="cpu")
    gray = pixels(20, 30, 1)
    Image.fromarray(gray[:, :, 0]).save(tmp_path / "gray.png")
    wanted = model.predict((tmp_path / "gray.png").read_bytes())
    assert model.predict(gray) == model.predict(gray[:, :, 0]) == wanted
    clear = np.concatenate([pixels(20, 30), np.full((20, 30, 1), 90, np.uint8)], 2)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert model.predict(clear) == model.predict((tmp_path / "clear.png").read_bytes())
    both = model.predict([clear, tmp_path / "gray.png", Image.fromarray(gray[:, :, 0])])
    assert [len(answer) for answer in both] == [5, 5, 5]
    assert [name for name, _ in both[1]] == [name for name, _ in wanted]
    assert len(model.predict(np.stack([gray, gray]), top=2)[1]) == 2
    assert model.predict([]) == {}


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((8, 8, 3)), "expected an array of uint8, 0 to 255, got float64"),
        (np.zeros((8, 8, 2), np.uint8), "1, 3 or 4 channels, got 8 x 8 x 2"),
        ([np.zeros((2, 8, 8, 3), np.uint8)], "got 2 x 8 x 8 x 3"),
        ([3], "expected an image as a path, bytes, an image of Pillow or an array .* a int"),
        (b"no image", "image 0: not an image"),
        (np.zeros((0, 8), np.uint8), "image 0: has no pixels"),
    ],
)
def test_what_is_no_image_is_told(small_run: Path, image: Any, told: str) -> None:
    with pytest.raises((UserError, BadImageError), match=told):
        load_model(small_run, device="cpu").predict(image)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tasks")
    training = {"epochs": 1, "draw": False}
    found = {
        task: train(experiment(task, output=str(folder), training=training), quiet=True).path
        for task in TASKS
    }
    autoencoder = {
        "name": "ae",
        "task": {"name": "reconstruct"},
        "dataset": {"name": "digits", "limit": 64},
        "model": {"name": "linear_autoencoder", "code": 4},
        "output": str(folder),
        "device": "cpu",
        "training": training,
    }
    return found | {"reconstruct": train(autoencoder, quiet=True).path}


@pytest.mark.parametrize("task", [*TASKS, "reconstruct"])
def test_every_task_answers(
    cnnrun: Command, runs: dict[str, Path], tmp_path: Path, task: str
) -> None:
    model = load_model(runs[task], device="cpu")
    file = photo(tmp_path / "a.png")
    answer = model.predict(Image.open(file))
    if task == "reconstruct":
        assert answer["image"].shape == model.input_shape
        assert answer["code"].shape == (4,)
        assert 0 <= answer["image"].min() <= answer["image"].max() <= 1
        return
    options = ["--masks", "masks"] if task == "segment" else []
    ended = cnnrun("predict", runs[task], file, "--json", "--device", "cpu", *options)
    [row] = json.loads(ended.out)["predictions"]
    mask, written = answer.pop("mask", None), row.pop("mask", None)
    assert row == {"file": str(file), **answer}
    if task == "segment":
        with Image.open(written) as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), mask)
        assert mask.shape == (40, 60)
    if task == "multilabel":
        images = torch.from_numpy(pixels(16, 16)).permute(2, 0, 1)[None]
        shares = model.predict(pixels(16, 16))["probabilities"]
        assert model.probabilities(images)[0].tolist() == pytest.approx(list(shares.values()))


def test_masks_come_back_to_the_images_place(
    cnnrun: Command, runs: dict[str, Path], tmp_path: Path
) -> None:
    """What a crop left out is 255, and the middle is what the network says of it, enlarged."""
    model = load_model(runs["segment"], device="cpu")
    wide = pixels(32, 64)
    mask = model.predict(wide)["mask"]
    assert (mask[:, :16] == 255).all()
    assert (mask[:, 48:] == 255).all()
    middle = model.predict(wide[:, 16:48])["mask"]
    assert np.array_equal(mask[:, 16:48], middle)
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.jpg")
    refused = cnnrun("predict", runs["regress"], "a.png", "--masks", "m")
    assert refused.code == 2
    assert "--masks writes the classes of pixels; task regress predicts none" in refused.err
    text = cnnrun("predict", runs["segment"], "a.png", "b.jpg", "--masks", "m").out
    assert [line.rsplit("  ", 1)[1] for line in text.splitlines()] == ["m/a.png", "m/b.png"]


def test_a_dataset_reads_what_it_was_given(small_run: Path, tmp_path: Path) -> None:
    """A stream of bytes, as a web service has it."""
    write_test_images(tmp_path / "digits", 2)
    model = load_model(small_run, device="cpu")
    stream = io.BytesIO((tmp_path / "digits" / "001.png").read_bytes())
    files = model.predict([tmp_path / "digits"], top=1)
    [(name, share)] = model.predict(stream.getvalue(), top=1)
    [(wanted, near)] = files[str(tmp_path / "digits" / "001.png")]
    assert (name, share) == (wanted, pytest.approx(near, abs=1e-6))
