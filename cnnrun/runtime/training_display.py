"""What a person sees on stderr while a run trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import IO, Any, Protocol, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from cnnrun.measures import Metric, described
from cnnrun.runtime import console

# Seconds between two looks at the running sums; each costs one device-to-host copy.
INTERVAL = 0.25


class Reporter(Protocol):
    """Shows a run's progress."""

    def __enter__(self) -> Reporter: ...
    def __exit__(self, *_: object) -> None: ...

    def due(self) -> bool:
        """Whether it is time to show the running means again."""
        ...

    def update(self, epoch: int, steps: int, means: Mapping[str, str], rate: float) -> None:
        """Show `steps` done in this process, the epoch's running means, and images/s."""
        ...

    def epoch(self, text: str) -> None:
        """Show a finished epoch's line."""
        ...


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def due(self) -> bool:
        return False

    def update(self, epoch: int, steps: int, means: Mapping[str, str], rate: float) -> None:
        pass

    def epoch(self, text: str) -> None:
        pass


class Lines(Quiet):
    """Plain lines, one an epoch: for files, pipes and job logs."""

    def __enter__(self) -> Lines:
        return self

    def epoch(self, text: str) -> None:
        console.warn(text)


class Bar:
    """A live line under the finished epochs: running loss, accuracy, images/s, time left."""

    def __init__(self, total_steps: int, done_steps: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[numbers]}"),
            # `Progress` puts itself in the place of `sys.stderr`, to print above the bar.
            console=Console(file=cast("IO[str]", console.Guarded(sys.stderr))),
            transient=True,
        )
        self._task = self._progress.add_task(
            "starting", total=total_steps, completed=done_steps, numbers=""
        )
        self._total, self._done = total_steps, done_steps
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def due(self) -> bool:
        return time.monotonic() - self._last >= INTERVAL

    def update(self, epoch: int, steps: int, means: Mapping[str, str], rate: float) -> None:
        self._last = time.monotonic()
        share = (steps - self._done) / max(self._total - self._done, 1)
        left = (self._last - self._start) * (1 - share) / share if share else 0.0
        numbers = "  ".join(f"{name} {text}" for name, text in means.items())
        self._progress.update(
            self._task,
            completed=steps,
            description=f"epoch {epoch}",
            numbers=f"{numbers}  {rate:,.0f} images/s  {duration(left)} left",
        )

    def epoch(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)


def reporter(quiet: bool, total_steps: int, done_steps: int) -> Reporter:
    """Live on a terminal, lines elsewhere, nothing when asked to be quiet."""
    if quiet:
        return Quiet()
    return Bar(total_steps, done_steps) if console.stderr.isatty() else Lines()


def epoch_line(
    row: Mapping[str, Any],
    metrics: Mapping[str, Metric],
    best_epoch: int,
    epochs: int,
    speed: float,
    seconds_left: float,
) -> str:
    """A finished epoch: its scores, images a second, and the time that the others will take."""
    scores = []
    for key, value in row.items():
        split, _, name = key.partition("_")
        if split in ("train", "validation"):
            metric = described(name, metrics)
            scores.append(f"{split} {metric.display_name} {metric.text(value)}")
    skipped = f"  skipped {row['skipped']}" if row.get("skipped") else ""
    # Without a validation split nothing chose between epochs.
    chosen = best_epoch == row["epoch"] and any(key.startswith("validation_") for key in row)
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  {'  '.join(scores)}{skipped}  "
        f"{speed:,.0f} images/s  {duration(seconds_left)} left{'  best' if chosen else ''}"
    )


def duration(seconds: float) -> str:
    """`42 s`, `3:07 min` or `2:05 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
