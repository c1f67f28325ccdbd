"""Runs side by side, each a plain `cnnrun train` in its own process."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cnnrun.multirun.launcher.engine import Engine, Place, Training
from cnnrun.multirun.launcher.existing_runs import RunsFound
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.queue import Outcome, Queue
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.lock import is_training
from cnnrun.runtime.container import cores
from cnnrun.runtime.interrupt import stop_on_signals

PROGRAM = [sys.executable, "-m", "cnnrun"]
POLL_SECONDS = 0.1
# Time limit for a run to save its state when asked to stop.
STOP_SECONDS = 60.0


@dataclass
class Process:
    """A run in one of the slots."""

    job: Job
    slot: int
    popen: Training
    log: Path
    stopped: bool = False

    def stop(self) -> None:
        """Ask it, once, to save its state and exit."""
        if not self.stopped:
            self.stopped = True
            self.popen.terminate()


@dataclass
class Workers:
    """`count` slots in which jobs run; `runs` are the existing ones.

    gpus: the names in CUDA_VISIBLE_DEVICES to assign to slots in turn. engine: trains the runs, if
    not local processes.
    """

    count: int
    runs: RunsFound
    logs: Path
    gpus: list[str] = field(default_factory=list)
    engine: Engine | None = None
    running: list[Process] = field(default_factory=list)

    def work(self, queue: Queue) -> int | None:
        """Run the jobs of `queue` until there are no more.

        Returns: the exit code of the signal that stopped it (130, 143), if one did.
        """
        with stop_on_signals() as stop:
            try:
                while not stop and (queue.has_more() or self.running):
                    self._fill(queue)
                    self._collect(queue)
                    queue.beat()
                    time.sleep(POLL_SECONDS)
            finally:
                self._stop_all(queue)
        return stop.exit_code if stop else None

    def _fill(self, queue: Queue) -> None:
        while len(self.running) < self.count and (job := queue.next(self._is_busy)):
            finished = self.runs.finished(job)
            if finished:
                queue.ended(Outcome(job, finished, trained=False))
            else:
                self.running.append(self._start(job))
        if self.engine:
            self.engine.submit()

    def _is_busy(self, job: Job) -> bool:
        """Whether the same run is in training, here or left over from a killed sweep."""
        if any(process.job.key == job.key for process in self.running):
            return True
        run = self.runs.newest(job)
        return run is not None and not run.read_summary() and is_training(run.path)

    def _start(self, job: Job) -> Process:
        slot = min(set(range(self.count)) - {process.slot for process in self.running})
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{job.key}.log"
        earlier = self.runs.newest(job)
        arguments = job.arguments(earlier.path if earlier else None)
        if self.engine:
            return Process(job, slot, self.engine.start(job, arguments, log), log)
        with log.open("w", encoding="utf-8") as stream:
            popen = subprocess.Popen(
                [*PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env=self._environment(slot),
                # Ctrl-C goes to this process only, which then asks each run, once, to save its
                # state.
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        return Process(job, slot, popen, log)

    def _environment(self, slot: int) -> dict[str, str]:
        """A fair part of the machine: cores, and a GPU for each if there are several."""
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // self.count)))
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return environment

    def _collect(self, queue: Queue) -> None:
        for process in list(self.running):
            if process.popen.poll() is not None:
                self.running.remove(process)
                queue.ended(outcome_of(process))
            elif not process.stopped and queue.wants_stop(process.job, self._metrics_of):
                process.stop()

    def _metrics_of(self, job: Job) -> RunDirectory | None:
        return self.runs.newest(job)

    def _stop_all(self, queue: Queue) -> None:
        """Let every run save its state and exit; one that does not is killed."""
        for process in self.running:
            process.stop()
        deadline = time.monotonic() + STOP_SECONDS
        try:
            for process in self.running:
                process.popen.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in self.running:
                process.popen.kill()
        for process in self.running:
            process.popen.wait()
            queue.ended(outcome_of(process))
        self.running.clear()


def takes_any_gpu(device: str) -> bool:
    """Whether a run takes the first visible GPU, so that each can be given another."""
    return device in ("auto", "cuda")


def workers_of(
    place: Place, runs: RunsFound, folder: Path, workers: int | None, devices: Collection[str]
) -> Workers:
    """The workers of a sweep or study in `folder`, on the engine that `place` names.

    workers: their number, if given. devices: those of the experiments.

    Raises:
        ConfigError: runs would not find their device there.
        UserError: the package that it needs is not installed, or its cluster can't be reached.
    """
    for device in devices:
        place.check_device(device)
    any_gpu = any(map(takes_any_gpu, devices))
    engine = _engine_of(place, folder, workers, any_gpu)
    if engine:
        return Workers(engine.slots, runs, folder / "logs", engine=engine)
    gpus = visible_gpus() if any_gpu else []
    return Workers(workers or max(1, len(gpus)), runs, folder / "logs", gpus)


def _engine_of(place: Place, folder: Path, workers: int | None, any_gpu: bool) -> Engine | None:
    """The engine of a sweep or study in `folder`; None for local processes."""
    if place.kind == "ray":
        from cnnrun.multirun.launcher.on_ray import RayEngine

        return RayEngine(place, folder, workers, any_gpu)
    if place.kind == "slurm":
        from cnnrun.multirun.launcher.on_slurm import SlurmEngine

        return SlurmEngine(place, folder, workers)
    return None


def outcome_of(process: Process) -> Outcome:
    """How an ended process's run ended."""
    code = process.popen.poll()
    assert code is not None, "it has ended"
    stdout: IO[str] | None = process.popen.stdout
    printed = (stdout.read() if stdout else "").strip()
    if code == 0 and printed:
        return Outcome(process.job, RunDirectory(Path(printed.splitlines()[-1])))
    if code == 0:  # for example, a plug-in that redirected stdout
        said_nothing = f"ended without naming its run directory; see {process.log}"
        return Outcome(process.job, None, message=said_nothing)
    if process.stopped and code in (143, -signal.SIGTERM, -signal.SIGKILL):
        return Outcome(process.job, None, stopped=True)
    return Outcome(process.job, None, message=_message(code, process.log))


def _message(code: int, log: Path) -> str:
    """What a failed run said, from `error:` on; else its last line."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}; see {log}"
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    _, found, message = text.rpartition("error: ")
    lines = (message if found else text).splitlines() or [f"exit code {code}; see {log}"]
    return lines[0] if found else lines[-1]


def visible_gpus() -> list[str]:
    """The GPUs to assign, as CUDA_VISIBLE_DEVICES names them; none if there is only one."""
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return []
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    return names.split(",")[:count] if names else [str(i) for i in range(count)]


def _die_with_parent() -> None:
    """In the child: get SIGTERM, and so save, when the sweep is killed (Linux)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
