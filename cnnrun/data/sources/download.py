"""Fetching a data set by torchvision's own class, which knows the mirrors and the checksums."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from cnnrun.errors import UserError

# A mirror that does not answer for so long counts as absent (seconds).
TIMEOUT = 20.0


def download_with_torchvision(
    name: str, root: Path, folder: str, wanted: str, *, allowed: bool
) -> None:
    """Put the files of `torchvision.datasets.<name>` below `root`, all of them or none.

    name: torchvision's class, also shown in messages.
    folder: the sub-folder of `root` that the files land in.
    wanted: the files by name, for the message.

    Raises:
        UserError: not allowed, or no mirror could be reached. It says where files may be placed.
    """
    place = f"put these files into {root / folder}: {wanted}"
    if not allowed:
        raise UserError(f"{name} is not in {root / folder}, and download is false; {place}")
    from torchvision import datasets as sources

    existed = root.is_dir()
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Fetched beside its place and moved when whole: what breaks off leaves nothing behind.
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as scratch:
            getattr(sources, name)(scratch, download=True)
            shutil.copytree(Path(scratch) / folder, root / folder, dirs_exist_ok=True)
    except (OSError, RuntimeError) as error:
        if not existed and not any(root.iterdir()):
            root.rmdir()
        tried = ", ".join(getattr(getattr(sources, name), "mirrors", None) or [_url(sources, name)])
        raise UserError(
            f"{name} is not in {root / folder} and could not be downloaded ({_cause(error)}).\n"
            f"  tried: {tried}\n"
            f"  by hand: {place}\n"
            "  without any download: `dataset: digits` is real data that is already here"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _url(sources: object, name: str) -> str:
    return str(getattr(getattr(sources, name), "url", "its home page"))


def _cause(error: BaseException) -> str:
    """The innermost reason in words, e.g. 'Name or service not known'."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, OSError):
        return str(reason.strerror or reason)
    return str(error).strip().splitlines()[0]
