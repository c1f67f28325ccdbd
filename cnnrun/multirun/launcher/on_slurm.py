"""Runs as Slurm jobs, by submitit: an array of those that start together.

Before its time limit, or when it is preempted, a job gets a signal: the run saves its state, the
job is requeued, and resumes.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from cnnrun.errors import ConfigError, UserError
from cnnrun.multirun.launcher.elsewhere import Elsewhere, new_mark, package_of
from cnnrun.multirun.launcher.engine import Place, Training
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.remote import STOP_SECONDS, Ended, Remote

_MINUTES = 60
_SLOTS = 32
# How often a run may reach its time limit before it counts as failed; it can be started again.
_TIMES = 1_000
# Polling Slurm is expensive; a job that succeeds leaves a file.
_ASK_SECONDS = 30.0


class SlurmEngine:
    """submitit's executor; its files and Slurm's logs are in `logs/slurm` of the sweep or study."""

    def __init__(self, place: Place, folder: Path, workers: int | None) -> None:
        with package_of("submitit", "--on slurm"):
            import submitit
        options = _options(place.slurm)
        self.slots = workers or _SLOTS
        self._mark = new_mark(folder)
        self._cpus = place.cpus or 1.0
        self._waiting: list[tuple[Job, Remote, _Submitted]] = []
        try:
            executor = submitit.AutoExecutor(
                (folder / "logs" / "slurm").resolve(), "slurm", slurm_max_num_timeout=_TIMES
            )
        except RuntimeError as error:
            raise UserError("--on slurm: this machine has no `srun` and `sbatch`") from error
        try:
            executor.update_parameters(
                name="cnnrun",
                timeout_min=place.minutes or _MINUTES,
                cpus_per_task=max(1, round(self._cpus)),
                slurm_array_parallelism=self.slots,
                # Enough time to save, also for a short job.
                slurm_signal_delay_s=int(STOP_SECONDS) + 30,
                **({"gpus_per_node": int(place.gpus)} if place.gpus else {}),
                **({"mem_gb": place.memory} if place.memory else {}),
                **({"slurm_additional_parameters": options} if options else {}),
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(f"--on slurm: {error}") from error
        self._executor = executor

    def start(self, job: Job, arguments: list[str], log: Path) -> Training:
        remote = Remote.of(job, arguments, self._mark, self._cpus)
        submitted = _Submitted()
        self._waiting.append((job, remote, submitted))
        return Elsewhere(submitted.ended, submitted.cancel, log, job.output)

    def submit(self) -> None:
        """Submit the new jobs as one array."""
        if not self._waiting:
            return
        jobs = self._executor.submit_array([Trainer(remote) for _, remote, _ in self._waiting])
        for (_, _, submitted), job in zip(self._waiting, jobs, strict=True):
            submitted.job = job
        self._waiting.clear()


def _options(pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--slurm {pair}: write OPTION=VALUE, as in --slurm partition=gpu")
    return {pair.partition("=")[0]: pair.partition("=")[2] for pair in pairs}


class _Submitted:
    """A job of submitit, once it is one."""

    def __init__(self) -> None:
        self.job: Any = None
        self._cancelled = False
        self._next_question = time.monotonic() + _ASK_SECONDS

    def cancel(self) -> None:
        self._cancelled = True
        if self.job is not None:
            self.job.cancel()

    def ended(self) -> Ended | None:
        """How it ended, None while it runs."""
        if self.job is None:
            return Ended(-signal.SIGTERM, "", "not started") if self._cancelled else None
        if not self.job.paths.result_pickle.exists():
            if time.monotonic() < self._next_question:
                return None
            self._next_question = time.monotonic() + _ASK_SECONDS
            if not self.job.done(force_check=True):
                return None
        try:
            ended: Ended = self.job.result()
        except Exception as error:  # whatever submitit raises for a lost job
            if self._cancelled:
                return Ended(-signal.SIGTERM, "", "stopped")
            said = (str(error).strip() or repr(error)).splitlines()
            return Ended(1, "", "\n".join([*said, f"error: Slurm gave it up: {said[0]}"]))
        return ended


class Trainer:
    """The callable of a Slurm job; submitit calls `checkpoint` when it is to be requeued."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    def __call__(self) -> Ended:
        ended = self.remote.train()
        if ended.code in (143, -signal.SIGTERM):
            # Slurm ended the job: whether it was cancelled or requeued is Slurm's decision.
            raise SystemExit(ended.code)
        return ended

    def checkpoint(self) -> Any:
        import submitit

        self.remote.stop()
        return submitit.helpers.DelayedSubmission(Trainer(self.remote.again()))
