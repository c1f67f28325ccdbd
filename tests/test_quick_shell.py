"""The quick `cnnrun` and `python` of the tests end as the installed ones do."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

import cnnrun
from tests.conftest import Command, Start


def test_codes_streams_and_arguments(shell: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import sys; print(sys.argv[1:], __name__); sys.exit('bad')")
    ended = shell(
        "cnnrun --version; cnnrun train nox.yaml; echo $?; python mine.py a 'b c'; echo $?; "
        "python -m cnnrun --version; echo 1 | python -c 'print(input())'"
    )
    version, *rest = ended.out.splitlines()
    assert version == cnnrun.__version__
    assert rest == ["2", "['a', 'b c'] __main__", "1", version, "1"]
    assert "nox.yaml" in ended.err
    assert ended.err.endswith("bad\n")


WAITING = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whoever_ends_the_script_ends_the_fork(
    shell: Command, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "waiting.py").write_text(WAITING)
    ended = shell(
        "python waiting.py > pid 2> said & until [ -s pid ]; do sleep 0.02; done; "
        f"kill -{number} $!; wait $!; echo $?; while kill -0 $(cat pid); do sleep 0.02; done"
    )
    assert int(ended.out) in (128 + number, 130)


def test_a_fork_is_ended_with_its_watcher(forked: Start, tmp_path: Path) -> None:
    process = forked(tmp_path, "schema", "-o", "s.json")
    process.send_signal(signal.SIGSTOP)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert forked(tmp_path, "--version").wait() == 0
    fork = forked(tmp_path, "schema", "-o", "s.json")
    fork._server.close()
    while Path(f"/proc/{fork.pid}").exists():
        time.sleep(0.01)
    assert not (tmp_path / "s.json").exists()
