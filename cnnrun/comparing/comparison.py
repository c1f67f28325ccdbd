"""Groups of runs that differ by their seeds alone, and an honest word about their differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from cnnrun.comparing.finished import Run, measures_of, more_is_better
from cnnrun.comparing.statistics import Interval, holm, mean_interval, paired_p
from cnnrun.errors import UserError, did_you_mean

_LEVEL = 0.05


@dataclass(frozen=True)
class Group:
    """Finished runs of one experiment under several seeds."""

    settings: dict[str, Any]  # what tells it from the other groups
    runs: list[Run]
    scores: dict[int, float]  # by seed
    interval: Interval | None  # None where no score is a number

    @property
    def label(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.settings.items()) or "all runs"


@dataclass(frozen=True)
class Difference:
    """Two groups under the seeds that they share: what the first has more, and how surely."""

    first: int
    second: int
    seeds: int
    interval: Interval
    p: float | None


@dataclass
class Comparison:
    """Groups, best first, and what can be said of them."""

    measure: str
    groups: list[Group]
    differences: list[Difference]
    warnings: list[str] = field(default_factory=list)

    @property
    def conclusion(self) -> str:
        """One sentence about the two best groups."""
        if len(self.groups) < 2:
            return "There is one group only: nothing to compare."
        best, second = self.groups[0].label, self.groups[1].label
        found = next((d for d in self.differences if (d.first, d.second) == (0, 1)), None)
        if found is None:
            return f"'{best}' is ahead of '{second}', but they share no two seeds: nothing is sure."
        seeds = f"{found.seeds} shared seed{'s' if found.seeds != 1 else ''}"
        if found.p is None or found.p >= _LEVEL:
            return f"No difference can be claimed between '{best}' and '{second}' from {seeds}" + (
                f" (p = {found.p:.2g})." if found.p is not None else "."
            )
        shown = [show(self.measure, abs(v)) for v in found.interval if v is not None]
        return (
            f"'{best}' is better than '{second}' by {shown[0]} of {self.measure} "
            f"(95 % interval {min(shown[1:])} to {max(shown[1:])}, p = {found.p:.2g}, {seeds})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for scripts."""
        return {
            "measure": self.measure,
            "groups": [
                {
                    "label": group.label,
                    "settings": group.settings,
                    "runs": [str(run.path) for run in group.runs],
                    "scores": group.scores,
                    **(group.interval._asdict() if group.interval else {"mean": None}),
                }
                for group in self.groups
            ],
            "differences": [
                {"first": d.first, "second": d.second, "seeds": d.seeds, "p": d.p}
                | d.interval._asdict()
                for d in self.differences
            ],
            "warnings": self.warnings,
            "conclusion": self.conclusion,
        }

    def as_text(self) -> str:
        """A table of the groups, best first, the warnings and the conclusion."""
        width = max(len(group.label) for group in self.groups)
        lines = [f"{'':{width}}  runs  {self.measure} (95 % interval)"]
        for group in self.groups:
            lines.append(f"{group.label:{width}}  {len(group.runs):4}  {self._figure(group)}")
        lines += ["", *(f"warning: {text}" for text in self.warnings), self.conclusion]
        return "\n".join(lines)

    def _figure(self, group: Group) -> str:
        if group.interval is None:
            return "no number"
        mean, low, high = group.interval
        if low is None or high is None:
            return f"{show(self.measure, mean)} (one run: no interval)"
        return f"{show(self.measure, mean)} ± {show(self.measure, (high - low) / 2)}"


def compare(runs: Sequence[Run], measure: str | None = None) -> Comparison:
    """Group finished runs by their settings without the seed and compare the groups.

    measure: by default what the runs' task is measured by.

    Raises:
        UserError: no run is finished, or none has the measure.
    """
    finished = [run for run in runs if run.state == "finished"]
    warnings = [
        f"{run.path} is left out: {run.problem or 'it did not finish'}"
        for run in runs
        if run.state != "finished"
    ]
    if not finished:
        raise UserError("no finished run to compare; the others are named by `cnnrun runs`")
    known = measures_of(finished)
    if measure is not None and measure not in known:
        hint = did_you_mean(measure, known) or f"; there are {', '.join(known)}"
        raise UserError(f"no run was measured by '{measure}'{hint}")
    chosen = measure or known[0]
    groups = sorted(_groups(finished, chosen), key=lambda g: _rank(g, chosen))
    warnings += [text for group in groups for text in _doubts(group)]
    return Comparison(chosen, groups, _differences(groups), warnings)


def _groups(runs: list[Run], measure: str) -> list[Group]:
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(repr(sorted(run.compared.items())), []).append(run)
    keys = differing(runs)
    found = []
    for members in alike.values():
        settings = {key: members[0].compared.get(key) for key in keys}
        scores = {run.seed: score for run in members if (score := run.score(measure)) is not None}
        numbers = [score for score in scores.values() if math.isfinite(score)]
        whole = len(numbers) == len(members) or len(numbers) == len(scores) > 0
        interval = mean_interval(numbers) if numbers and whole else None
        found.append(Group(settings, members, scores, interval))
    return found


def differing(runs: Sequence[Run]) -> list[str]:
    """The keys whose values are not the same in all runs."""
    keys = dict.fromkeys(key for run in runs for key in run.compared)
    return [key for key in keys if len({repr(run.compared.get(key)) for run in runs}) > 1]


def _rank(group: Group, measure: str) -> tuple[bool, float]:
    """Best first; what is no number comes last."""
    if group.interval is None:
        return True, 0.0
    return False, -group.interval.mean if more_is_better(measure) else group.interval.mean


def _doubts(group: Group) -> list[str]:
    doubts = []
    if len(group.scores) == 1 and len(group.runs) == 1:
        doubts.append(f"'{group.label}' has one run: its spread is not known")
    if len(group.runs) > len(group.scores) >= 1:
        doubts.append(f"'{group.label}' has several runs of one seed; the last one counts")
    if len(group.scores) > 1 and len(set(group.scores.values())) == 1:
        doubts.append(f"'{group.label}': different seeds gave identical results; is the seed used?")
    return doubts


def _differences(groups: list[Group]) -> list[Difference]:
    """Each pair of groups under shared seeds, p-values corrected for their number."""
    found = []
    for i, j in combinations(range(len(groups)), 2):
        seeds = sorted(groups[i].scores.keys() & groups[j].scores.keys())
        first, second = ([groups[k].scores[seed] for seed in seeds] for k in (i, j))
        if seeds and all(map(math.isfinite, first + second)):
            gaps = [a - b for a, b in zip(first, second, strict=True)]
            p = paired_p(first, second)
            found.append(Difference(i, j, len(seeds), mean_interval(gaps), p))
    known = [d.p for d in found if d.p is not None]
    corrected = iter(holm(known))
    return [
        Difference(d.first, d.second, d.seeds, d.interval, None if d.p is None else next(corrected))
        for d in found
    ]


def show(measure: str, value: float) -> str:
    """A score as people write it."""
    return f"{100 * value:.2f} %" if measure in ("accuracy", "top5") else f"{value:.4g}"
