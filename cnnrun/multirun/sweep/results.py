"""The results of a sweep: its trials with their scores, best first."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnrun.multirun.settings import Settings, to_text
from cnnrun.multirun.sweep.plan import Plan
from cnnrun.runtime.text_table import columns

if TYPE_CHECKING:
    from cnnrun.multirun.sweep.storage import Recorded

_STATES = {
    "COMPLETE": "finished",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


@dataclass(frozen=True)
class TrialResult:
    """One trial: its settings, and by seed the score and the run directory."""

    trial: int
    settings: Settings
    state: str  # finished, pruned, failed, running or waiting
    scores: dict[int, float]
    runs: dict[int, str]
    message: str

    @property
    def mean(self) -> float | None:
        """Over seeds, only for finished trials: others are never ranked."""
        return statistics.fmean(self.scores.values()) if self.state == "finished" else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation between seeds."""
        if self.state != "finished" or len(self.scores) < 2:
            return None
        return statistics.stdev(self.scores.values())


@dataclass(frozen=True)
class Results:
    """All trials of a sweep, best first, then those without score."""

    plan: Plan
    trials: list[TrialResult]

    @property
    def best(self) -> TrialResult | None:
        first = self.trials[0] if self.trials else None
        return first if first and first.state == "finished" else None

    def count(self, *states: str) -> int:
        return sum(trial.state in states for trial in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "name": self.plan.sweep.name,
            "folder": str(self.plan.sweep.folder),
            "metric": self.plan.score_key,
            "measure": self.plan.score_key,  # the former name, for scripts
            "higher_is_better": self.plan.higher_is_better,
            "seeds": self.plan.seeds,
            "best": self._trial(self.best) if self.best else None,
            "trials": [self._trial(trial) for trial in self.trials],
        }

    def _trial(self, trial: TrialResult) -> dict[str, Any]:
        return {
            "trial": trial.trial,
            "state": trial.state,
            "settings": trial.settings,
            "mean": trial.mean,
            "deviation": trial.deviation,
            "scores": trial.scores,
            "runs": trial.runs,
            "message": trial.message,
            "command": self.plan.repeat_command(trial.settings) if trial.settings else None,
        }

    def to_text(self) -> str:
        """A table of the trials, the best one, and the command that repeats it."""
        ranked_by = f"validation {self.plan.metric.display_name}"
        header = ["trial", *self._columns(), ranked_by, "seeds", "state"]
        rows = [header, *(self._row(trial) for trial in self.trials)]
        # Texts that a terminal has no room for are shortened; numbers are not.
        lines = columns(rows, names=[k for k, key in enumerate(header) if self._is_named(key)])
        lines += [
            f"trial {trial.trial} failed: {trial.message}"
            for trial in self.trials
            if trial.state == "failed"
        ]
        if self.best:
            lines += [
                "",
                f"best     trial {self.best.trial}: {self._score(self.best)}",
                f"repeat   {self.plan.repeat_command(self.best.settings)}",
            ]
        return "\n".join(lines)

    def _columns(self) -> list[str]:
        return list(self.plan.sweep.space)

    def _is_named(self, key: str) -> bool:
        return any(isinstance(trial.settings.get(key), str) for trial in self.trials)

    def _row(self, trial: TrialResult) -> list[str]:
        values = [
            _cell(trial.settings[key]) if key in trial.settings else "-" for key in self._columns()
        ]
        seeds = f"{len(trial.scores)}/{len(self.plan.seeds)}"
        return [str(trial.trial), *values, self._score(trial), seeds, trial.state]

    def _score(self, trial: TrialResult) -> str:
        if trial.mean is None:
            return "-"
        if trial.deviation is None:
            return self.plan.metric.text(trial.mean)
        spread = self.plan.metric.gap(trial.deviation, unit=False)
        return f"{self.plan.metric.text(trial.mean)} ± {spread}"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else to_text(value)


def _point(plan: Plan, slot: int) -> Settings:
    """The settings planned for a slot; nothing if they depend on the search."""
    return (plan.points[slot] if slot < len(plan.points) else None) or {}


def read_results(plan: Plan, trials: Recorded) -> Results:
    """The state of every trial now."""
    by_slot = trials.by_slot()
    found = []
    for slot, trial in trials.current_trials().items():
        records = {
            int(name.removeprefix("seed ")): record
            for copy in by_slot[slot]
            for name, record in copy.user_attrs.items()
            if name.startswith("seed ")
        }
        settings = trial.user_attrs.get("settings") or _point(plan, slot)
        found.append(
            TrialResult(
                trial=slot,
                settings=settings,
                state=_STATES[trial.state.name],
                scores={seed: records[seed]["score"] for seed in sorted(records)},
                runs={seed: records[seed]["run"] for seed in sorted(records)},
                message=trial.user_attrs.get("failure", ""),
            )
        )
    sign = -1 if plan.higher_is_better else 1
    unscored = list(_STATES.values())

    def rank(result: TrialResult) -> tuple[int, float, int]:
        score = 0.0 if result.mean is None else sign * result.mean
        return unscored.index(result.state), score, result.trial

    return Results(plan, sorted(found, key=rank))
