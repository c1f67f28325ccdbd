"""The Hugging Face hub where there is no network: its own client tries for minutes."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT = 10  # seconds


@contextmanager
def asked_once() -> Iterator[str]:
    """Within the block, a hub that does not answer now is asked no more: its cache has to do.

    Gives why it does not answer; "" where it does, or where its client is told to be offline.
    """
    from huggingface_hub import constants

    why = "" if constants.HF_HUB_OFFLINE else _silent(constants.ENDPOINT)
    if not why:
        yield ""
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield f"{constants.ENDPOINT} can't be reached: {why}"
    finally:
        constants.HF_HUB_OFFLINE = False


def _silent(address: str) -> str:
    """Why nobody answers there; "" where somebody does, be it with an error."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return ""
    except OSError as error:
        return str(getattr(error, "reason", None) or error)
    return ""
