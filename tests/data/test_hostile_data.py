"""Images, tables and shards of strangers: they write nothing elsewhere, the memory they cost is
bounded, and one message says what was refused."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command
from tests.malice import bounded, refused


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Is bounded for each case."""
    with bounded(monkeypatch):
        yield


def _images(folder: Path, count: int = 8) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (8, 8), (i, i, i)).save(folder / f"{i}.png")


def test_class_names_are_no_paths(cnnrun: Command, tmp_path: Path) -> None:
    """Those of a CSV file may be any text; they end in the log and on plots alone."""
    _images(tmp_path / "work" / "images")
    names = ["../../evil", "/tmp/evil", "a/../../b", "$(touch pwned)", "x\u202ey"]
    rows = [f'{i % 8}.png,"{name}",{split}' for i, name in enumerate(names)
            for split in ("train", "train", "val", "test")]  # fmt: skip
    (tmp_path / "work" / "images" / "table.csv").write_text(
        "path,label,split\n" + "\n".join(rows) + "\n"
    )
    (tmp_path / "work" / "c.yaml").write_text(
        "dataset: {name: csv, file: work/images/table.csv, cache: disk, cache_dir: work/cache}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\noutput: work/runs\n"
        "training: {epochs: 1, draw: false}\n"
    )
    before = {p for p in tmp_path.rglob("*") if "work" not in p.parts}
    ended = cnnrun("train", "work/c.yaml")
    assert ended.code == 0, ended.err
    found = ended.out.splitlines()[0].split()[1]
    assert cnnrun("eval", found, "--json").code == 0
    assert cnnrun("viz", "mistakes", found).code == 0
    assert {p for p in tmp_path.rglob("*") if "work" not in p.parts} == before
    assert not Path("pwned").exists()
    table = tmp_path / "work" / "images" / "table.csv"
    table.write_text(table.read_text().replace("$(touch", "\x1b[2J$(touch"))
    refused(cnnrun("check", "work/c.yaml"), r"'\x1b[2J$(touch pwned)'", "control character")


def test_paths_in_a_table_that_lead_elsewhere(cnnrun: Command, tmp_path: Path) -> None:
    """Read as images, at most; what is none is named, and not shown."""
    _images(tmp_path / "images")
    (tmp_path / "secret.txt").write_text("a password")
    for path in ("../secret.txt", "/etc/passwd", "/dev/zero", "../../../../dev/urandom", "."):
        (tmp_path / "images" / "table.csv").write_text(
            f"path,label,split\n0.png,a,train\n1.png,a,test\n{path},b,train\n"
        )
        (tmp_path / "c.yaml").write_text(
            "dataset: {name: csv, file: images/table.csv, cache_dir: cache}\n"
            "model: {name: mlp, hidden: [4]}\ndevice: cpu\n"
        )
        ended = cnnrun("check", "c.yaml")
        refused(ended, Path(path).name or path)
        assert "password" not in ended.err


def _tar(file: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(file, "w") as out:
        for member, content in members:
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_shards_write_nothing_and_follow_no_link(cnnrun: Command, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    members = [
        (_member("link.png", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (_member("hard.png", tarfile.LNKTYPE, "../../etc/passwd"), b""),
        (_member("dev.png", tarfile.CHRTYPE), b""),
        (_member("pipe.png", tarfile.FIFOTYPE), b""),
    ]
    for i, name in enumerate(["../../up", "/tmp/cnnrun-absolute", "a/../b", *"cdefgh"]):
        members += [(_member(f"{name}.png"), stream.getvalue())]
        members += [(_member(f"{name}.cls"), str(i % 2).encode())]
    (tmp_path / "work").mkdir()
    _tar(tmp_path / "work" / "shard.tar", members)
    (tmp_path / "work" / "w.yaml").write_text(
        "dataset: {name: webdataset, train: work/shard.tar, test: work/shard.tar,\n"
        "  cache_dir: work/cache, spool: work/spool, validation: 2}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\noutput: work/runs\n"
        "training: {epochs: 1, draw: false}\n"
    )
    ended = cnnrun("train", "work/w.yaml", "-q")
    assert ended.code == 0, ended.err
    assert {p.name for p in tmp_path.iterdir()} == {"work"}
    assert not Path("/tmp/cnnrun-absolute.png").exists()
    assert not list(tmp_path.parent.glob("up.*"))
    assert not list(tmp_path.rglob("*.cls"))


# Images -----------------------------------------------------------------------------------------


def _png_of(width: int, height: int, data: bytes) -> bytes:
    """A gray PNG of one bit that holds this compressed data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sum_

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@cache
def _bombs() -> dict[str, bytes]:
    rows = zlib.compress(bytes((20_000 // 8 + 1) * 20_000), 1)
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 10**6, 10**6, 1, 24, 0, 0,
                              0, 0, 0, 0)  # fmt: skip
    jpeg = io.BytesIO()
    Image.new("L", (8, 8)).save(jpeg, "JPEG")
    frame = jpeg.getvalue().index(b"\xff\xc0")
    huge = bytearray(jpeg.getvalue())
    huge[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    text = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(
        ">IIBBBBB", 1, 1, 8, 0, 0, 0, 0
    )  # fmt: skip
    text += struct.pack(">I", zlib.crc32(text[12:]))
    content = b"a\0\0" + zlib.compress(bytes(2**27), 1)
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content
    return {
        "png": _png_of(20_000, 20_000, rows),
        "png that only claims": _png_of(2**31 - 1, 2**31 - 1, b""),
        "png with a long text": text + chunk + struct.pack(">I", zlib.crc32(chunk[4:])),
        "gif": gif,
        "bmp": bmp,
        "jpeg": bytes(huge),
        "gzip": gzip.compress(bytes(2**26), 1),
    }


@pytest.mark.parametrize("kind", _bombs())
def test_an_image_that_unpacks_to_gigabytes(cnnrun: Command, tmp_path: Path, kind: str) -> None:
    for label in "ab":
        _images(tmp_path / "images" / label)
    bomb = tmp_path / "images" / "a" / "bomb.png"
    bomb.write_bytes(_bombs()[kind])
    assert bomb.stat().st_size < 1_000_000
    (tmp_path / "p.yaml").write_text(
        "dataset: {name: folder, root: images, cache_dir: cache, size: 8}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\n"
        "training: {epochs: 1, draw: false}\n"
    )
    ended = cnnrun("check", "p.yaml")
    refused(ended, "bomb.png: ")
    ended = cnnrun("check", "p.yaml", "dataset.on_error=skip")
    assert ended.code == 0, ended.err
    assert "train 12" in ended.out


@pytest.mark.parametrize("label", ["123456789", "9" * 1000, "100000"])
def test_a_label_does_not_make_a_hundred_million_classes(
    cnnrun: Command, tmp_path: Path, label: str
) -> None:
    pixel = io.BytesIO()
    Image.new("L", (8, 8)).save(pixel, "PNG")
    names = [("a.png", pixel.getvalue()), ("a.cls", label.encode())]
    _tar(tmp_path / "x.tar", [(_member(name), content) for name, content in names])
    (tmp_path / "x.yaml").write_text(
        "dataset: {name: webdataset, train: x.tar, test: x.tar, validation: 0}\nmodel: mlp\n"
    )
    refused(cnnrun("check", "x.yaml"), "labels go up to ", "are these labels?")


def test_test_images_of_another_size_are_told_at_once(cnnrun: Command, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for split, side in (("train", 28), ("t10k", 32)):
        head = np.array([20, side, side], ">u4").tobytes()
        images = bytes((0, 0, 8, 3)) + head + bytes(20 * side * side)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(images)
        labels = bytes((0, 0, 8, 1)) + np.array([20], ">u4").tobytes() + bytes(range(10)) * 2
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(labels)
    (tmp_path / "x.yaml").write_text("dataset: {name: mnist, download: false}\nmodel: mlp\n")
    refused(cnnrun("train", "x.yaml"), "training images are 28 x 28, test images 32 x 32")
    assert not (tmp_path / "runs").exists()
