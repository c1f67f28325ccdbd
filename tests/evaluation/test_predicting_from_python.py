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
    "array of floats": lambda file: np.asarray(Image.open(file)) / 255,
    "open file": lambda file: file.open("rb"),
    "file in memory": lambda file: io.BytesIO(file.read_bytes()),
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
        (np.full((8, 8, 3), 255.0), "values go from 255 to 255; expected float in 0..1"),
        (np.full((8, 8), np.nan), "values go from nan to nan"),
        (np.zeros((8, 8), np.int64), "is torch.int64; expected uint8 or float in 0..1"),
        (np.zeros((8, 8), object), "expected an array of numbers, got one of object"),
        (np.zeros((3, 8, 8), np.uint8), "3 x 8 x 8; np.moveaxis"),
        (torch.zeros(3, 8, 8), "got a Tensor; tensors N x C x H x W are for `model\\(images\\)`"),
        (None, "expected an image as a path, bytes, an open file, .*, got None"),
        ([None], "expected an image as a path, .*, got None"),
        ({"image": b""}, "expected an image, or a list of images, got a dict"),
        (io.StringIO("text"), "expected an image file opened for reading bytes"),
        ("", "No such file"),
        (np.zeros((8, 8, 2), np.uint8), "1, 3 or 4 channels, got 8 x 8 x 2"),
        ([np.zeros((2, 8, 8, 3), np.uint8)], "got 2 x 8 x 8 x 3"),
        ([3], "expected an image as a path, .* an image of Pillow or an array .* a int"),
        (b"no image", "image 0: not an image"),
        (np.zeros((0, 8), np.uint8), "image 0: has no pixels"),
    ],
)
def test_what_is_no_image_is_told(small_run: Path, image: Any, told: str) -> None:
    with pytest.raises((UserError, BadImageError), match=told):
        load_model(small_run, device="cpu").predict(image)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"])
def test_images_of_every_mode_are_read_as_in_files(small_run: Path, mode: str) -> None:
    """In a file that holds the mode; 0 is black and the highest value white."""
    gray = pixels(20, 30, 1)[:, :, 0]
    model = load_model(small_run, device="cpu")
    if mode in ("I;16", "I", "F"):
        deep = {"I;16": gray * np.uint16(257), "I": gray * np.int32(257)}
        values = {**deep, "F": gray / np.float32(255)}
        assert model.predict(Image.fromarray(values[mode])) == model.predict(gray)
        return
    image = Image.fromarray(gray).convert("RGB").convert(mode)
    form = {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG")
    image.save(stream := io.BytesIO(), form)
    wanted = dict(model.predict(stream.getvalue()))
    assert dict(model.predict(image)) == pytest.approx(wanted, abs=1e-3)


def test_a_folder_without_images_and_a_closed_image(small_run: Path, tmp_path: Path) -> None:
    model = load_model(small_run, device="cpu")
    with pytest.raises(UserError, match="there is no image"):
        model.predict(tmp_path)
    with Image.open(photo(tmp_path / "a.png")) as image:
        pass
    with pytest.raises(UserError, match="image 0: its file was closed before it was read"):
        model.predict(image)


def test_values_of_8_bits_in_a_deeper_image_are_said(
    small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(small_run, device="cpu")
    model.predict([pixels(8, 8), Image.fromarray(pixels(8, 8, 1)[:, :, 0].astype(np.int32))])
    said = capsys.readouterr().err
    assert "image 1: 1 images of 16 bits or more have no value above 255" in said


def test_arrays_are_read_by_the_range_that_the_run_was_trained_with(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.integers(90, 900, (40, 12, 10)).astype(np.uint16)
    np.savez(tmp_path / "a.npz", x_train=values, y_train=np.arange(40) % 2)
    run = train(
        {
            "name": "range",
            "dataset": {"name": "npz", "file": str(tmp_path / "a.npz"), "range": [100, 865]},
            "model": {"name": "mlp", "hidden": [4]},
            "output": str(tmp_path),
            "device": "cpu",
            "training": {"epochs": 1, "draw": False},
        },
        quiet=True,
    )
    model = run.model(device="cpu")
    bytes_ = np.rint(np.clip((values - 100.0) / 3, 0, 255)).astype(np.uint8)
    wanted = model.probabilities(torch.from_numpy(bytes_)[:, None])
    found = model.predict(list(values), top=2)
    assert [dict(row)["0"] for row in found] == pytest.approx(wanted[:, 0].tolist())


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
