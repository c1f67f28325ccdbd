"""A PostgreSQL server of a test's own: a new cluster in a temporary folder, on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import HANGS


def _programs() -> Path:
    """Where initdb and pg_ctl are: Debian keeps them out of PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders = [f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()]
    assert folders, "PostgreSQL is not installed: apt-get install -y postgresql"
    return folders[0].resolve()


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a database on a server that runs within the block."""
    programs = _programs()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="cnnrun-postgres-"))
    # The server refuses to run as root.
    account = {"user": "postgres"} if os.geteuid() == 0 else {}
    if account:
        shutil.chown(folder, "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            timeout=HANGS,
            **account,  # type: ignore[call-overload]
        )

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", "sweeper", "-A", "trust", "--no-sync")
        options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://sweeper@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
