"""What runs are measured by: which measure stands for a task, which way is up, how it is written.

The same as the task classes say, which could not be asked without importing torch.
"""

from __future__ import annotations

from collections.abc import Collection

# By task, the measure that its runs are compared by first: whether more of it is better.
_TASKS: dict[str, dict[str, bool]] = {
    "classify": {"accuracy": True, "loss": False, "top5": True, "ece": False},
    "reconstruct": {"mse": False, "psnr": True, "ssim": True, "loss": False},
    "stylize": {"loss": False, "content": False, "style": False, "smoothness": False},
}

_LESS_IS_BETTER = ("loss", "error", "mse", "mae")

SHARES = ("accuracy", "top5", "ece")
"""Measures that are shares 0..1 and written in per cent."""

_UNITS = {"psnr": " dB"}


def main_measure(task: str, known: Collection[str]) -> str | None:
    """The one of the `known` measures that runs of `task` are compared by; None for no measure."""
    ranked = [*_TASKS.get(task, {}), "loss", *known]
    return next((measure for measure in ranked if measure in known), None)


def more_is_better(measure: str, task: str) -> bool:
    """Of a plug-in's task: unless the measure's name ends as that of an error does."""
    return _TASKS.get(task, {}).get(measure, not measure.endswith(_LESS_IS_BETTER))


def show(measure: str, value: float) -> str:
    """A score as people write it."""
    if measure in SHARES:
        return f"{100 * value:.2f} %"
    return f"{value:.4g}{_UNITS.get(measure, '')}"


def show_gap(measure: str, gap: float, unit: bool = True) -> str:
    """A difference of two scores; that of two percentages is in points."""
    if measure in SHARES:
        return f"{100 * gap:.2f}" + (" points" if unit else "")
    return f"{gap:.3g}" + (_UNITS.get(measure, "") if unit else "")
