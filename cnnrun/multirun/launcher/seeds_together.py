"""Seeds of one experiment trained together: one process instead of one per seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cnnrun.multirun.launcher.existing_runs import RunsFound
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.queue import Outcome, Queue
from cnnrun.runs.directory import RunDirectory


class SeedsTogether:
    """A queue that puts one job for all seeds before the jobs of a group that has not started.

    When it has ended, the group's own jobs find their runs finished; they train the rest one by
    one.
    """

    def __init__(self, queue: Queue, runs: RunsFound, notify: Callable[[str], None]) -> None:
        self.queue, self.runs, self.notify = queue, runs, notify
        self.ready: list[Job] = []
        # By group, the jobs that wait for the joint one.
        self.held: dict[str, list[Job]] = {}
        self.opened: set[str] = set()

    def next(self, is_busy: Callable[[Job], bool]) -> Job | None:
        job = self._take(is_busy)
        if job is None or not job.group or job.group in self.opened or self.runs.of(job):
            return job
        self.opened.add(job.group)
        group = [job]
        while (other := self.queue.next(lambda j: j in group or is_busy(j))) is not None:
            if other.group != job.group:
                self.ready.append(other)
                break
            group.append(other)
        self.ready += [job for job in group if self.runs.of(job)]
        group = [job for job in group if not self.runs.of(job)]
        if len(group) < 2:
            return job
        self.held[job.group] = group
        return together(group)

    def _take(self, is_busy: Callable[[Job], bool]) -> Job | None:
        for job in self.ready:
            if not is_busy(job):
                self.ready.remove(job)
                return job
        return self.queue.next(is_busy)

    def has_more(self) -> bool:
        return bool(self.ready or self.held) or self.queue.has_more()

    def ended(self, outcome: Outcome) -> None:
        if not outcome.job.seeds:
            self.queue.ended(outcome)
            return
        group = self.held.pop(outcome.job.group)
        if outcome.stopped:
            for job in group:
                self.queue.ended(Outcome(job, None, stopped=True))
            return
        if outcome.run:
            seeds = ", ".join(str(job.seed) for job in group)
            self.notify(f"seeds {seeds} together: finished, {outcome.run.path.parent}")
        else:
            self.notify(f"seeds one by one, as together they failed: {outcome.message}")
        self.ready += group

    def wants_stop(self, job: Job, run_of: Callable[[Job], RunDirectory | None]) -> bool:
        return not job.seeds and self.queue.wants_stop(job, run_of)

    def beat(self) -> None:
        self.queue.beat()

    def give_back(self) -> None:
        """Jobs from the queue that will not be trained: this process is about to exit."""
        for job in self.ready:
            self.queue.ended(Outcome(job, None, stopped=True))
        self.ready.clear()


def together(group: Sequence[Job]) -> Job:
    """The job that trains all of `group`, which only differ in their seeds."""
    return replace(group[0], key=f"{group[0].key}-all", seeds=tuple(job.seed for job in group))
