"""Untrusted names, made safe to print.

A file's name may contain newlines and escape sequences, which can overwrite the terminal, change
its title, or fake extra lines.
"""

from __future__ import annotations

import re

# Line separators, marks that reverse the writing direction, and bytes that are not text.
_OTHERS = "\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL = re.compile(f"[\x00-\x1f\x7f-\x9f{_OTHERS}]")
# The same, except newlines and tabs, which cnnrun's own texts contain.
_CONTROL_IN_TEXT = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_OTHERS}]")


def printable(name: object) -> str:
    """The name of a file, run, class or key, on one line and without control characters."""
    return _CONTROL.sub(_escaped, str(name))


def printable_text(text: str) -> str:
    """A text of several lines, with control characters escaped."""
    return _CONTROL_IN_TEXT.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
