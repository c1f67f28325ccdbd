"""What is printed reaches whom it is for, and a stream that fails stops no work."""

from __future__ import annotations

import ast
import errno
import io
import os
import sys

import pytest

from cnnrun.runtime import console
from tests.conftest import REPOSITORY, Command


class Broken(io.StringIO):
    """A stream whose every write fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


FAILURES = [
    BrokenPipeError(errno.EPIPE, "the reader has gone"),
    OSError(errno.ENOSPC, "the disk is full"),
    OSError(errno.EIO, "the terminal has gone"),
    ValueError("I/O operation on closed file"),
    RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>"),
]


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_progress_that_can_not_be_shown_is_no_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(error))
    console.warn("x")
    console.note("x")


def test_no_stderr_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    console.warn("x")
    assert not console.stderr.isatty()
    assert console.width() > 0


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_a_run_is_whole_where_stderr_fails(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch, tiny: object, error: Exception
) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(error))
    ended = cnnrun("train", tiny, "training={epochs: 1, draw: false}")
    assert ended.code == 0
    assert ended.out.startswith("run ")
    assert cnnrun("train", "absent.yaml").code == 2


def test_a_result_that_can_not_be_written_is_an_error(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, code in [(FAILURES[0], 0), (FAILURES[1], 1)]:
        monkeypatch.setattr(sys, "stdout", Broken(error))
        assert cnnrun("list", "models").code == code


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("text", ["猫", "кот", "x\udcff"])
def test_any_name_can_be_printed_in_any_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str, text: str
) -> None:
    for name, write in [("stdout", console.out), ("stderr", console.warn)]:
        held = io.BytesIO()
        stream = io.TextIOWrapper(held, encoding)
        monkeypatch.setattr(sys, name, stream)
        write(f"a {text} b")
        stream.flush()
        assert held.getvalue().decode(encoding).rstrip("\r\n") in (
            f"a {text} b",
            f"a {text.encode('ascii', 'backslashreplace').decode()} b",
        )


def test_only_results_reach_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with console.only_results_on_stdout():
        print("Downloading: weights.pth")
        console.out("runs/a")
        with console.only_results_on_stdout():
            console.out("runs/b")
    print("after")
    assert capsys.readouterr() == ("runs/a\nruns/b\nafter\n", "Downloading: weights.pth\n")


def test_a_plug_in_that_prints_does_not_spoil_the_result(
    cnnrun: Command, tiny: object, tmp_path: object
) -> None:
    plug_in = f"{tmp_path}/mine.py"
    with open(plug_in, "w") as stream:  # noqa: PTH123
        stream.write("print('hello')\n")
    quick = "training={epochs: 1, draw: false}"
    ended = cnnrun("train", tiny, quick, "-q", "--plugin", plug_in)
    assert ended.out.startswith("runs/")
    assert ended.out.count("\n") == 1
    assert "hello" in ended.err


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with console.quiet_if(True):
        console.note("a")
        console.warn("b")
        with console.quiet_if(False):
            console.note("c")
    console.note("d")
    assert capsys.readouterr().err == "b\nd\n"


def test_streams_that_were_closed_are_opened_again() -> None:
    """In a fork: a file that gets the number 2 would be written into by any library's complaint."""
    child = os.fork()
    if not child:
        for number in (0, 1, 2):
            os.close(number)
        sys.stdout = sys.stderr = None  # type: ignore[assignment]
        console.open_closed_streams()
        fine = os.open(os.devnull, os.O_RDONLY) > 2
        os._exit(0 if fine and sys.stdout is not None and sys.stderr is not None else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_everything_is_printed_by_the_console() -> None:
    files = sorted((REPOSITORY / "cnnrun").rglob("*.py"))
    calls = {
        f"{file.relative_to(REPOSITORY)}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    assert len(files) > 100
    assert calls == set(), "use cnnrun.runtime.console: out for results, note and warn for the rest"


@pytest.mark.parametrize("columns", ["60", "120"])
def test_the_width_is_what_columns_says(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert console.width() == int(columns)


@pytest.mark.slow
def test_streams_of_a_shell(shell: Command, tiny: object) -> None:
    """Closed, full and left by its reader; the exit code is that of the training."""
    quick = f"cnnrun train {tiny} training.epochs=1 training.draw=false"
    ended = shell(
        f"{quick} 2>&- >first; echo $? >>codes; {quick} 2>/dev/full >second; echo $? >>codes; "
        f"({quick} output=third; echo $? >>codes) 2>&1 | head -1; {quick} >&-; echo $? >>codes; "
        f"{quick} >/dev/full; echo $? >>codes; cat codes"
    )
    assert ended.out.split()[-5:] == ["0", "0", "0", "0", "1"], ended.err
    assert "No space left on device" in ended.err
    assert "Traceback" not in ended.err
    assert shell("ls -d runs/tiny/*/summary.json third/*/*/summary.json | wc -l").out.strip() == "5"
