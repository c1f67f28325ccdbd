"""What a page's commands print, typed into one bash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import HANGS


def type_in(commands: list[str], folder: Path, path: Path) -> list[tuple[int, str]]:
    """Type `commands` into one bash in `folder`; the exit code and the output of each."""
    mark = "\x1e"
    script = "".join(f"{command}\nprintf '{mark}%s\\n' $?\n" for command in commands)
    search = os.pathsep.join([str(path), str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": search, "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANGS,
    )
    first, *rest = ended.stdout.split(mark)
    outputs = [first, *(part.partition("\n")[2] for part in rest)]
    codes = [int(part.partition("\n")[0]) for part in rest]
    return list(zip(codes, outputs, strict=False))
