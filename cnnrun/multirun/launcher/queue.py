"""The source of jobs for `Workers`: a list, or the trials of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from cnnrun.multirun.launcher.job import Job
from cnnrun.runs.directory import RunDirectory


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a finished run, stopped, or failed with a message.

    trained: whether it was trained now, not found finished.
    """

    job: Job
    run: RunDirectory | None
    message: str = ""
    stopped: bool = False
    trained: bool = True


class Queue(Protocol):
    """What `Workers` get jobs from and report to; all in one thread."""

    def next(self, is_busy: Callable[[Job], bool]) -> Job | None:
        """A job to start now, or None; never one that `is_busy`."""
        ...

    def has_more(self) -> bool:
        """Whether more jobs may come."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """A job that `next` gave ended."""
        ...

    def wants_stop(self, job: Job, run_of: Callable[[Job], RunDirectory | None]) -> bool:
        """Whether to stop a running job, as not worth continuing."""
        ...

    def beat(self) -> None:
        """Called several times a second."""
        ...


class JobList:
    """A queue of jobs known from the start; keeps their outcomes."""

    def __init__(self, jobs: Iterable[Job], notify: Callable[[Outcome], None] = lambda _: None):
        self.waiting = list(jobs)
        self.outcomes: list[Outcome] = []
        self.notify = notify

    def next(self, is_busy: Callable[[Job], bool]) -> Job | None:
        job = next((job for job in self.waiting if not is_busy(job)), None)
        if job:
            self.waiting.remove(job)
        return job

    def has_more(self) -> bool:
        return bool(self.waiting)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.notify(outcome)

    def wants_stop(self, job: Job, run_of: Callable[[Job], RunDirectory | None]) -> bool:  # noqa: ARG002
        return False

    def beat(self) -> None:
        pass
