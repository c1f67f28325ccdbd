"""One run on a machine of a cluster: what is sent there, and what comes back.

It imports neither torch nor Ray nor submitit: this is what their processes load.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cnnrun.multirun.launcher.job import Job
from cnnrun.runs.lock import TAKEN

# Time limit (s) for a run to save its state, and for its process on a lost machine to end.
STOP_SECONDS = 60.0
_GONE_SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    """How `cnnrun train` ended: its exit code, stdout, stderr.

    archive: a tar of the run directories, from a machine that shares no disk; else empty.
    """

    code: int
    printed: str
    said: str
    archive: bytes = b""


@dataclass
class Remote:
    """`cnnrun` with `arguments`, in the folder `here` where the disk is shared.

    mark, token: a file that has this content where the disk is shared. contents: of the config and
    plug-ins among the arguments, for machines that lack them. output: where runs go. threads: of
    torch, so that results are those of the machine that asks. without_gpu: it must see none.
    """

    arguments: list[str]
    here: str
    mark: str
    token: str
    output: str
    contents: dict[str, bytes]
    threads: str
    without_gpu: bool = False
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @staticmethod
    def of(job: Job, arguments: list[str], mark: Path, cpus: float) -> Remote:
        """A job that starts, or resumes what an earlier try left."""
        alone = "--resume" not in arguments and not job.seeds
        files = [job.config, *map(Path, job.plugins)]
        return Remote(
            [*arguments, *(["--resume-or-start"] if alone else [])],
            os.getcwd(),  # noqa: PTH109  (as it was entered, links and all)
            str(mark.resolve()),
            mark.read_text(),
            str(job.output),
            {str(file): file.read_bytes() for file in files},
            os.environ.get("OMP_NUM_THREADS") or str(max(1, int(cpus))),
        )

    def train(self) -> Ended:
        """Train, and wait for it; an earlier try may still be shutting down."""
        deadline = time.monotonic() + _GONE_SECONDS
        if self._shares_the_disk():
            while True:
                ended = self._run(self.arguments, self.here)
                if ended.code == 0 or TAKEN not in ended.said or time.monotonic() > deadline:
                    return ended
                time.sleep(1)
        with tempfile.TemporaryDirectory(prefix="cnnrun-") as folder:
            ended = self._run(self._moved(folder), folder)
            return Ended(ended.code, ended.printed, ended.said, _archive(Path(folder, "out")))

    def _shares_the_disk(self) -> bool:
        try:
            return Path(self.mark).read_text() == self.token
        except OSError:
            return False

    def stop(self) -> None:
        """Let it save its state and exit; returns when it has."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def again(self) -> Remote:
        """The same, to be sent again: resumes what this one has saved."""
        return replace(self, _process=None)

    def _run(self, arguments: list[str], folder: str) -> Ended:
        environment = {**os.environ, "OMP_NUM_THREADS": self.threads}
        if self.without_gpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        process = subprocess.Popen(
            [sys.executable, "-m", "cnnrun", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A lost machine must not continue what another one resumes.
            preexec_fn=_in_child if sys.platform == "linux" else None,
        )
        self._process = process
        try:
            printed, said = process.communicate()
        except BaseException:
            self.stop()
            raise
        return Ended(process.returncode, printed, said)

    def _moved(self, folder: str) -> list[str]:
        """The arguments, with all that they name in `folder`."""
        moved = {f"output={self.output}": "output=out"}
        for number, (file, content) in enumerate(self.contents.items()):
            place = Path(folder, f"{number}-{Path(file).name}")
            place.write_bytes(content)
            moved |= {file: str(place), f"--plugin={file}": f"--plugin={place}"}
        return [moved.get(argument, argument) for argument in self.arguments]


def _archive(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for child in sorted(folder.iterdir()) if folder.is_dir() else []:
            archive.add(child, child.name)
    return buffer.getvalue()


def brought_back(ended: Ended, output: Path) -> Ended:
    """`ended` with its run directories unpacked in `output`, and the paths adjusted."""
    if not ended.archive:
        return ended
    output.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(ended.archive)) as archive:
        archive.extractall(output, filter="data")
    lines = [str(output / Path(line).relative_to("out")) for line in _runs(ended.printed)]
    return Ended(ended.code, "\n".join(lines), ended.said)


def _runs(printed: str) -> Iterator[str]:
    for line in printed.splitlines():
        with contextlib.suppress(ValueError):
            Path(line).relative_to("out")
            yield line


def _in_child() -> None:
    """Be killed with the parent process (Linux); leave a cluster's signals to the parent."""
    for name in ("SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
