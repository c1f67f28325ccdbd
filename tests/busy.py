"""The tests while other processes compute all the time: `python -m tests.busy [LOOPS]`.

What passes alone and fails here waits for a time instead of an event, or has a limit in seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOOPS = 8
# Whoever started it may be killed, so a loop looks for itself whether it still has a parent.
_LOOP = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(100_000))"


@contextmanager
def busy_loops(count: int = LOOPS) -> Iterator[list[subprocess.Popen[bytes]]]:
    """While it lasts, `count` processes compute; they are ended with it, however it ends."""
    loops: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            loops.append(subprocess.Popen([sys.executable, "-c", _LOOP, str(os.getpid())]))
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    with busy_loops(int(sys.argv[1]) if sys.argv[1:] else LOOPS):
        ended = subprocess.run([sys.executable, "-m", "pytest", "-q"], check=False)
    sys.exit(ended.returncode)
