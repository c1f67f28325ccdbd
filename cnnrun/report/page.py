"""The page around a report's sections: one file with its style and its script inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from cnnrun.runtime.strict_json import to_json
from cnnrun.version import __version__

_ASSETS = files("cnnrun.report") / "assets"
_SCRIPTS = ("uPlot.js", "page.js", "charts.js", "runs_table.js", "curves.js", "board.js")
_JPEG = b"\xff\xd8\xff"


class Html(str):
    """Text that is HTML already; any other text is escaped where it is put on the page."""


def html(text: str) -> str:
    return text if isinstance(text, Html) else escape(text)


def bdi(name: object) -> Html:
    """A name that may be read from right to left: it does not turn the words around it."""
    return Html(f"<bdi>{escape(str(name))}</bdi>")


def isolated(name: object) -> str:
    """The same where no element can stand: in titles and other attributes."""
    inner = "".join(letter for letter in str(name) if letter not in _ISOLATES)
    return f"\u2068{inner}\u2069"


_ISOLATES = "\u2066\u2067\u2068\u2069"


@dataclass(frozen=True)
class Section:
    """A part of the page; `body` is HTML."""

    title: str
    body: str

    @property
    def anchor(self) -> str:
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def page(title: str, lead: str, sections: Sequence[Section], nonce: str = "") -> str:
    """The whole HTML document; `lead` is text under the title.

    nonce: without which the browser is to run no script, where a server says so.
    """
    links = "".join(f'<li><a href="#{s.anchor}">{escape(s.title)}</a></li>' for s in sections)
    nav = f'<nav aria-label="Sections"><ul>{links}</ul></nav>' if len(sections) > 1 else ""
    parts = "".join(
        f'<section id="{s.anchor}" aria-labelledby="{s.anchor}-title">'
        f'<h2 id="{s.anchor}-title">{escape(s.title)}</h2>{s.body}</section>'
        for s in sections
    )
    style = (_ASSETS / "style.css").read_text("utf-8")
    tag = f'<script nonce="{nonce}">' if nonce else "<script>"
    scripts = "".join(f"{tag}{(_ASSETS / name).read_text('utf-8')}</script>" for name in _SCRIPTS)
    licence = f"<!-- uPlot:\n{(_ASSETS / 'uPlot.LICENSE').read_text('utf-8')}-->"
    # Without an icon of its own the browser would ask for one.
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        '<a class="skip" href="#content">Skip to the content</a>'
        f'<header><h1>{bdi(title)}</h1><p class="lead">{html(lead)}</p>'
        f"{nav}</header>"
        f'<main id="content">{parts}</main>'
        f"<footer><p>Made by cnnrun {escape(__version__)}.</p></footer>"
        f'<div id="tip" role="status" aria-live="polite" hidden></div>{licence}{scripts}'
        "</body></html>\n"
    )


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], sortable: bool = True
) -> str:
    """A table; numbers are aligned and sorted as such. A cell may be `(value to sort by, text)`.

    The first cell of a row is its title. What is None or no finite number is sorted last.
    """
    titles = "".join(
        f'<th scope="col"><button type="button">{escape(name)}</button></th>'
        if sortable
        else f'<th scope="col">{escape(name)}</th>'
        for name in head
    )
    body = "".join(f"<tr>{''.join(map(_cell, row, _kinds()))}</tr>" for row in rows)
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}">'
        f"<table{kind}><caption>{escape(caption)}</caption>"
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _kinds() -> Iterator[str]:
    """The opening and the name of each cell's tag."""
    yield 'th scope="row"'
    while True:
        yield "td"


def _cell(cell: Any, tag: str) -> str:
    value, text = cell if isinstance(cell, tuple) else (cell, "-" if cell is None else str(cell))
    end = f"</{tag[:2]}>"
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        sort = "" if value is None or not math.isfinite(value) else f"{value:.12g}"
        return f'<{tag} class="number" data-value="{sort}">{escape(text)}{end}'
    return f"<{tag}>{bdi(text)}{end}"


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and what they are."""
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{bdi(v)}</dd></div>" for k, v in pairs)
    return f'<dl class="facts">{rows}</dl>'


def sentences(lines: Sequence[str], kind: str = "") -> str:
    """A paragraph each."""
    marked = f' class="{kind}"' if kind else ""
    return "".join(f"<p{marked}>{html(line)}</p>" for line in lines)


def code(text: str, label: str) -> str:
    """Text to copy."""
    name = escape(label, quote=True)
    return (
        f'<div class="copy"><button type="button" class="copier">Copy</button>'
        f'<pre tabindex="0" aria-label="{name}"><code>{escape(text)}</code></pre></div>'
    )


def image(data: bytes, alt: str, caption: str = "") -> str:
    """A PNG or JPEG inside the page."""
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    name = escape(alt, quote=True)
    return f'<figure><img alt="{name}" src="{data_address(data)}">{text}</figure>'


def data_address(data: bytes) -> str:
    """A PNG or JPEG as an address that is the image itself."""
    return f"data:{image_type(data)};base64,{base64.b64encode(data).decode('ascii')}"


def image_type(data: bytes) -> str:
    """The MIME type of a PNG or JPEG."""
    return "image/jpeg" if data.startswith(_JPEG) else "image/png"


def details(summary: str, body: str) -> str:
    """What is shown when asked for."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def embedded(values: Any) -> str:
    """`values` as JSON for an attribute."""
    return escape(_compact(values), quote=True)


def data_block(values: Any) -> str:
    """`values` as JSON that a script of the page reads; no text in it can end the element."""
    text = _compact(values).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'


def _compact(values: Any) -> str:
    return to_json(values, separators=(",", ":"))
