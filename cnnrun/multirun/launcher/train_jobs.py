"""Train a list of jobs; returns how each ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnrun.errors import Interrupted
from cnnrun.multirun.launcher.engine import HERE, Place
from cnnrun.multirun.launcher.existing_runs import RunsFound
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.queue import JobList, Outcome
from cnnrun.multirun.launcher.seeds_together import SeedsTogether
from cnnrun.multirun.launcher.workers import workers_of
from cnnrun.runtime import console


@dataclass(frozen=True)
class LaunchOptions:
    """How many runs are trained at a time, and where; does not affect results."""

    workers: int | None = None
    plugins: tuple[str, ...] = ()
    quiet: bool = False
    place: Place = HERE


AS_USUAL = LaunchOptions()


def train_jobs(
    jobs: Sequence[Job],
    folder: Path,
    options: LaunchOptions,
    name: Callable[[Job], str],
    again: str,
    all_needed: bool = False,
) -> list[Outcome]:
    """How each job ended, in order; finished runs are not run again.

    folder: where their runs are; `logs` is next to it. name: what a job is called. again: the
    command that resumes them. all_needed: the first that fails ends all; those that did not start
    have no outcome.

    Raises:
        Interrupted: a signal asked to stop; the current runs are saved.
    """

    def say(text: str) -> None:
        if not options.quiet:
            console.warn(text)

    def notify(outcome: Outcome) -> None:
        done = len(queue.outcomes)
        state = "finished" if outcome.run else "stopped" if outcome.stopped else "failed"
        if all_needed and state == "failed":
            queue.waiting.clear()
        if outcome.trained:
            say(f"[{done}/{len(jobs)}] {name(outcome.job)}: {state}")

    if not jobs:
        return []
    queue = JobList(jobs, notify)
    devices = {job.experiment.device for job in jobs if job.experiment}
    runs = RunsFound(folder, say)
    workers = workers_of(options.place, runs, folder.parent, options.workers, devices)
    code = workers.work(SeedsTogether(queue, runs, say))
    if code:
        finished = sum(outcome.run is not None for outcome in queue.outcomes)
        raise Interrupted(
            f"stopped; {finished} of {len(jobs)} runs are finished, those under way are saved; "
            f"continue: {again}",
            code,
        )
    ended = {(o.job.trial, o.job.seed): o for o in queue.outcomes}
    return [ended[at] for job in jobs if (at := (job.trial, job.seed)) in ended]
