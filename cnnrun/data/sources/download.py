"""Fetching a data set by torchvision's own class, which knows the mirrors and the checksums."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from cnnrun.errors import NetworkError, UserError

# Timeout for a mirror to answer (seconds).
TIMEOUT = 20.0

_ADDRESS = r"https?://[^'\"\s<>,)]+"


def download_with_torchvision(
    name: str,
    root: Path,
    folder: str,
    wanted: str,
    *,
    allowed: bool,
    parts: Sequence[Mapping[str, Any]] = ({},),
) -> None:
    """Put the files of `torchvision.datasets.<name>` below `root`, all of them or none.

    name: torchvision's class, also shown in messages.
    folder: the sub-folder of `root` for the files; "" if they are in `root` itself.
    wanted: the files by name, for the message.
    parts: arguments of the class for each part to fetch, e.g. `{"split": "test"}`.

    Raises:
        UserError: not allowed, or no mirror could be reached. It says where files may be placed.
    """
    place = f"put these files into {root / folder}: {wanted}"
    if not allowed:
        raise UserError(f"{name} is not in {root / folder}, and download is false; {place}")
    from torchvision import datasets as sources

    source = getattr(sources, name)
    existed = root.is_dir()
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Fetched to a temporary folder and moved when complete: a broken download leaves nothing
        # behind.
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as scratch:
            for arguments in parts:
                source(scratch, **{**arguments, "download": True})
            shutil.copytree(
                Path(scratch) / folder,
                root / folder,
                dirs_exist_ok=True,
                copy_function=shutil.move,
            )
    except (OSError, RuntimeError, ValueError) as error:
        if not existed and root.is_dir() and not any(root.iterdir()):
            root.rmdir()
        raise NetworkError(
            f"{name} is not in {root / folder} and could not be downloaded ({_cause(error)}).\n"
            f"  tried: {', '.join(_addresses(source))}\n"
            f"  by hand: {place}\n"
            "  without any download: `dataset: digits` is real data that is already here"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _addresses(source: type) -> list[str]:
    """The first web addresses in the class's attributes and code; else its page, from the docs."""
    held = [value for name, value in vars(source).items() if name != "__doc__"]
    # Strings in a method's own docstring are constants of its code too; none has an address.
    held += [value.__code__.co_consts for value in held if isinstance(value, FunctionType)]
    found = re.findall(_ADDRESS, repr(held))
    if not found:
        page = re.search(_ADDRESS, source.__doc__ or "")
        found = [f"the address that torchvision knows (home page: {page[0]})"] if page else []
    return list(dict.fromkeys(found))[:3] or ["the addresses that torchvision knows"]


def _cause(error: BaseException) -> str:
    """The innermost reason as text, e.g. 'Name or service not known'."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, OSError):
        return str(reason.strerror or reason)
    return (str(error).strip() or repr(error)).splitlines()[0]
