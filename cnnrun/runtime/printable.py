"""Names that somebody else chose, as they may be printed.

A file's name may hold newlines and escape sequences, which write over what stands in a terminal,
change its title, or make one line look like several.
"""

from __future__ import annotations

import re

# Separators of lines, marks that turn the direction of what follows, and bytes that are no text.
_OTHERS = "\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL = re.compile(f"[\x00-\x1f\x7f-\x9f{_OTHERS}]")
# The same without the newlines and tabs of a text that cnnrun itself wrote.
_CONTROL_IN_TEXT = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_OTHERS}]")


def printable(name: object) -> str:
    """The name of a file, run, class or key, on one line that commands no terminal."""
    return _CONTROL.sub(_escaped, str(name))


def printable_text(text: str) -> str:
    """A text of several lines; whatever in it would command a terminal is spelled out."""
    return _CONTROL_IN_TEXT.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
