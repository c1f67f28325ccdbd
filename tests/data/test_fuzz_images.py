"""Damaged image files: each is decoded, or named with a reason; nothing else ever happens.

Every case follows from its number, so a failure is repeated by `CNNRUN_FUZZ_FIRST=NUMBER`.
"""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image

from cnnrun.data.images.decoding import BadImageError, decode
from tests.conftest import THOROUGH, Command
from tests.photo_like import photos

FIRST = int(os.environ.get("CNNRUN_FUZZ_FIRST", "0"))
_SECONDS = 20
# Above what the process holds already. Pillow lets an image have up to 179 million pixels.
_MEMORY = 4 * 2**30

# Bytes at the edges of what lengths, sizes and markers may be.
_EDGES = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff",
          b"\xff\xff\xff\x7f", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"IEND", b"IDAT", b"RIFF",
          b"\x00\x01", b"\x10\x00\x00\x00"]  # fmt: skip


@cache
def _originals() -> list[bytes]:
    """Small images of every kind of file, with what else such files hold."""
    photo = Image.fromarray(photos(1, 32)[0, :, :24].permute(1, 2, 0).numpy())
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [photo.rotate(90 * i) for i in range(3)]
    variants: list[tuple[Image.Image, str, dict[str, object]]] = [
        (photo, "JPEG", {"exif": exif}),
        (photo, "JPEG", {"progressive": True, "subsampling": 0}),
        (photo.convert("L"), "JPEG", {}),
        (photo.convert("CMYK"), "JPEG", {}),
        (photo, "PNG", {}),
        (photo.convert("RGBA"), "PNG", {"exif": exif}),
        (photo.convert("P"), "PNG", {"transparency": 3}),
        (photo.convert("I;16"), "PNG", {}),
        (photo.convert("1"), "PNG", {}),
        (photo, "GIF", {"save_all": True, "append_images": frames}),
        (photo, "BMP", {}),
        (photo.convert("P"), "BMP", {}),
        (photo, "TIFF", {"compression": "tiff_lzw"}),
        (photo, "TIFF", {"compression": "jpeg"}),
        (photo.convert("1"), "TIFF", {"compression": "group4"}),
        (photo.convert("F"), "TIFF", {}),
        (photo, "WEBP", {"lossless": True}),
        (photo.convert("RGBA"), "WEBP", {"quality": 50, "exif": exif}),
        (photo, "PPM", {}),
        (photo, "TGA", {"compression": "tga_rle"}),
        (photo.convert("RGBA"), "ICO", {"sizes": [(16, 16)]}),
        (photo, "JPEG2000", {}),
    ]
    contents = []
    for image, kind, options in variants:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        contents.append(stream.getvalue())
    return contents


def damaged_image(number: int) -> bytes:
    """The damaged file of a case; damage comes more often to headers, which decide the most."""
    draw = random.Random(number)
    content = bytearray(draw.choice(_originals()))
    for _ in range(draw.choice([1, 1, 2, 5, 30])):
        reach = draw.choice([32, 128, len(content)])
        at = draw.randrange(min(reach, len(content)) or 1)
        change = draw.randrange(6)
        if change == 0 and content:
            content[at] ^= 1 << draw.randrange(8)
        elif change == 1:
            edge = draw.choice(_EDGES)
            content[at : at + len(edge)] = edge
        elif change == 2:
            del content[at : at + draw.choice([1, 2, 4, 100])]
        elif change == 3:
            content[at:at] = draw.randbytes(draw.choice([1, 4, 64]))
        elif change == 4 and draw.random() < 0.5:
            del content[draw.randrange(len(content) + 1) :]
        else:
            other = draw.choice(_originals())
            start = draw.randrange(len(other))
            content[at : at + 16] = other[start : start + 16]
    return bytes(content)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"over {_SECONDS} s")


@pytest.fixture
def bounds() -> Iterator[None]:
    """More memory than `_MEMORY`, or a case that hangs, ends in an exception."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, limits[1]))
    before = signal.signal(signal.SIGALRM, _too_long)
    yield
    signal.signal(signal.SIGALRM, before)
    resource.setrlimit(resource.RLIMIT_AS, limits)


def _fuzz(count: int, folder: Path) -> Counter[str]:
    """What became of so many damaged files."""
    verdicts: Counter[str] = Counter()
    failures = []
    file = folder / "case.jpg"
    for number in range(FIRST, FIRST + count):
        file.write_bytes(damaged_image(number))
        channels = 1 + 2 * (number % 2)
        signal.alarm(_SECONDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pixels = decode(file, channels)  # type: ignore[arg-type]
        except BadImageError as error:
            (bad,) = error.files
            assert bad.path == str(file)
            assert bad.reason.isprintable(), number
            verdicts["refused"] += 1
        except BaseException as error:
            failures.append(f"case {number}: {error!r}")
        else:
            assert pixels.dtype == torch.uint8
            assert pixels.ndim == 3
            assert pixels.shape[0] == channels
            verdicts["decoded"] += 1
        finally:
            signal.alarm(0)
    assert not failures, "\n".join(failures)
    return verdicts


@pytest.mark.usefixtures("bounds")
def test_damaged_images_are_decoded_or_named(tmp_path: Path) -> None:
    verdicts = _fuzz(400, tmp_path)
    assert min(verdicts["decoded"], verdicts["refused"]) > 40


@pytest.mark.slow
@pytest.mark.usefixtures("bounds")
def test_thousands_of_damaged_images_are_decoded_or_named(tmp_path: Path) -> None:
    _fuzz(5000 if THOROUGH else 1000, tmp_path)


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
def test_a_folder_of_damaged_images_trains_on_the_rest(
    cnnrun: Command, tmp_path: Path, cache: str
) -> None:
    for number in range(80):
        folder = tmp_path / "images" / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(damaged_image(number))
        (folder / f"good{number}.jpg").write_bytes(_originals()[0])
    (tmp_path / "x.yaml").write_text(
        f"dataset: {{name: folder, root: images, size: 16, on_error: skip, cache: {cache},\n"
        "  cache_dir: cache, channels: rgb}\n"
        "model: {name: mlp, hidden: [4]}\nloss: cross_entropy\ntraining: {epochs: 1, draw: false}\n"
    )
    ended = cnnrun("train", "x.yaml", "-q")
    assert ended.code == 0, ended.err
    listed = (tmp_path / ended.out.strip() / "bad_files.csv").read_text().splitlines()
    assert 10 < len(listed) < 81
    refused = cnnrun("train", "x.yaml", "-q", "dataset.on_error=stop")
    assert refused.code == 1
    assert "a bug" not in refused.err
    assert f"The whole list ({len(listed) - 1}): " in refused.err
