"""Text that fits: names in any script, measured in pixels, shortened where the room ends."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from cnnrun.plots.style import (
    DPI,
    TEXT,
    Figure,
    RendererAgg,
    Text,
    boxes_for_letters,
    matplotlib,
)

_BASE = "DejaVu Sans"
"""Ships inside matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic, Georgian, Armenian."""

_WIDE_COVERAGE = ("CJK", "Source Han", "Noto Sans", "Unicode", "Noto")
"""Words in the names of families with many or rare characters; these are tried first."""

_UNDRAWABLE = ("Last Resort", "LastResort", "Color Emoji")
"""Fonts that claim to have every character, and fonts that draw only in colour."""

_MARK = "\u200e"
"""Marks text as left to right; it has no width."""

_FONTS_TRIED = 400
"""Opening a font costs about 5 ms; a character that none of so many has is drawn as a box."""


def clean(name: object) -> str:
    """`name` as one printable line: line ends and tabs become spaces, broken characters `�`."""
    text = " ".join(str(name).split())
    return "".join("�" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def line_height(size: float) -> int:
    """Pixels from one line of text of `size` points to the next."""
    return round(1.4 * size * DPI / 72)


@lru_cache(maxsize=1)
def _fonts() -> list[tuple[str, str]]:
    """(family, file) of the installed fonts, one upright file a family, in the order to try."""
    manager = matplotlib.font_manager.fontManager
    own = Path(matplotlib.get_data_path())
    families: dict[str, str] = {}
    for font in sorted(manager.ttflist, key=lambda font: abs(int(font.weight) - 400)):
        # matplotlib's other own fonts are for formulas; some have signs instead of letters.
        usable = own not in Path(font.fname).parents and font.style == "normal"
        if usable and not any(word in font.name for word in _UNDRAWABLE):
            families.setdefault(font.name, font.fname)
    return sorted(families.items(), key=lambda item: (_rank(item[0]), item[0]))


def _rank(family: str) -> int:
    matches = (rank for rank, word in enumerate(_WIDE_COVERAGE) if word in family)
    return next(matches, len(_WIDE_COVERAGE))


@lru_cache(maxsize=_FONTS_TRIED)
def _characters(file: str) -> frozenset[int]:
    """The code points that a font file has glyphs for; none when it cannot be read."""
    try:
        return frozenset(matplotlib.font_manager.get_font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def font_families(text: str) -> tuple[str, ...]:
    """Font families that together have the characters of `text`, as far as fonts are installed."""
    return _families_for(text)[0]


def undrawable(text: str) -> str:
    """The characters of `text` that no installed font has, each once."""
    return "".join(sorted(map(chr, _families_for(text)[1])))


@lru_cache(maxsize=4096)
def _families_for(text: str) -> tuple[tuple[str, ...], frozenset[int]]:
    """Families for the characters of `text`, and those characters that are left."""
    base = matplotlib.font_manager.findfont(_BASE)
    missing = {ord(c) for c in text if not c.isspace()} - _characters(base)
    chosen = [_BASE]
    # matplotlib's list of fonts is a cached one: what was installed since is looked for once.
    for look_for in (_fonts, _new_fonts) if missing else ():
        for family, file in look_for()[:_FONTS_TRIED]:
            if missing & _characters(file):
                chosen.append(family)
                missing -= _characters(file)
            if not missing:
                return tuple(chosen), frozenset()
    return tuple(chosen), frozenset(missing)


@lru_cache(maxsize=1)
def _new_fonts() -> list[tuple[str, str]]:
    """(family, file) of fonts that matplotlib's cached list does not know."""
    fonts = matplotlib.font_manager
    known = {font.fname for font in fonts.fontManager.ttflist}
    before = set(_fonts())
    for file in sorted(set(fonts.findSystemFonts()) - known):
        with suppress(OSError, RuntimeError):
            fonts.fontManager.addfont(file)
    _fonts.cache_clear()
    return [font for font in _fonts() if font not in before]


def set_fonts(figure: Figure) -> None:
    """Give each text of `figure` the fonts that its characters need."""
    for text in figure.findobj(Text):
        text.set_fontfamily(font_families(text.get_text()))


@lru_cache(maxsize=1)
def _renderer() -> Any:
    return RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]


@lru_cache(maxsize=8192)
def text_width(text: str, size: float = TEXT) -> float:
    """Width in pixels of one line of `text` at `size` points."""
    font = matplotlib.font_manager.FontProperties(family=font_families(text), size=size)
    with boxes_for_letters():
        return float(_renderer().get_text_width_height_descent(text, font, ismath=False)[0])


def widest(texts: Iterable[str], size: float = TEXT) -> float:
    """The largest width in pixels among `texts`, 0 for none."""
    return max((text_width(text, size) for text in texts), default=0.0)


def shorten(name: object, room: float, size: float = TEXT, keep_end: bool = False) -> str:
    """`name` as one line no wider than `room` pixels.

    The middle gives way to an ellipsis: names with a common start (`n02085620-dog`) stay
    distinguishable.
    keep_end: the start gives way, as in a layer's name, whose end says which it is.
    """
    shortened = _ending if keep_end else _without_middle
    text = clean(name)
    if text_width(text, size) <= room:
        return text
    fits, too_long = 0, len(text)
    while fits + 1 < too_long:
        kept = (fits + too_long) // 2
        if text_width(shortened(text, kept), size) <= room:
            fits = kept
        else:
            too_long = kept
    return shortened(text, fits)


def _without_middle(text: str, kept: int) -> str:
    """The first two thirds and the last third of `kept` characters around an ellipsis."""
    tail = kept // 3
    head = kept - tail
    return f"{text[:head].rstrip()}{_ending(text, tail)}"


def _ending(text: str, kept: int) -> str:
    """The last `kept` characters after an ellipsis."""
    end = text[len(text) - kept :]
    while end and unicodedata.combining(end[0]):  # an accent goes with its letter
        end = end[1:]
    return f"…{end.lstrip()}"


def left_to_right(*parts: str) -> str:
    """Parts side by side from left to right, also names that are read from right to left.

    Then a mark of that direction stands around each: `A → B` would else be drawn as `B ← A`.
    """
    if not any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in "".join(parts)):
        return "".join(parts)
    return _MARK.join(("", *parts, ""))


def in_lines(parts: Sequence[str], room: float, size: float = TEXT, most: int = 4) -> str:
    """The parts with commas between them, in lines no wider than `room` pixels where that goes.

    An ellipsis stands for what has no room in `most` lines.
    """
    lines = list(parts[:1])
    for part in parts[1:]:
        longer = f"{lines[-1]}, {part}"
        if text_width(longer, size) <= room:
            lines[-1] = longer
        elif len(lines) < most:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1] += ", …"
            break
    return "\n".join(lines)


def in_legend(name: str) -> str:
    """`name` for a legend: matplotlib leaves out names that start with an underscore."""
    return f"{_MARK}{name}" if name.startswith("_") else name


def percent(share: float) -> str:
    """`97 %`; below one per cent with two digits: of a thousand classes, 0.4 % is sure."""
    return f"{100 * share:.0f} %" if share >= 0.00995 or not share > 0 else f"{100 * share:.2g} %"


def numbered(count: int, noun: str) -> str:
    """`1 image`, `2 images`, `1,000 images`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
