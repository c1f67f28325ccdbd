"""Which page of a file is read, and which of its values are black and white; DICOM; channels."""

from __future__ import annotations

import struct
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.processing import apply_modality_lut, apply_windowing

from cnnrun import load_model
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.formats import open_image, read_header
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.images.reading import ImageReading
from cnnrun.data.images.window import Window
from cnnrun.data.sources.folder import folder
from cnnrun.data.sources.npz_file import npz
from cnnrun.errors import UserError
from tests.conftest import Command
from tests.data.dicom_files import dicom_bytes

LEVELS = (10, 200, 90)


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _pages(form: str) -> bytes:
    """Three pages of one level each; of TIFF in three sizes."""
    sizes = [(8, 6), (9, 7), (10, 8)] if form == "TIFF" else [(8, 6)] * 3
    pages = [
        Image.fromarray(np.full(size[::-1], level, np.uint8))
        for level, size in zip(LEVELS, sizes, strict=True)
    ]
    return _saved(pages[0], form, save_all=True, append_images=pages[1:])


def _read(content: bytes, channels: int = 1, **reading: Any) -> NDArray[np.uint8]:
    image = open_image(content, ImageReading.of(**reading))
    image.check()
    return image.read(channels, Window(0, 0, *image.size), image.size)


@pytest.mark.parametrize("form", ["TIFF", "GIF"])
@pytest.mark.parametrize("page", [None, 0, 1, 2])
def test_a_page_is_the_one_that_pillow_seeks(form: str, page: int | None) -> None:
    content = _pages(form)
    pillow = Image.open(BytesIO(content))
    pillow.seek(page or 0)
    assert np.array_equal(_read(content, page=page)[:, :, 0], np.asarray(pillow.convert("L")))
    assert read_header(content, page)[0] == (pillow.height, pillow.width)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_pages("TIFF"), "it has 3 pages, 0 to 2, but dataset.page is 3"),
        (_saved(Image.new("L", (4, 4)), "PNG"), "it has one page, page 0, but dataset.page is 3"),
        (_saved(Image.new("L", (4, 4)), "JPEG"), "it has one page, page 0, but dataset.page is 3"),
    ],
    ids=["tiff", "png", "jpeg"],
)
def test_a_page_that_there_is_not(content: bytes, told: str) -> None:
    for opens in (lambda: _read(content, page=3), lambda: read_header(content, 3)):
        with pytest.raises(UnreadableError, match=told):
            opens()


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
def test_a_folder_is_read_at_its_page_and_range(tmp_path: Path, cache: Any) -> None:
    pages = [Image.fromarray(np.full((6, 8), level * 40, np.uint16)) for level in LEVELS]
    for kind in ("a", "b"):
        (tmp_path / "D" / kind).mkdir(parents=True)
        for number in range(4):
            file = tmp_path / "D" / kind / f"{number}.tif"
            pages[0].save(file, save_all=True, append_images=pages[1:])

    def levels(**reading: Any) -> tuple[list[int], list[str]]:
        options = ImageOptions(threads=1, cache=cache, cache_dir=str(tmp_path / "known"),
                               reading=ImageReading.of(**reading))  # fmt: skip
        dataset = folder(options, root=str(tmp_path / "D"))
        images = dataset.train.images[torch.arange(len(dataset.train))]
        return images.unique().tolist(), options.notes

    assert levels(page=2, bits=12)[0] == [round(90 * 40 / 4095 * 255)]
    found, notes = levels(page=1, span=[0, 16_000])
    assert found == [round(200 * 40 / 16_000 * 255)]
    assert not any("hold several" in note for note in notes)
    assert levels(page=1, span=[0, 4_000])[0] == [255]
    with pytest.raises(UserError, match=r"3 pages, 0 to 2, but dataset\.page is 7"):
        levels(page=7, bits=12)


@given(
    st.lists(st.floats(-1e4, 1e5, width=32), min_size=4, max_size=4),
    st.floats(-1e4, 5e4),
    st.floats(1, 1e5),
)
def test_a_range_is_a_line_between_black_and_white(
    values: list[float], low: float, width: float
) -> None:
    """Floats, 16 bits and arrays alike; what lies beyond is black or white."""
    high = low + width
    exact = [min(max((value - low) / width, 0), 1) * 255 for value in values]
    pixels = np.array(values, np.float32).reshape(2, 2)
    found = _read(_saved(Image.fromarray(pixels), "TIFF"), span=[low, high])
    assert np.abs(found.ravel() - np.array(exact)).max() <= 0.51
    whole = np.array(values, np.float64).clip(0, 65535).round().astype(np.uint16).reshape(2, 2)
    exact = [min(max((float(value) - low) / width, 0), 1) * 255 for value in whole.ravel()]
    found = _read(_saved(Image.fromarray(whole), "PNG"), span=[low, high])
    assert np.abs(found.ravel() - np.array(exact)).max() <= 0.51


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_range_also_stretches_8_bits(form: str) -> None:
    pixels = np.linspace(0, 255, 24 * 24 * 3).reshape(24, 24, 3).astype(np.uint8)
    content = _saved(Image.fromarray(pixels), form, quality=95)
    plain = _read(content, 3).astype(np.float64)
    found = _read(content, 3, span=[50, 150])
    assert np.array_equal(found, np.rint(np.clip((plain - 50) * 2.55, 0, 255)))


CT = np.linspace(0, 4095, 48).reshape(6, 8).astype(np.uint16)
WINDOWED = {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 2, "RescaleIntercept": -1024,
            "WindowCenter": 600, "WindowWidth": 2000}  # fmt: skip


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_dicom_image_by_its_own_window(function: str, compressed: bool) -> None:
    content = dicom_bytes(CT, compressed, **WINDOWED, VOILUTFunction=function)
    dataset = pydicom.dcmread(BytesIO(content))
    shown = apply_windowing(apply_modality_lut(CT, dataset), dataset)
    low, high = -1024, 4095 * 2 - 1024  # what windowing maps its ends to
    expected = (shown - low) / (high - low) * 255
    assert np.abs(_read(content)[:, :, 0] - expected).max() <= 0.51
    assert read_header(content) == ((6, 8), True)
    white = dicom_bytes(CT, compressed, **WINDOWED, VOILUTFunction=function,
                   PhotometricInterpretation="MONOCHROME1")  # fmt: skip
    assert np.array_equal(_read(white), 255 - _read(content))
    assert np.array_equal(_read(content, 3), _read(content).repeat(3, 2))


def test_a_dicom_image_by_a_range_of_hounsfield_units() -> None:
    content = dicom_bytes(CT, **WINDOWED)
    exact = np.clip((CT * 2.0 - 1024 + 100) / 500, 0, 1) * 255
    assert np.abs(_read(content, span=[-100, 400])[:, :, 0] - exact).max() <= 0.51


def test_dicom_without_a_window_signed_in_frames_and_in_color() -> None:
    signed = np.linspace(-32768, 32767, 48).reshape(6, 8).astype(np.int16)
    exact = (signed + 32768.0) / 65535 * 255
    assert np.abs(_read(dicom_bytes(signed))[:, :, 0] - exact).max() <= 0.51
    frames = np.stack([np.full((6, 8), level, np.uint8) for level in LEVELS])
    assert _read(dicom_bytes(frames), page=1).max() == 200
    assert _read(dicom_bytes(frames)).max() == 10
    with pytest.raises(UnreadableError, match=r"3 pages, 0 to 2, but dataset\.page is 9"):
        _read(dicom_bytes(frames), page=9)
    color = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)
    assert np.array_equal(_read(dicom_bytes(color), 3), color)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (dicom_bytes(CT)[:600], "damaged DICOM|without an image"),
        (dicom_bytes(CT)[:-40], "damaged DICOM"),
        (dicom_bytes(CT, Rows=60_000, Columns=60_000), "limit against decompression bombs"),
        (dicom_bytes(CT, PhotometricInterpretation="PALETTE COLOR"), "an unsupported kind"),
        (dicom_bytes(CT, VOILUTSequence=[pydicom.Dataset()]), "set dataset.range"),
        (b"\0" * 128 + b"DICM" + b"1.2.840.10008.1.2.1.99", "a deflated DICOM file"),
        (b"\0" * 128 + b"DICM", "damaged DICOM|without an image"),
    ],
    ids=["cut", "short", "huge", "palette", "table", "deflated", "empty"],
)
def test_dicom_that_is_not_read(content: bytes, told: str) -> None:
    with pytest.raises(UnreadableError, match=told):
        _read(content)


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = dicom_bytes(CT)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UnreadableError, match=r"pip install 'cnnrun\[dicom\]'"):
        open_image(content)


def test_a_folder_of_dicom_files_trains_and_predicts(
    cnnrun: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, level in (("a", 100), ("b", 3000)):
        Path("D", kind).mkdir(parents=True)
        for number in range(12):
            values = (np.full((8, 8), level) + number).astype(np.uint16)
            Path("D", kind, f"{number}.dcm").write_bytes(
                dicom_bytes(values, BitsStored=12, HighBit=11)
            )
    Path("c.yaml").write_text(
        "dataset: {name: folder, root: D, batch_size: 4, range: [0, 4095], cache_dir: k}\n"
        "model: {name: mlp, hidden: [4]}\noptimizer: {name: sgd, lr: 0.1}\n"
        "training: {epochs: 2, draw: false}\ndevice: cpu\n"
    )
    ended = cnnrun("train", "c.yaml", "-q")
    assert ended.code == 0, ended.err
    told = cnnrun("predict", ended.out.strip(), "D/b/3.dcm", "--json")
    assert told.code == 0, told.err
    assert '"b"' in told.out


@pytest.mark.parametrize("channels", [2, 4, 5, 16])
@pytest.mark.parametrize("last", [False, True])
def test_arrays_of_several_channels(channels: int, last: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 1000, (20, channels, 20, 24)).astype(np.uint16)
    given_as = np.moveaxis(pixels, 1, 3) if last else pixels
    np.savez(tmp_path / "a.npz", x_train=given_as, y_train=np.arange(20) % 2)
    options = ImageOptions(reading=ImageReading.of(span=[100, 865]))
    dataset = npz(options, file=str(tmp_path / "a.npz"), test=0.3)
    assert dataset.input_shape == (channels, 20, 24)
    exact = np.rint(np.clip((pixels - 100.0) / 3, 0, 255)).astype(np.uint8)
    known = {image.tobytes() for image in exact}
    for split in (dataset.train, dataset.test):
        found = split.images[torch.arange(len(split))].numpy()
        assert {np.ascontiguousarray(image).tobytes() for image in found} <= known


@pytest.mark.parametrize("shape", [(20, 5, 8, 12), (20, 17, 20, 20), (20, 8, 8, 5)])
def test_arrays_whose_channels_can_not_be_told(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros(shape, np.uint8), y_train=np.arange(20) % 2)
    with pytest.raises(UserError, match="1 to 16 channels and more pixels than that"):
        npz(ImageOptions(), file=str(tmp_path / "a.npz"))


def _tiff(pixels: NDArray[np.uint8], extra: int) -> bytes:
    """A TIFF of (H, W, C) bytes, which Pillow can't write; extra: what channels after RGB are, 0
    for anything, 2 for transparency."""
    height, width, channels = pixels.shape
    end = 8 + pixels.size
    kind = 2 if channels > 2 else 1
    tags = {256: [width], 257: [height], 258: [8] * channels, 259: [1], 262: [kind],
            273: [8], 277: [channels], 278: [height], 279: [pixels.size]}  # fmt: skip
    if channels > 3:
        tags[338] = [extra] * (channels - 3)
    entries, more = b"", b""
    start = end + 2 + 12 * len(tags) + 4
    for tag, values in tags.items():
        cell = struct.pack(f"<{len(values)}H", *values)
        if len(cell) > 4:
            cell, more = struct.pack("<I", start + len(more)), more + cell
        entries += struct.pack("<HHI", tag, 3, len(values)) + cell.ljust(4, b"\0")
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", end) + pixels.tobytes() + directory + more


@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 8])
def test_no_channel_of_a_tiff_is_dropped_in_silence(channels: int, extra: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, channels), dtype=np.uint8)
    content = _tiff(pixels, extra)
    if channels in (1, 3):
        assert np.array_equal(_read(content, channels), pixels)
    elif (channels, extra) == (4, 2):  # on white
        opaque = pixels[:, :, 3:] == 255
        assert np.array_equal(_read(content, 3)[opaque[:, :, 0]], pixels[:, :, :3][opaque[:, :, 0]])
    else:
        for reads in (_read, read_header):
            with pytest.raises(UnreadableError, match=f"a TIFF of {channels} channels, of which"):
                reads(content)


def test_five_channels_from_training_to_plots(
    cnnrun: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (60, 5, 20, 20)).astype(np.uint8)
    pixels[::2, 3] //= 4
    np.savez("a.npz", x_train=pixels, y_train=np.arange(60) % 2)
    Path("c.yaml").write_text(
        "dataset: {name: npz, file: a.npz, batch_size: 8, augment: [{name: hflip}]}\n"
        "model: {name: cnn, channels: [4]}\noptimizer: {name: sgd, lr: 0.1}\n"
        "training: {epochs: 2, draw: false}\ndevice: cpu\n"
    )
    ended = cnnrun("train", "c.yaml", "-q")
    assert ended.code == 0, ended.err
    run = ended.out.strip()
    said = ""
    for plot in ("mistakes", "filters", "samples"):
        drawn = cnnrun("viz", plot, run, "-o", f"{plot}.png")
        assert drawn.code == 0, drawn.err
        said += drawn.err
    assert "images of 5 channels: plots show the first three" in said
    found = load_model(run).predict(list(np.moveaxis(pixels[:8], 1, 3)), top=2)
    with np.load("a.npz") as held:
        tensor = torch.from_numpy(held["x_train"][:8])
    shares = load_model(run).probabilities(tensor)
    assert [dict(answer) for answer in found] == [
        {"0": pytest.approx(row[0]), "1": pytest.approx(row[1])} for row in shares
    ]
    Image.new("RGB", (20, 20)).save("a.png")
    for image, told in (
        ("a.png", "the network takes images of 5 channels, which image files do not have"),
        (pixels[0], r"5 channels, got 5 x 20 x 20; np\.moveaxis\(array, 0, -1\) moves them last"),
        (pixels[0, :4].transpose(1, 2, 0), "expected an array H x W x C with 5 channels, got 20 x"),
    ):
        with pytest.raises(UserError, match=told):
            load_model(run).predict(image)
    assert cnnrun("export", run, "-o", "m.onnx").code == 0
    for changes, told in (
        (["dataset.augment=[{name: grayscale}]"], "hue and gray need RGB images; leave them out"),
        (["dataset.channels=rgb"], "the images have 5, which are neither gray nor RGB"),
    ):
        refused = cnnrun("check", "c.yaml", *changes)
        assert (refused.code in (1, 2), told in refused.err) == (True, True), refused.err
    zoo = cnnrun("check", "c.yaml", "model=torchvision/resnet18", "dataset.normalize=imagenet")
    assert zoo.code == 0, zoo.err
