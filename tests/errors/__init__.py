"""What cnnrun says when something is wrong: each message, how to provoke it, what to do.

`docs/errors.md` is written from this: `python -m tests.errors > docs/errors.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _nothing(_: Path) -> None:
    """The folder is as it is."""


@dataclass(frozen=True)
class Case:
    """An error of the command line.

    says: the message; `…` stands for what depends on the case.
    means, do: for the page of documentation.
    command: what stands after `cnnrun`, in a folder with `x.yaml`, `cnn.yaml` and `p.yaml`
        (experiments on digits and on `images`) and `run` (what training `x.yaml` left).
    files: changes this folder first.
    without: packages that are not installed.
    """

    says: str
    means: str
    do: str
    command: str
    code: int = 2
    files: Callable[[Path], object] = _nothing
    without: tuple[str, ...] = ()
