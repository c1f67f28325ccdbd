"""Plots inside the page, as many and as large as fit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from cnnrun.errors import UserError
from cnnrun.report.page import image, sentences
from cnnrun.runtime.reading import IMAGE_BYTES, read_bytes

MOST_BYTES = 3_000_000
"""Of all plots together, before base64 makes them a third larger; a page stays below 5 MB."""

_LARGE_BYTES, _MOST_SIDE = 400_000, 1280
_THUMBNAIL = 256  # pixels


def plots(files: Sequence[Path]) -> Markup:
    """PNG files as figures; those that can't be read, or are too much, are named instead."""
    shown, unread, beyond, size = [], [], [], 0
    for file in files:
        data = _data(file)
        if data is None:
            unread.append(file.name)
        elif size + len(data) > MOST_BYTES:
            beyond.append(file.name)
        else:
            size += len(data)
            shown.append(image(data, f"plot {file.stem}", file.stem))
    notes = []
    if unread:
        notes.append(f"Not readable as images: {', '.join(unread)}.")
    if beyond:
        folder = files[0].parent
        notes.append(f"Left out to keep the page small: {', '.join(beyond)}; they are in {folder}.")
    return Markup().join(shown) + sentences(notes, "warning")


def thumbnail(file: Path, side: int = _THUMBNAIL) -> bytes | None:
    """A PNG file as a JPEG of at most `side` pixels; None for what is no such file."""
    return _data(file, side, 0)


def _data(file: Path, side: int = _MOST_SIDE, large: int = _LARGE_BYTES) -> bytes | None:
    """The bytes of a PNG; where those are over `large`, a JPEG of at most `side` pixels instead.

    None for a damaged file, or one that is not a PNG: a link to anything else is never shown.
    """
    from PIL import Image

    try:
        data = read_bytes(file, IMAGE_BYTES)
        if not data.startswith(b"\x89PNG"):
            return None
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            if len(data) <= large:
                return data
            small = opened.convert("RGB")
    # What Pillow raises for a damaged file, or one that unpacks to more than memory holds.
    except (OSError, ValueError, SyntaxError, UserError, Image.DecompressionBombError):
        return None
    small.thumbnail((side, side))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    return stream.getvalue()
