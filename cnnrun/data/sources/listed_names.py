"""Names of classes: normalized, in natural order, and shortened lists of them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable


def class_name(name: str) -> str:
    """The name as printable text, the same however a system composes accents."""
    shown = os.fsencode(name).decode("utf-8", "replace")
    return unicodedata.normalize("NFC", shown)


def natural_order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts 9 before 10."""
    words = re.findall(r"(\d+)|(\D+)", name)
    return [(0, int(digits), "") if digits else (1, 0, text) for digits, text in words], name


def listed(names: Iterable[str], limit: int = 8) -> str:
    """The first few of many names."""
    some = list(names)
    more = f" and {len(some) - limit:,} more" if len(some) > limit else ""
    return ", ".join(some[:limit]) + more
