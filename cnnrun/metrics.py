"""Metrics: name, unit and direction, and how their scores are formatted.

A task declares its metrics (`Task.metrics`), and a run keeps the declarations in `summary.json`. So
reading runs later needs neither the task, nor its plug-in, nor torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

# A format of a few digits; a file's format is never used unchecked.
_FORMAT = re.compile(r",?\.\d[efg]")
_MOST_LETTERS = 40
_LARGEST = 1e7


@dataclass(frozen=True)
class Metric:
    """The description of a metric, for all code that computes or formats it.

    unit: `%` for fractions 0..1 that are shown in per cent, or e.g. `dB`. higher_is_better: None if
    unknown; runs are then not ranked by it.
    format: of the number without its unit; where that shows none of its digits, or far too many,
        four significant ones are written.
    bounds: the least and the largest possible value.
    of_the_loss: it is the loss or a part of it, so that values under different losses say nothing
        about one another.
    """

    name: str
    higher_is_better: bool | None = None
    unit: str = ""
    display_name: str = ""
    format: str = ".4f"
    of_the_loss: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        if not self.display_name:
            object.__setattr__(self, "display_name", self.name)

    @property
    def scale(self) -> int:
        """The factor from values to the unit."""
        return 100 if self.unit == "%" else 1

    @property
    def label(self) -> str:
        """The name for an axis, with the unit."""
        return f"{self.display_name} ({self.unit})" if self.unit else self.display_name

    @property
    def is_error(self) -> bool:
        """Whether it falls towards zero in a good training."""
        return self.higher_is_better is False and self.unit != "%"

    def possible(self, value: float) -> float:
        """The nearest possible value: an interval around a mean may exceed the bounds."""
        return min(max(value, self.bounds[0]), self.bounds[1])

    def wants_log_axis(self, values: Iterable[float | None]) -> bool:
        """Whether it is an error whose values span a decade, which needs a logarithmic axis."""
        return self.is_error and span_a_decade(values)

    def text(self, value: float | None) -> str:
        """A formatted score, the same everywhere; `-` if undefined."""
        if value is None:
            return "-"
        if math.isnan(value):
            return "NaN"
        return f"{self._number(value)} {self.unit}".rstrip()

    def gap(self, value: float, unit: bool = True) -> str:
        """A formatted difference of two scores; for percentages in points."""
        if self.unit == "%":
            return f"{100 * value:.2f}" + (" points" if unit else "")
        return f"{value:.3g} {self.unit if unit else ''}".rstrip()

    def _number(self, value: float) -> str:
        number = self.scale * value
        text = format(number, self.format)
        hidden = number and not re.search(r"[1-9]", text)
        return f"{number:.4g}" if hidden or abs(number) >= _LARGEST else text

    def to_dict(self) -> dict[str, Any]:
        """As `summary.json` has it, under the metric's name."""
        return {key: value for key, value in asdict(self).items() if key not in ("name", "bounds")}


def span_a_decade(values: Iterable[float | None]) -> bool:
    """Whether the finite ones are positive, and the largest is ten times the smallest or more."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) >= 10 * min(known)


SHARE = (0.0, 1.0)
LOSS = Metric("loss", False, of_the_loss=True)
ACCURACY = Metric("accuracy", True, "%", format=".2f", bounds=SHARE)
MAJORITY = Metric("majority", None, "%", "always the largest class", ".2f", bounds=SHARE)
BALANCED = Metric("balanced_accuracy", True, "%", "balanced accuracy", ".2f", bounds=SHARE)
MACRO_F1 = Metric("macro_f1", True, "", "macro F1", bounds=SHARE)
AUROC = Metric("auroc", True, "", "AUROC", bounds=SHARE)
TOP5 = Metric("top5", True, "%", "top-5 accuracy", ".2f", bounds=SHARE)
ECE = Metric("ece", False, "%", "calibration error", ".2f", bounds=SHARE)
MSE = Metric("mse", False, "", "squared error", ".5f", bounds=(0.0, math.inf))
PSNR = Metric("psnr", True, "dB", "PSNR", ".2f")
SSIM = Metric("ssim", True, "", "SSIM", bounds=(-1.0, 1.0))
MAP = Metric("map", True, "", "mean average precision", bounds=SHARE)
MICRO_F1 = Metric("micro_f1", True, "", "micro F1", bounds=SHARE)
MACRO_F1_HALF = Metric("macro_f1_half", True, "", "macro F1 at 0.5", bounds=SHARE)
MICRO_F1_HALF = Metric("micro_f1_half", True, "", "micro F1 at 0.5", bounds=SHARE)
EXACT = Metric("exact", True, "%", "all labels right", ".2f", bounds=SHARE)
MIOU = Metric("miou", True, "", "mIoU", bounds=SHARE)
PIXEL_ACCURACY = Metric("pixel_accuracy", True, "%", "pixel accuracy", ".2f", bounds=SHARE)
MAE = Metric("mae", False, "", "MAE", bounds=(0.0, math.inf))
RMSE = Metric("rmse", False, "", "RMSE", bounds=(0.0, math.inf))
R2 = Metric("r2", True, "", "R2", bounds=(-math.inf, 1.0))
CONTENT, STYLE, SMOOTHNESS = (
    Metric(name, False, of_the_loss=True) for name in ("content", "style", "smoothness")
)

_CLASSIFY = (ACCURACY, BALANCED, MACRO_F1, AUROC, LOSS, TOP5, ECE, MAJORITY)
_RECONSTRUCT = (MSE, PSNR, SSIM, LOSS)
_MULTILABEL = (MAP, MACRO_F1, MICRO_F1, MACRO_F1_HALF, MICRO_F1_HALF, EXACT, LOSS)
_REGRESS = (R2, MAE, RMSE, LOSS)
_SEGMENT = (MIOU, PIXEL_ACCURACY, LOSS)
_STYLIZE = (LOSS, CONTENT, STYLE, SMOOTHNESS)

_ALL = (_CLASSIFY, _RECONSTRUCT, _MULTILABEL, _REGRESS, _SEGMENT, _STYLIZE)

KNOWN = {metric.name: metric for metrics in _ALL for metric in metrics}
"""cnnrun's own, by name."""

# For runs whose summary.json is not there yet or says nothing of it: what they are compared by, and
# what chooses their best epoch where that is not the loss.
_COMPARED_BY = {
    "classify": "accuracy",
    "multilabel": "map",
    "reconstruct": "mse",
    "regress": "r2",
    "segment": "miou",
    "stylize": "loss",
}
_MONITORS = {
    "classify": "accuracy",
    "multilabel": "macro_f1_half",
    "regress": "r2",
    "segment": "miou",
}


def described(name: str, declared: Mapping[str, Metric]) -> Metric:
    """The metric `name` as declared, else cnnrun's own of that name, else a bare one."""
    return declared.get(name) or KNOWN.get(name) or Metric(name)


def with_directions(
    metrics: Mapping[str, Metric], higher_is_better: Mapping[str, bool]
) -> dict[str, Metric]:
    """The same metrics with the directions of `higher_is_better`."""
    return dict(metrics) | {
        name: replace(described(name, metrics), higher_is_better=bool(higher))
        for name, higher in higher_is_better.items()
    }


def read_metrics(values: Any) -> dict[str, Metric]:
    """The metrics under `metrics` in `summary.json`, as far as they are valid."""
    found = {}
    for name, one in values.items() if isinstance(values, Mapping) else ():
        if isinstance(name, str) and isinstance(one, Mapping):
            found[name] = _read(name, one)
    return found


def _read(name: str, values: Mapping[str, Any]) -> Metric:
    own = KNOWN.get(name) or Metric(name)
    higher, of_the_loss = values.get("higher_is_better"), values.get("of_the_loss")
    unit, shown = (values.get(key) for key in ("unit", "display_name"))
    form = values.get("format")
    return Metric(
        name,
        higher if isinstance(higher, bool) else own.higher_is_better,
        unit if isinstance(unit, str) and _is_word(unit) else own.unit,
        shown if isinstance(shown, str) and shown and _is_word(shown) else own.display_name,
        form if isinstance(form, str) and _FORMAT.fullmatch(form) else own.format,
        of_the_loss if isinstance(of_the_loss, bool) else own.of_the_loss,
        own.bounds,
    )


def _is_word(text: str) -> bool:
    return text.isprintable() and len(text) <= _MOST_LETTERS


def main_metric(task: str, known: Collection[str], declared: str = "") -> str | None:
    """The one of the `known` metrics that runs of `task` are compared by; None for no metric.

    declared: what the task itself says, if that is known.
    """
    wanted = (declared, _COMPARED_BY.get(task, ""), "loss", *known)
    return next((name for name in wanted if name in known), None)


def usual_monitor(task: str) -> str:
    """What chooses the best epoch of `task`, if neither the run nor its config says so."""
    return _MONITORS.get(task, "loss")
