"""Advisory locks on open files and folders, where the system and the file system support them."""

from __future__ import annotations

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock(handle: int, *, wait: bool = False, shared: bool = False) -> bool | None:
    """Lock an open file until it is closed, however the process ends.

    wait: until no other process holds it. shared: a shared lock.

    Returns: whether it is locked now; None where there are no locks, as on some network mounts.
    """
    if fcntl is None:
        return None
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
