"""Headers of tars: read as Python's `tarfile` reads them, and within bounds."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.data.sources.tar_members import BrokenTarError, Member, members

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=300).filter(
    lambda name: not name.endswith("/") and name.strip("/")
)
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def _read(content: bytes) -> list[Member]:
    return list(members(io.BytesIO(content), len(content)))


def _tar(files: list[tuple[str, bytes]], form: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as out:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                member.linkname = "somewhere/else" * (1 if form == tarfile.USTAR_FORMAT else 20)
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            out.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6), st.sampled_from(FORMATS))
@settings(max_examples=60, deadline=None)
def test_files_lie_where_pythons_tarfile_finds_them(
    files: list[tuple[str, bytes]], form: int
) -> None:
    try:
        content = _tar(files, form)
    except ValueError:  # ustar can't hold every name
        return
    with tarfile.open(fileobj=io.BytesIO(content)) as known:
        wanted = [Member(m.name, m.offset_data, m.size) for m in known]
    found = [Member(m.name.rstrip("/"), m.offset, m.size) for m in _read(content)]
    assert found == wanted
    assert [content[m.offset : m.offset + m.size] for m in found] == [data for _, data in files]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, b"3", b"5"])
def test_what_is_no_file_is_passed_over(form: int, kind: bytes) -> None:
    end = bytes(1024)
    first = _tar([("a.png", b"x")], form, kind).rstrip(b"\0")
    first += bytes(-len(first) % 512)
    assert [m.name for m in _read(first + _tar([("b.png", b"y")], form) + end)] == ["b.png"]


@pytest.mark.skipif(os.name == "nt", reason="made by GNU tar")
def test_sparse_files_are_passed_over(tmp_path: Path) -> None:
    with (tmp_path / "sparse.png").open("wb") as file:
        for part in range(40):
            file.seek(part * 2**16)
            file.write(b"x")
    (tmp_path / "plain.png").write_bytes(b"plain")
    for form in ("gnu", "pax"):
        os.system(
            f"tar -S --format={form} -C {tmp_path} -cf {tmp_path}/{form}.tar sparse.png plain.png"
        )
        content = (tmp_path / f"{form}.tar").read_bytes()
        [found] = _read(content)
        assert content[found.offset : found.offset + found.size] == b"plain"


def _header(name: bytes = b"a.png", kind: bytes = b"0", size: bytes = b"00000000000\0") -> bytes:
    block = bytearray(name.ljust(100, b"\0") + b"0000644\0" * 3 + size + b"0" * 11 + b"\0")
    block += b" " * 8 + kind + bytes(100) + b"ustar\x0000" + bytes(512 - 265)
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def _octal(size: int) -> bytes:
    return b"%011o\0" % size


def _pax(record: bytes) -> bytes:
    length = len(record) + 3
    length += len(str(length)) - 1
    return b"%d %s\n" % (length, record)


HOSTILE = {
    "a negative size": _header(size=b"\xff" * 12) + bytes(1024),
    "a negative size in text": _header(size=b"-0000001000\0") + bytes(1024),
    "more than there is": _header(size=_octal(10**9)) + bytes(1024),
    "a size of 88 bits": _header(size=b"\x80" + b"\xff" * 11) + bytes(1024),
    "chained headers": _header(kind=b"x", size=_octal(0)) * 3000,
    "chained long names": (_header(kind=b"L", size=_octal(2)) + _padded(b"a\0")) * 3000,
    "a name of megabytes": _header(kind=b"L", size=_octal(2**21)) + b"a" * 2**21 + _header(),
    "a name of kilobytes": _header(kind=b"L", size=_octal(2048)) + b"a" * 2048 + _header(),
    "a negative pax size": _header(kind=b"x", size=_octal(20))
    + _padded(_pax(b"size=-1024"))
    + _header(),
    "a pax size of 5,000 digits": _header(kind=b"x", size=_octal(5013))
    + _padded(_pax(b"size=" + b"9" * 5000))
    + _header(),
    "a pax record of no length": _header(kind=b"x", size=_octal(20)) + _padded(b"0 a=b\n"),
    "a sparse map without end": _header(kind=b"S") + b"\1" * 5120,
    "a damaged header": _tar([("a", b"x"), ("b", b"y")], tarfile.USTAR_FORMAT).replace(
        b"b\0", b"c\0"
    ),
    "cut short": _tar([("a", b"x"), ("b", b"y")], tarfile.USTAR_FORMAT)[:1200],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers_are_refused_at_once(kind: str) -> None:
    content = HOSTILE[kind]
    if kind == "a sparse map without end":
        block = bytearray(content[:512])
        block[482] = 1
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        content = bytes(block) + content[512:]
    with pytest.raises(BrokenTarError):
        _read(content)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_damage_does_more_than_that(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMATS))
    content = bytearray(_tar([("é" * 70 + "/a.png", b"x" * 700), ("b.cls", b"0")], form))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = _read(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except BrokenTarError:
        return
    assert all(0 <= m.offset <= m.offset + m.size <= len(content) for m in found)
