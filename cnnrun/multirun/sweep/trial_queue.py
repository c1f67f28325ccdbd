"""Trials claimed from the storage, as jobs for `Workers`: one run per seed."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cnnrun.errors import ConfigError
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.queue import Outcome
from cnnrun.multirun.sweep.database import HEARTBEAT_SECONDS
from cnnrun.multirun.sweep.liveness import Liveness
from cnnrun.multirun.sweep.plan import Plan
from cnnrun.multirun.sweep.storage import Trials
from cnnrun.multirun.sweep.stored import explain_damage
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.identity import recorded

if TYPE_CHECKING:
    import optuna

# Seconds between two reads of other processes' progress.
LOOK_SECONDS = 2.0
# How often a run's log is read for the pruner.
PRUNE_SECONDS = 0.5


@dataclass
class OpenTrial:
    """A trial that this process works on."""

    trial: optuna.Trial
    slot: int
    waiting: list[Job]
    running: set[Job] = field(default_factory=set)
    scores: dict[int, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    pruned: bool = False
    given_back: bool = False
    # Another process took it over while this machine was asleep.
    lost: bool = False
    epochs_reported: int = 0
    next_report: float = -math.inf


class TrialQueue:
    """The `Queue` of a sweep. Runs that any process has finished are never trained again."""

    def __init__(
        self, plan: Plan, trials: Trials, notify: Callable[[str], None], wait_for_others: bool
    ) -> None:
        self.plan, self.trials, self.notify = plan, trials, notify
        self.wait_for_others = wait_for_others
        self.liveness = Liveness(plan.sweep.folder / "processes")
        self.open: list[OpenTrial] = []
        self.all_claimed = False
        # By a run's key: its score, and the first trial that trains it in another process.
        self.known: dict[str, dict[str, Any]] = {}
        self.elsewhere: dict[str, int] = {}
        self.others_at_work = 0
        self._looked = self._beaten = -math.inf

    # The Queue interface -------------------------------------------------------------------------

    def next(self, is_busy: Callable[[Job], bool]) -> Job | None:
        while True:
            for work in self.open:
                for job in work.waiting:
                    if self.elsewhere.get(job.key, math.inf) < work.trial.number or is_busy(job):
                        continue
                    work.waiting.remove(job)
                    work.running.add(job)
                    return job
            if not self._claim():
                return None

    def has_more(self) -> bool:
        if self.open or not self.all_claimed:
            return True
        return self.wait_for_others and self.others_at_work > 0

    def ended(self, outcome: Outcome) -> None:
        job = outcome.job
        work = next(work for work in self.open if job in work.running)
        work.running.remove(job)
        if outcome.run:
            self._note_score(work, job, outcome.run, outcome.trained)
        elif outcome.stopped:
            work.given_back = not work.pruned
        else:
            work.failures.append(f"seed {job.seed}: {outcome.message}")
            self.notify(f"trial {work.slot} seed {job.seed} failed: {outcome.message}")
        self._close_if_done(work)

    def wants_stop(self, job: Job, run_of: Callable[[Job], RunDirectory | None]) -> bool:
        """The pruner watches the first seed; if that is pruned, so are the others."""
        if not self._prunes:
            return False
        work = next(work for work in self.open if job in work.running)
        now = time.monotonic()
        if not work.pruned and job.seed == self.plan.seeds[0] and now >= work.next_report:
            work.next_report = now + PRUNE_SECONDS
            run = run_of(job)
            if run and self._report(work, run):
                work.pruned = True
                self.notify(f"trial {work.slot} pruned after epoch {work.epochs_reported}")
        return work.pruned

    @property
    def _prunes(self) -> bool:
        search = self.plan.sweep.optuna
        return search is not None and search.pruner != "none"

    def beat(self) -> None:
        now = time.monotonic()
        if now - self._beaten > HEARTBEAT_SECONDS:
            self._beaten = now
            self.trials.heartbeat([work.trial for work in self.open])
        if now - self._looked > LOOK_SECONDS:
            self._look()

    # Trials --------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Read from the storage what has become of all trials."""
        self._looked = time.monotonic()
        # Otherwise, after a sleep, in which this clock stops, its own trials would count as lost.
        self.trials.heartbeat([work.trial for work in self.open])
        self.trials.take_back_lost(self.liveness.is_dead)
        self.liveness.forget_dead()
        self.trials.fill(self.plan.points)
        mine = {work.trial.number for work in self.open}
        states = [(trial, trial.state.name) for trial in self.trials.current_trials().values()]
        self.all_claimed = all(state != "WAITING" for _, state in states)
        others = [t for t, state in states if state == "RUNNING" and t.number not in mine]
        if self.all_claimed and not mine and len(others) > self.others_at_work == 0:
            self.notify(f"waiting for {len(others)} trials that other processes train")
        self.others_at_work = len(others)
        self.elsewhere = {
            key: trial.number
            for trial in sorted(others, key=lambda trial: -trial.number)
            for key in trial.user_attrs.get("keys", ())
        }
        self.known = {
            record["key"]: record
            for trials in self.trials.by_slot().values()
            for trial in trials
            for name, record in trial.user_attrs.items()
            if name.startswith("seed ")
        }
        for work in list(self.open):
            self._take_known(work)

    def _take_known(self, work: OpenTrial) -> None:
        """Mark waiting runs that another process has finished as done."""
        for job in [job for job in work.waiting if job.key in self.known]:
            work.waiting.remove(job)
            self._keep(work, job, self.known[job.key])
        self._close_if_done(work)

    def _claim(self) -> bool:
        """Open another trial, if one waits."""
        if self.all_claimed:
            return False
        trial = self.trials.claim(self.liveness.name)
        if trial is None:
            self.all_claimed = True
            self._looked = -math.inf
            return False
        slot = trial.user_attrs["slot"]
        if search := self.plan.sweep.optuna:
            self.trials.sample_by(search, slot)
        work = OpenTrial(trial, slot, [])
        self.open.append(work)
        with self._if_still_ours(work):
            self._fill(work)
        self._look()
        return True

    def _fill(self, work: OpenTrial) -> None:
        """Choose a new trial's settings, and record what it will train."""
        space = self.plan.sweep.space
        with explain_damage(self.trials.url):
            settings = {key: domain.suggest(work.trial, key) for key, domain in space.items()}
        work.trial.set_user_attr("settings", settings)
        try:
            work.waiting = self.plan.jobs(work.slot, settings)
        except ConfigError as error:
            work.failures.append(str(error))
            self.notify(f"trial {work.slot} failed: {error}")
        work.trial.set_user_attr("keys", [job.key for job in work.waiting])

    @contextmanager
    def _if_still_ours(self, work: OpenTrial) -> Iterator[None]:
        """Within the block a trial is written to, which fails if it was taken over.

        A sleeping machine sends no heartbeats. Its runs stay, and the trial's new owner finds them.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            yield
        except UpdateFinishedTrialError:
            if not work.lost:
                self.notify(f"trial {work.slot} was taken over by another process meanwhile")
            work.lost = True

    def _note_score(self, work: OpenTrial, job: Job, run: RunDirectory, trained: bool) -> None:
        best = run.read_summary().get("best") or {}
        score = best.get(self.plan.score_key)
        if score is None or not math.isfinite(score):
            why = f"{self.plan.score_key} is NaN or undefined"
            if self.plan.score_key not in best:
                why = (
                    f"has no {self.plan.score_key}; a sweep compares on a validation split: "
                    "set dataset.validation"
                )
            work.failures.append(f"seed {job.seed}: {run.path}/summary.json: {why}")
            self.notify(f"trial {work.slot} failed: {work.failures[-1]}")
            return
        record = {"key": job.key, "run": str(run.path), "score": score, "from": recorded(run)}
        self._keep(work, job, record)
        if self._prunes and job.seed == self.plan.seeds[0]:
            self._report(work, run)  # the rest of its curve, to compare others with
        found = "" if trained else " (was there)"
        found_score = f"validation {self.plan.metric.display_name} {self.plan.metric.text(score)}"
        self.notify(f"trial {work.slot} seed {job.seed}: {found_score}  {run.path}{found}")

    def _keep(self, work: OpenTrial, job: Job, record: dict[str, Any]) -> None:
        work.scores[job.seed] = record["score"]
        self.known[job.key] = record
        with self._if_still_ours(work):
            work.trial.set_user_attr(f"seed {job.seed}", record)

    def _report(self, work: OpenTrial, run: RunDirectory) -> bool:
        """Report new epochs to the pruner; returns whether to stop."""
        rows = run.read_metrics()
        for row in rows[work.epochs_reported :]:
            value = row.get(self.plan.score_key)
            work.epochs_reported += 1
            if value is not None:
                with self._if_still_ours(work):
                    work.trial.report(value, row["epoch"])
                    if work.trial.should_prune():
                        return True
        return False

    def _close_if_done(self, work: OpenTrial) -> None:
        if work.failures or work.pruned or work.given_back or work.lost:
            work.waiting.clear()
        if work.running or work.waiting:
            return
        self.open.remove(work)
        self._finish(work)

    def _finish(self, work: OpenTrial) -> None:
        if work.lost:
            return
        with self._if_still_ours(work):
            if work.failures:
                work.trial.set_user_attr("failure", "\n".join(work.failures))
                self._end(work, state="FAIL")
            elif work.pruned and len(work.scores) < len(self.plan.seeds):
                self._end(work, state="PRUNED")
            elif work.given_back:
                self.trials.give_back(work.trial)
            else:
                self._end(work, "COMPLETE", statistics.fmean(work.scores.values()))

    def _end(self, work: OpenTrial, state: str, score: float | None = None) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        try:
            self.trials.study.tell(work.trial, score, state=TrialState[state])
        except ValueError as error:  # raised by `tell` for a trial that has ended
            raise UpdateFinishedTrialError from error

    def leave(self) -> None:
        """Release what was not started, and what was stopped."""
        for work in list(self.open):
            work.given_back = True
            self._close_if_done(work)
        self.liveness.leave()
