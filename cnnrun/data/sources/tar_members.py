"""The offsets of files in a tar: its headers, read in order and within bounds.

Formats: ustar (POSIX.1-1988), pax (POSIX.1-2001) and GNU's long names and large sizes; sparse files
and what is not a file are skipped. Python's `tarfile` reads more, but trusts it: a negative size
makes it loop for ever, a chain of headers ends in a RecursionError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cnnrun.runtime.reading import NAME_LETTERS

BLOCK = 512
# Limit in bytes for a header that describes the next one (such as a long name).
_EXTENDED = 2**20
# Limit for such headers per file.
_CHAIN = 16

_FILES = frozenset((b"0", b"\0", b"7"))
_SPARSE = b"S"
# Entries without content: links, devices, folders, pipes.
_BARE = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))


class BrokenTarError(ValueError):
    """Not a plain tar, or a damaged one."""


@dataclass(frozen=True)
class Member:
    """A regular file: its stored name, the offset of its content, and its size."""

    name: str
    offset: int
    size: int


def members(tar: BinaryIO, total: int) -> Iterator[Member]:
    """The regular files in `tar`, which has `total` bytes, in their order.

    Raises:
        BrokenTarError: a header is damaged, cut short, or claims more than there is.
    """
    position, chain = 0, 0
    name: str | None = None
    settings: dict[str, str] = {}
    defaults: dict[str, str] = {}
    while header := _block(tar, position):
        kind, size = header[156:157], _size(header, position)
        data = position + BLOCK
        if kind in b"LKxgX":
            chain += 1
            if size > _EXTENDED or chain > _CHAIN:
                raise BrokenTarError(f"byte {position:,}: headers of headers without end")
            content = _content(tar, data, size, total)
            if kind == b"L":
                name = _text(content)
            elif kind == b"g":
                defaults |= _records(content, position)
            elif kind != b"K":
                settings = _records(content, position)
            position = data + _padded(size)
            continue
        settings = {**defaults, **settings}
        if kind == _SPARSE:
            data = _after_map(tar, header, position)
        if "size" in settings:
            size = _decimal(settings["size"], position)
        if kind not in _BARE and data + size > total:
            raise BrokenTarError(f"byte {position:,}: a file goes beyond its end")
        found = settings.get("path") or name or _name(header)
        if len(found) > NAME_LETTERS:
            raise BrokenTarError(f"byte {position:,}: a name of {len(found):,} letters")
        sparse = any(key.startswith("GNU.sparse") for key in settings)
        if kind in _FILES and not sparse and not found.endswith("/"):
            yield Member(found, data, size)
        position = data + (0 if kind in _BARE else _padded(size))
        name, settings, chain = None, {}, 0


def _block(tar: BinaryIO, position: int) -> bytes:
    """The header at `position`; empty at the end.

    Raises:
        BrokenTarError: cut short, or not with its checksum.
    """
    tar.seek(position)
    block = tar.read(BLOCK)
    if position and (not block or not any(block)):
        return b""
    if not any(block) and len(block) == BLOCK:
        return b""  # an empty tar
    if len(block) < BLOCK:
        raise BrokenTarError(f"byte {position:,}: cut short")
    with_blanks = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in with_blanks)  # of old programs
    if _octal(block[148:156], position) not in (sum(with_blanks), signed):
        raise BrokenTarError(f"byte {position:,}: no header of a tar")
    return block


def _content(tar: BinaryIO, offset: int, size: int, total: int) -> bytes:
    if offset + size > total:
        raise BrokenTarError(f"byte {offset:,}: a header goes beyond its end")
    tar.seek(offset)
    return tar.read(size)


def _size(header: bytes, position: int) -> int:
    field = header[124:136]
    if field[0] == 0x80:  # GNU: base 256
        return int.from_bytes(field[1:], "big")
    return _octal(field, position)


def _octal(field: bytes, position: int) -> int:
    digits = field.split(b"\0")[0].strip()
    if any(digit not in b"01234567" for digit in digits):
        raise BrokenTarError(f"byte {position:,}: no header of a tar")
    return int(digits or b"0", 8)


def _decimal(text: str, position: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BrokenTarError(f"byte {position:,}: a size that is none")
    return int(text)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _text(content: bytes) -> str:
    return content.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _name(header: bytes) -> str:
    """ustar's name, with its separate prefix."""
    name, folder = _text(header[:100]), _text(header[345:500])
    is_ustar = header[257:263] == b"ustar\0"  # GNU's own format has other things there
    return f"{folder}/{name}" if is_ustar and folder else name


def _records(content: bytes, position: int) -> dict[str, str]:
    """pax's `LENGTH KEY=VALUE` lines."""
    found: dict[str, str] = {}
    start = 0
    while start < len(content) and content[start : start + 1] != b"\0":
        digits, blank, _ = content[start : start + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = content[start : start + length]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        if not blank or not equals or not value.endswith(b"\n"):
            raise BrokenTarError(f"byte {position:,}: a damaged pax header")
        found[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
        start += length
    return found


def _after_map(tar: BinaryIO, header: bytes, position: int) -> int:
    """Where the content of GNU's sparse file starts: after the blocks that map it."""
    position += BLOCK
    more = header[482]
    while more:
        tar.seek(position)
        block = tar.read(BLOCK)
        if len(block) < BLOCK:
            raise BrokenTarError(f"byte {position:,}: cut short")
        more = block[504]
        position += BLOCK
    return position
