"""The progress on stderr while a run trains."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from cnnrun.runtime import console
from cnnrun.runtime.epoch_table import EpochRow, EpochTable, duration
from cnnrun.runtime.text_table import width_of

# Seconds between two reads of the running sums; each costs one device-to-host copy.
INTERVAL = 0.25


class Reporter(Protocol):
    """Shows a run's progress."""

    def __enter__(self) -> Reporter: ...
    def __exit__(self, *_: object) -> None: ...

    def due(self) -> bool:
        """Whether it is time to show the running means again."""
        ...

    def update(self, epoch: int, steps: int, means: Mapping[str, str], rate: float) -> None:
        """Show the `steps` done in this process, the epoch's running means, and images/s."""
        ...

    def epoch(self, row: EpochRow) -> None:
        """Show a finished epoch."""
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

    def epoch(self, row: EpochRow) -> None:
        pass


class Lines(Quiet):
    """Plain lines, one per epoch: for files, pipes and job logs."""

    def __enter__(self) -> Lines:
        return self

    def epoch(self, row: EpochRow) -> None:
        console.warn(row.line())


class Bar:
    """Two live lines under the table of the finished epochs: this epoch's bar, and the run's.

    total_steps, done_steps: of the run; all `epochs` have the same length.
    """

    def __init__(self, total_steps: int, done_steps: int, epochs: int) -> None:
        self._console = console.rich_console()
        self._table = EpochTable(self._console.width)
        self._bar = max(4, min(24, self._console.width // 6))
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=self._bar),
            TaskProgressColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self._console,
            transient=True,
        )
        self._epochs, self._steps = epochs, max(1, total_steps // epochs)
        self._total, self._done = total_steps, done_steps
        self._epoch = self._progress.add_task("starting", total=self._steps, numbers="")
        self._run = self._progress.add_task(
            "run", total=total_steps, completed=done_steps, numbers=""
        )
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Bar:
        console.stage("")
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
        description = f"epoch {epoch}/{self._epochs}"
        # What the description, the bar, `100%` and spaces leave.
        room = self._console.width - len(description) - self._bar - len("  100%  ")
        measured = [f"{name} {text}" for name, text in means.items()]
        self._progress.update(
            self._epoch,
            completed=steps - (epoch - 1) * self._steps,
            description=description,
            numbers=_fitting(measured, room),
        )
        of_the_run = [f"{duration(left)} left", f"{rate:,.0f} images/s"]
        self._progress.update(self._run, completed=steps, numbers=_fitting(of_the_run, room))

    def epoch(self, row: EpochRow) -> None:
        *header, line = self._table.lines(row)
        for text in header:
            self._console.print(Text(text, "bold"), no_wrap=True, overflow="crop")
        colour = "green" if row.is_best else ""
        self._console.print(Text(line, colour), no_wrap=True, overflow="crop")


def _fitting(texts: list[str], room: int) -> str:
    """As many of `texts`, from the first, as fit."""
    while len(texts) > 1 and width_of("  ".join(texts)) > room:
        texts.pop()
    return "  ".join(texts)


def reporter(quiet: bool, total_steps: int, done_steps: int, epochs: int) -> Reporter:
    """Live on a terminal, lines elsewhere, nothing with `--quiet`."""
    if quiet:
        return Quiet()
    return Bar(total_steps, done_steps, epochs) if console.stderr.isatty() else Lines()
