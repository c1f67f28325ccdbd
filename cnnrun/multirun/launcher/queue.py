"""Where `Workers` get their jobs from: a list of them, or the trials of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from cnnrun.multirun.launcher.job import Job
from cnnrun.runs.directory import RunDirectory


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a finished run, stopped, or failed with a message.

    trained: whether it was trained now, rather than found finished.
    """

    job: Job
    run: RunDirectory | None
    message: str = ""
    stopped: bool = False
    trained: bool = True


class Queue(Protocol):
    """What `Workers` ask for jobs and tell about them; all in one thread."""

    def next(self, is_busy: Callable[[Job], bool]) -> Job | None:
        """A job to start now, None if there is none at the moment; not one that `is_busy`."""
        ...

    def has_more(self) -> bool:
        """Whether jobs may come that are not running yet."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """A job that `next` gave ended."""
        ...

    def wants_stop(self, job: Job, run_of: Callable[[Job], RunDirectory | None]) -> bool:
        """Whether a running job is not worth going on with."""
        ...

    def beat(self) -> None:
        """Called several times a second."""
        ...


class JobList:
    """A queue of jobs that are known from the start; keeps how they ended."""

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
