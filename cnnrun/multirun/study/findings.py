"""The findings of a study: a table, sentences that claim no more than the seeds allow, plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnrun.comparison import Comparison, Result, to_dict
from cnnrun.comparison.text import conclusion, score_rows, score_titles, sentence
from cnnrun.metrics import ACCURACY
from cnnrun.multirun.study.spec import Study
from cnnrun.runtime.text_table import columns

if TYPE_CHECKING:
    from cnnrun.config.experiment import Experiment
    from cnnrun.evaluation.invariance import Curve

_CHANGED = {"rotation": "rotated", "scale": "scaled", "shift": "shifted"}


@dataclass
class Findings:
    """The comparison of a study's variants, as text and plots.

    failures: a line for each run that failed. experiments: by variant, what it trains.
    """

    study: Study
    comparison: Comparison
    failures: list[str]
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    plots: list[Path] = field(default_factory=list)

    def draw(self) -> None:
        """Draw the comparison and the study's own plots into its folder."""
        from cnnrun.multirun.study.figures import draw_all

        self.plots = draw_all(self)

    @cached_property
    def invariances(self) -> dict[str, list[list[Curve]]]:
        """By variant, for each run, how its accuracy falls as images move; if requested."""
        if "invariance" not in self.study.plots:
            return {}
        from cnnrun.multirun.study.figures import invariances

        return invariances(self)

    @cached_property
    def sentences(self) -> list[str]:
        """What can be claimed about the contrasts, or the two best; what did not learn, and why."""
        if self.comparison.differences and self.study.contrasts:
            pairs = [(d.first, d.second) for d in self.comparison.differences]
            first = [sentence(self.comparison, *pair) for pair in pairs]
        else:
            first = [conclusion(self.comparison)]
        return [*first, *self._moved(), *self._not_learned()]

    def _moved(self) -> list[str]:
        """How far accuracy falls, on the average over all amounts of each change."""
        if not self.invariances:
            return []
        said = []
        for index, curve in enumerate(next(iter(self.invariances.values()))[0]):
            drops = {
                name: sum(run[index].drop for run in runs) / len(runs)
                for name, runs in self.invariances.items()
            }
            shown = ", ".join(f"{100 * drop:.1f} ({name})" for name, drop in drops.items())
            said.append(
                f"On {_CHANGED[curve.change]} images, accuracy drops by {shown} percentage points."
            )
        return said

    def _not_learned(self) -> list[str]:
        if self.comparison.metric.name != ACCURACY.name:
            return []
        from cnnrun.multirun.study.diagnosis import chance, verdict, why

        said = []
        for result in self.comparison.results:
            counts = _class_counts(result)
            if result.interval and (learned := verdict(result.interval.mean, counts)):
                reason = why(result.group.runs[0].path, self.experiments[result.name])
                scored = ACCURACY.text(result.interval.mean)
                guessing = ACCURACY.text(chance(counts))
                said.append(
                    f"{result.name} {learned} ({scored}; always predicting the largest class gives "
                    f"{guessing}): {reason}."
                )
        return said

    def to_text(self) -> str:
        """The question, a table of the variants, best first, and the sentences."""
        comparison = self.comparison
        head = ["variant", "seeds", *score_titles(comparison), "parameters"]
        scores, note = score_rows(comparison)
        rows = [
            [r.name, str(len(r.scores)), *texts, f"{_parameters(r):,}"]
            for r, texts in zip(comparison.results, scores, strict=True)
        ]
        lines = [*([self.study.about.strip(), ""] if self.study.about else [])]
        lines += [*columns([head, *rows], names=(0,)), *note, "", *self.sentences]
        warnings = [*self.failures, *comparison.caveats]
        if warnings:
            lines += ["", *(f"warning: {text}" for text in warnings)]
        return "\n".join([*lines, "", *(f"plot: {file}" for file in self.plots)]).rstrip()

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints and `study.json` holds."""
        return {
            "name": self.study.name,
            "about": self.study.about.strip(),
            "folder": str(self.study.folder),
            **to_dict(self.comparison),
            "parameters": {r.name: _parameters(r) for r in self.comparison.results},
            "sentences": self.sentences,
            "failures": self.failures,
            "invariance": {
                name: [{curve.change: curve.to_dict() for curve in run} for run in runs]
                for name, runs in self.invariances.items()
            },
            "plots": [str(file) for file in self.plots],
        }


def _parameters(result: Result) -> int:
    return int(result.group.runs[0].summary["parameters"])


def _class_counts(result: Result) -> list[int]:
    from cnnrun.runs.checkpoint import Checkpoint, find_checkpoint

    return Checkpoint.load(find_checkpoint(result.group.runs[0].path)).class_counts
