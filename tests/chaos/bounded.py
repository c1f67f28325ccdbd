"""Cases in forks with bounds on time and memory; what became of each.

A fork works through many cases, so that their cost is not that of forking; one that ends a fork
is known by its number, and the next fork goes on after it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.chaos.kinds import Case
from tests.chaos.originals import run_command
from tests.conftest import HANGS
from tests.forking import fork_runs

CPU_SECONDS, MEMORY, WALL_SECONDS = 10, 2 * 2**30, HANGS
_CASES_OF_A_FORK = 100
_LONGEST_MESSAGE = 20_000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Make = Callable[[int, Path, Path], tuple[str, Case]]


@dataclass
class Outcome:
    """verdict: `worked`, `refused`, or what is wrong. told: what was said on stderr, shortened."""

    number: int
    kind: str
    verdict: str
    files: int = 1
    arguments: str = ""
    told: str = ""
    seconds: float = 0.0
    bytes: int = 0

    @property
    def wrong(self) -> bool:
        return self.verdict not in ("worked", "refused", "ended before")


def outcomes(make: Make, numbers: range, originals: Path, work: Path) -> Iterator[Outcome]:
    """Of the cases in turn; the folders of those that went wrong stay below `work`."""
    work.mkdir(parents=True, exist_ok=True)
    at = numbers.start
    while at < numbers.stop:
        end = min(at + _CASES_OF_A_FORK, numbers.stop)
        log = work / "outcomes.jsonl"
        log.write_text("")
        code = in_fork(lambda at=at, end=end, log=log: _each(make, range(at, end), originals, log))
        for line in log.read_text().splitlines():
            at += 1
            yield Outcome(**json.loads(line))
        if code and at < end:
            kind = (work / "kind").read_text() if (work / "kind").exists() else "?"
            yield Outcome(at, kind, _ended_by(code), told=_said(work)[1][-1500:])
            at += 1


def _ended_by(code: int) -> str:
    names = {-signal.SIGXCPU: "over limits (CPU)", -signal.SIGALRM: "over limits (hangs)"}
    return names.get(code, f"crash ({code})")


def in_fork(work: Callable[[], None]) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _each(make: Make, numbers: range, originals: Path, log: Path) -> None:
    """In the fork: one case after another."""
    work = log.parent
    os.environ["XDG_CACHE_HOME"] = str(work / "home")
    for name in ("http_proxy", "https_proxy"):  # nothing is downloaded
        os.environ[name] = "http://127.0.0.1:9"
    fork_runs(pytest.MonkeyPatch())  # trials of sweeps are forks too, and end within seconds
    for name in ("out", "err"):
        handle = os.open(work / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(handle, 1 if name == "out" else 2)
        os.close(handle)
    # A fork of the fork replaces them; what is let go must not close the handles.
    sys.stdout, sys.stderr = (os.fdopen(handle, "w", closefd=False) for handle in (1, 2))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_space = pages * resource.getpagesize() + MEMORY
    for signal_number in (signal.SIGALRM, signal.SIGXCPU):
        signal.signal(signal_number, signal.SIG_DFL)
    with log.open("a", buffering=1) as target:
        for number in numbers:
            outcome = _one(make, number, originals, work, address_space)
            target.write(json.dumps(asdict(outcome)) + "\n")


def _one(make: Make, number: int, originals: Path, work: Path, address_space: int) -> Outcome:
    folder = work / f"case-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    os.chdir(work)
    (work / "kind").write_text("making the case")
    kind, case = make(number, originals, folder)
    (work / "kind").write_text(kind)
    for name in ("out", "err"):
        os.truncate(work / name, 0)
    before = _state(folder)
    os.chdir(folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts anew
    held, used = _memory("VmRSS"), time.process_time()
    _limit(resource.RLIMIT_AS, address_space)
    _limit(resource.RLIMIT_CPU, int(used) + CPU_SECONDS + 1)
    signal.alarm(WALL_SECONDS)
    code = run_command(*case.arguments)
    signal.alarm(0)
    _limit(resource.RLIMIT_CPU, resource.RLIM_INFINITY)
    _limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
    seconds, taken = time.process_time() - used, _memory("VmHWM") - held
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    out, err = _said(work)
    verdict = _verdict(case, code, out, err)
    changed = [
        name
        for name, content in _state(folder).items()
        if before.pop(name, None) != content and not _is_owned(name, case)
    ]
    missing = [name for name in before if not _is_owned(name, case)]
    if changed or missing:
        verdict = f"changed files ({', '.join([*changed, *missing])[:100]})"
    if seconds > CPU_SECONDS or taken > MEMORY:
        verdict = f"over limits ({seconds:.1f} s, {taken / 2**20:.0f} MB)"
    outcome = Outcome(
        number, kind, verdict, case.files, " ".join(case.arguments), err[-1500:], seconds, taken
    )
    os.chdir(work)
    if not outcome.wrong:
        shutil.rmtree(folder)
    return outcome


def _limit(which: int, soft: int) -> None:
    resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))


def _memory(name: str) -> int:
    """A figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _said(work: Path) -> tuple[str, str]:
    out, err = ((work / name).read_bytes().decode("utf-8", "replace") for name in ("out", "err"))
    return out, err


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below, by its path; folders count as well."""
    return {
        str(path.relative_to(folder)): (1, path.read_bytes()) if path.is_file() else (0, b"")
        for path in folder.rglob("*")
    }


def _verdict(case: Case, code: int, out: str, err: str) -> str:
    """What the command said of itself."""
    for sign, verdict in (
        ("Traceback (most recent", "traceback"),
        ("a bug or a broken machine", "a bug"),
        ("Exception ignored", "traceback"),
        ("terminate called", "crash"),
    ):
        if sign in err or sign in out:
            return verdict
    if _CONTROL.search(out + err):
        return "control characters"
    if len(err) > _LONGEST_MESSAGE:
        return f"message of {len(err):,} letters"
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if code and "error: " not in err and not err.strip():
        return "silent"
    if code and case.must_work:
        return "not made anew"
    return "refused" if code else "worked"


def _is_owned(name: str, case: Case) -> bool:
    return any(name == own or name.startswith(f"{own}/") for own in case.owned)
