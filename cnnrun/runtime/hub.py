"""The Hugging Face hub without a network: its own client retries for minutes."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT = 10  # seconds


@contextmanager
def asked_once() -> Iterator[str]:
    """Within the block, a hub that does not answer is not asked again: only its cache is used.

    Yields why it does not answer; "" if it does, or if its client is set to be offline.
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
    """Why nothing answers there; "" if something does, even with an error."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return ""
    except OSError as error:
        return str(getattr(error, "reason", None) or error)
    return ""
