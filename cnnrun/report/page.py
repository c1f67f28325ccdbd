"""The page and its parts as HTML, by the templates of `templates/`, where every text is escaped."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cnnrun.runtime.strict_json import to_json
from cnnrun.version import __version__

_ASSETS = files("cnnrun.report") / "assets"
_JPEG = b"\xff\xd8\xff"
_ISOLATES = "\u2066\u2067\u2068\u2069"


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    body: Markup

    @property
    def anchor(self) -> str:
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def page(title: str, lead: str, sections: Sequence[Section], nonce: str = "") -> str:
    """The whole HTML document; `lead` is text under the title.

    nonce: without which the browser is to run no script, where a server says so.
    """
    known = {"title": title, "lead": lead, "sections": sections, "nonce": nonce}
    return render("page.html", version=__version__, **known)


def render(template: str, **values: Any) -> Markup:
    """A template with its values filled in."""
    return Markup(_templates().get_template(template).render(values))


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("cnnrun.report"),
        autoescape=True,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.filters |= {"isolated": isolated, "address": data_address}
    found.globals["asset"] = lambda name: Markup((_ASSETS / name).read_text("utf-8"))
    found.policies["json.dumps_function"] = to_json
    found.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return found


def _part(macro: str, *values: Any) -> Markup:
    """What a macro of `parts.html` makes of its values."""
    return Markup(getattr(_templates().get_template("parts.html").module, macro)(*values))


def isolated(name: object) -> str:
    """What may be read from right to left, where no `<bdi>` can stand: in titles and attributes."""
    inner = "".join(letter for letter in str(name) if letter not in _ISOLATES)
    return f"\u2068{inner}\u2069"


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]], sortable: bool = True
) -> Markup:
    """A table; numbers are aligned and sorted as such. A cell may be `(value to sort by, text)`.

    The first cell of a row is its title. What is None or no finite number is sorted last.
    """
    return _part("table", caption, head, [map(_cell, row) for row in rows], sortable)


def _cell(cell: Any) -> tuple[str | None, str]:
    """What a number is sorted by, None for words; and the text."""
    value, text = cell if isinstance(cell, tuple) else (cell, "-" if cell is None else str(cell))
    if value is None:
        return "", text
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None, text
    return (f"{value:.12g}" if math.isfinite(value) else ""), text


def facts(pairs: Sequence[tuple[str, str]]) -> Markup:
    """Names and what they are."""
    return _part("facts", pairs)


def sentences(lines: Sequence[str], kind: str = "") -> Markup:
    """A paragraph each."""
    return _part("sentences", lines, kind)


def code(text: str, label: str) -> Markup:
    """Text to copy."""
    return _part("code", text, label)


def image(data: bytes, alt: str, caption: str) -> Markup:
    """A PNG or JPEG inside the page."""
    return _part("image", data, alt, caption)


def curves(charts: Sequence[Mapping[str, Any]], numbers: Markup) -> Markup:
    """Charts, drawn where the page is opened, and their numbers as tables when asked for."""
    return _part("curves", charts, numbers)


def data_address(data: bytes) -> str:
    """A PNG or JPEG as an address that is the image itself."""
    return f"data:{image_type(data)};base64,{base64.b64encode(data).decode('ascii')}"


def image_type(data: bytes) -> str:
    """The MIME type of a PNG or JPEG."""
    return "image/jpeg" if data.startswith(_JPEG) else "image/png"
