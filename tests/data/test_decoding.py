"""Every kind of image file, against Pillow's own conversions."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from cnnrun.data.images.decoding import BadImageError, ImageFormat, decode
from cnnrun.data.images.formats import open_image
from cnnrun.data.images.framing import RandomCrop, frame, middle
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.images.window import Window

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]
# Of libjpeg's scaled decoding and resizing, against resizing alone.
NEAR_LOSSLESS_DB = 40


def photograph(height: int = 60, width: int = 80, seed: int = 0) -> Image.Image:
    """Smooth colors, as JPEG is made for."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(content: bytes, channels: int = 3) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3)."""
    image = open_image(content)
    pixels = image.read(channels, Window(0, 0, *image.size), image.size)
    return pixels[:, :, 0] if channels == 1 else pixels


def pillow(content: bytes, mode: str = "RGB") -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


def framed(content: bytes, form: ImageFormat, **crop: Any) -> NDArray[np.uint8]:
    out = torch.full((form.channels, *form.size), 77, dtype=torch.uint8)
    frame(content, form, out[None], **crop)
    return out.permute(1, 2, 0).numpy()


def difference(a: NDArray[Any], b: NDArray[Any]) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    assert a.shape == b.shape
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_are_told_by_content_and_have_pillows_pixels(tmp_path: Path, kind: str) -> None:
    content = saved(photograph(), kind)
    path = tmp_path / "wrong ending.txt"
    path.write_bytes(content)
    pixels = decode(path, channels=3)
    assert pixels.dtype == torch.uint8
    # Two builds of libjpeg may round a color by one.
    assert difference(pixels.permute(1, 2, 0).numpy(), pillow(content)) <= 1
    if kind == "JPEG":  # its own luma, from before it was rounded and clipped to RGB
        image = Image.open(io.BytesIO(content))
        image.draft("L", image.size)
        gray = np.asarray(image)
    else:
        gray = pillow(content, "L")
    assert difference(decode(path, channels=1)[0].numpy(), gray) == 0


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpegs_of_every_kind(progressive: bool, subsampling: int) -> None:
    content = saved(photograph(), "JPEG", progressive=progressive, subsampling=subsampling)
    assert difference(decoded(content), pillow(content)) <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_gray_files_become_three_equal_channels(kind: str) -> None:
    content = saved(photograph().convert("L"), kind)
    pixels = decoded(content)
    assert difference(pixels, pillow(content)) == 0
    assert (pixels == pixels[:, :, :1]).all()
    assert open_image(content).gray


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_images_stand_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(photograph(), kind, exif=exif.tobytes())
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    assert difference(decoded(content), np.asarray(upright)) <= 1
    window = (5, 7, 20, 30)
    top, left, height, width = window
    part = open_image(content).read(3, Window(*window), (height, width))
    box = (left, top, left + width, top + height)
    assert difference(part, np.asarray(upright.crop(box))) <= 1


def test_orientation_and_reduced_scale_together() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(photograph(800, 1200), "JPEG", exif=exif.tobytes(), quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    expected = upright.resize((40, 60), Image.Resampling.BILINEAR)
    assert psnr(framed(content, ImageFormat((60, 40), 3)), np.asarray(expected)) > NEAR_LOSSLESS_DB


def test_cmyk_jpegs_are_not_inverted() -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 20))
    content = saved(red.convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(content)).info["adobe"]  # stored inverted
    assert open_image(content).mode == "CMYK"
    assert difference(decoded(content), pillow(content)) == 0
    assert difference(decoded(content), np.asarray(red)) <= 8


def test_cmyk_tiff() -> None:
    content = saved(photograph().convert("CMYK"), "TIFF")
    assert difference(decoded(content), pillow(content)) == 0


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_one_bit(kind: str) -> None:
    content = saved(photograph().convert("1"), kind)
    assert difference(decoded(content, 1), pillow(content, "L")) == 0
    assert set(np.unique(decoded(content, 1))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_gray_keeps_its_whole_range(kind: str) -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).round().astype(np.uint16), (64, 1))
    content = saved(Image.fromarray(ramp), kind)
    expected = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    assert difference(decoded(content, 1), expected) == 0
    assert difference(decoded(content, 3)[:, :, 1], expected) == 0


def test_16_bit_tiffs_of_either_byte_order_and_meaning_of_zero() -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None]
    big = saved(Image.fromarray(ramp.astype(">u2")), "TIFF")
    assert decoded(big, 1).tolist() == [list(range(256))]
    inverted = saved(Image.fromarray(ramp), "TIFF", tiffinfo={262: 0})
    assert decoded(inverted, 1).tolist() == [list(range(255, -1, -1))]


def test_32_bit_integers_hold_16_bit_values() -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.int32)[None]
    assert decoded(saved(Image.fromarray(ramp), "TIFF"), 1).tolist() == [list(range(256))]
    with pytest.raises(UnreadableError, match=r"32-bit values go from 0 to 70000"):
        decoded(saved(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF"))


def test_floats_go_from_0_to_1() -> None:
    ramp = (np.arange(256) / 255).astype(np.float32)[None]
    assert decoded(saved(Image.fromarray(ramp), "TIFF"), 1).tolist() == [list(range(256))]
    for values in ([0.0, 1.5], [-0.1, 0.5], [0.0, np.nan]):
        content = saved(Image.fromarray(np.array([values], np.float32)), "TIFF")
        with pytest.raises(UnreadableError, match="float values go from"):
            decoded(content)


def test_16_bit_color_keeps_its_whole_range() -> None:
    levels = np.linspace(0, 65535, 256).round().astype(">u2")
    rows = np.stack([levels, levels[::-1], levels], axis=1).tobytes()
    content = png(width=256, depth=16, color_type=2, rows=[rows])
    expected = np.stack([np.arange(256), np.arange(255, -1, -1), np.arange(256)], axis=1)[None]
    assert difference(decoded(content), expected) <= 1


def png(width: int, depth: int, color_type: int, rows: list[bytes]) -> bytes:
    """A PNG of kinds that Pillow does not write."""
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, len(rows), depth, color_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_on_white(mode: str, kind: str) -> None:
    image = photograph().convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    content = saved(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    rgba = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(float)
    alpha = rgba[:, :, 3:] / 255
    expected = rgba[:, :, :3] * alpha + 255 * (1 - alpha)
    assert difference(decoded(content), np.rint(expected)) <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_with_transparency(kind: str) -> None:
    image = photograph().quantize(16)
    content = saved(image, kind, transparency=3)
    pixels = decoded(content)
    hidden = np.asarray(image) == 3
    assert hidden.any()
    assert (pixels[hidden] == 255).all()
    assert difference(pixels[~hidden], np.asarray(image.convert("RGB"))[~hidden]) == 0


def test_palette_without_transparency_and_gray_palette() -> None:
    content = saved(photograph().quantize(16), "PNG")
    assert difference(decoded(content), pillow(content)) == 0
    assert not open_image(content).gray
    gray = photograph().convert("L").quantize(8)
    assert open_image(saved(gray, "PNG")).gray


def test_a_transparent_color_of_a_png() -> None:
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    image.putpixel((1, 2), (200, 0, 0))
    pixels = decoded(saved(image, "PNG", transparency=(10, 20, 30)))
    assert pixels[2, 1].tolist() == [200, 0, 0]
    assert (pixels.reshape(-1, 3) == 255).all(axis=1).sum() == 15
    values = np.array([[0, 4660, 65535]], np.uint16)
    assert decoded(saved(Image.fromarray(values), "PNG", transparency=0), 1)[0, 0] == 255


def test_color_spaces_of_tiff() -> None:
    image = photograph()
    ycbcr = saved(image.convert("YCbCr"), "TIFF")
    assert difference(decoded(ycbcr), pillow(ycbcr)) == 0
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    changed = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    assert changed is not None
    # 8 bits of a and b are few where colors are strong.
    apart = decoded(saved(changed, "TIFF")).astype(int) - np.asarray(image)
    assert np.abs(apart).mean() < 2.5


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames(kind: str) -> None:
    first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    pixels = decoded(saved(first, kind, save_all=True, append_images=[second]))
    assert pixels.shape == (8, 8, 3)
    assert difference(pixels, np.asarray(first)) <= 6


@pytest.mark.parametrize("kind", FORMATS)
@given(share=st.floats(0.02, 0.97))
@settings(max_examples=8, deadline=None)
def test_a_file_cut_short_is_never_half_read(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    whole = saved(Image.fromarray(noise), kind)
    with pytest.raises(UnreadableError):
        decoded(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_or_damaged_jpeg_is_found_by_the_cheap_check_too(progressive: bool) -> None:
    content = saved(photograph(200, 300), "JPEG", quality=90, progressive=progressive)
    middle_of_it = len(content) // 2
    damaged = content[:middle_of_it] + bytes(60) + content[middle_of_it + 60 :]
    for bad in (content[:-40], content[:middle_of_it], damaged):
        with pytest.raises(UnreadableError, match="damaged"):
            open_image(bad).check()
        with pytest.raises(UnreadableError, match="damaged"):
            decoded(bad)
    open_image(content).check()


def test_filling_bytes_do_not_spoil_a_jpeg() -> None:
    content = saved(photograph(), "JPEG")
    for filled in (content[:-2] + bytes(7) + content[-2:], content + b"more" * 9):
        assert difference(decoded(filled), decoded(content)) == 0


def test_damaged_cmyk_jpeg_is_refused() -> None:
    content = saved(photograph(200, 300).convert("CMYK"), "JPEG", quality=90)
    half = len(content) // 2
    with pytest.raises(UnreadableError, match="damaged"):
        decoded(content[:half] + bytes(60) + content[half + 60 :])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not an image at all", "not an image"),
        (b"\xff\xd8\xff" + b"x" * 200, "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_what_is_no_image_is_named_with_its_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=reason) as caught:
        decode(path, channels=3)
    assert caught.value.files[0].path == str(path)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="No such file"):
        decode(tmp_path / "none.png", channels=3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_decompression_bombs_are_refused(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    content = saved(Image.new("L", (300, 200)), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 29_000)
    with pytest.raises(UnreadableError, match="decompression bombs"):
        decoded(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        assert decoded(content, 1).shape == (200, 300)


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (500, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_tiny_images_are_resized(size: tuple[int, int], resize: Any, kind: str) -> None:
    content = saved(Image.new("RGB", size[::-1], (90, 160, 230)), kind, quality=100)
    pixels = framed(content, ImageFormat((24, 32), 3, resize))
    colored = pixels[(pixels > 0).any(axis=2)]
    assert len(colored) == 24 * 32 if resize != "pad" else len(colored) >= 24
    assert np.abs(colored.astype(int) - [90, 160, 230]).max() <= 3


def test_squash_equals_pillows_resizing() -> None:
    image = photograph(75, 130)
    for size in [(32, 48), (100, 90), (200, 300)]:
        expected = image.resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = framed(saved(image, "PNG"), ImageFormat(size, 3, "squash"))
        assert difference(pixels, np.asarray(expected)) <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_takes_the_middle_by_the_short_side(channels: int) -> None:
    image = photograph(60, 100).convert("L" if channels == 1 else "RGB")
    expected = image.crop((20, 0, 80, 60)).resize((32, 32), Image.Resampling.BILINEAR)
    pixels = framed(saved(image, "PNG"), ImageFormat((32, 32), channels))
    assert difference(pixels, np.asarray(expected).reshape(32, 32, channels)) <= 1


def test_pad_keeps_proportions_between_black_borders() -> None:
    image = photograph(60, 120)
    pixels = framed(saved(image, "PNG"), ImageFormat((40, 40), 3, "pad"))
    assert not pixels[:10].any()
    assert not pixels[30:].any()
    expected = image.resize((40, 20), Image.Resampling.BILINEAR)
    assert difference(pixels[10:30], np.asarray(expected)) <= 1


def test_large_jpegs_decoded_at_reduced_scale_keep_their_quality() -> None:
    content = saved(photograph(900, 1300), "JPEG", quality=95)
    calls = framed(content, ImageFormat((100, 144), 3, "squash"))
    image = Image.open(io.BytesIO(content)).convert("RGB")
    assert open_image(content).read(3, Window(0, 0, 900, 1300), (100, 144)).shape[0] < 900
    expected = image.resize((144, 100), Image.Resampling.BILINEAR)
    assert psnr(calls, np.asarray(expected)) > NEAR_LOSSLESS_DB


sizes = st.integers(1, 400)


@given(height=sizes, width=sizes, epoch=st.integers(0, 3), index=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_random_windows_lie_within_and_keep_scale_and_ratio(
    height: int, width: int, epoch: int, index: int
) -> None:
    crop = RandomCrop(seed=3, scale=(0.2, 0.6), ratio=(0.5, 2.0))
    window = crop.window(height, width, epoch, index)
    assert window == crop.window(height, width, epoch, index)
    assert 0 <= window.top <= height - window.height
    assert 0 <= window.left <= width - window.width
    assert window.height >= 1
    assert window.width >= 1
    if 0.5 < width / height < 2 and min(height, width) > 50:
        share = window.height * window.width / (height * width)
        assert 0.17 <= share <= 0.63
        assert 0.45 <= window.width / window.height <= 2.2


def test_random_windows_are_distributed_as_torchvisions() -> None:
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image = torch.empty(3, 90, 130)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]
    )
    ours = np.array([RandomCrop(seed=0).window(90, 130, 0, index) for index in range(3000)])
    error = np.sqrt(theirs.var(axis=0) / 3000 + ours.var(axis=0) / 3000)
    assert (np.abs(theirs.mean(axis=0) - ours.mean(axis=0)) < 4.5 * error).all()
    assert np.allclose(theirs.std(axis=0), ours.std(axis=0), rtol=0.08)


@given(height=sizes, width=sizes, ratio=st.floats(0.2, 5))
@settings(max_examples=50, deadline=None)
def test_the_middle_is_centered_and_reaches_two_edges(
    height: int, width: int, ratio: float
) -> None:
    window = middle(height, width, ratio)
    assert window.height == height or window.width == width
    assert abs(2 * window.top + window.height - height) <= 1
    assert abs(2 * window.left + window.width - width) <= 1


def test_a_random_crop_is_that_part_of_the_full_image() -> None:
    image = photograph(120, 160)
    crop = RandomCrop(seed=5)
    for index in range(5):
        pixels = framed(
            saved(image, "PNG"), ImageFormat((32, 32), 3), crop=crop, epoch=2, index=index
        )
        top, left, height, width = crop.window(120, 160, 2, index)
        part = image.crop((left, top, left + width, top + height))
        expected = part.resize((32, 32), Image.Resampling.BILINEAR)
        assert difference(pixels, np.asarray(expected)) <= 1
