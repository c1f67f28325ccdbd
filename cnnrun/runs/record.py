"""The text files of a run, rewritten when it is resumed, and how to restore them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from cnnrun.config.experiment import Experiment
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.resuming import Changes
from cnnrun.runtime.files import write_atomically, write_text


class Done(Protocol):
    """A run's progress."""

    epoch: int
    step: int


class Record:
    """Backup of the text files that resuming a run changes."""

    def __init__(self, run: RunDirectory, more: Iterable[Path] = ()) -> None:
        """more: further files."""
        self.run = run
        files = (run.config, run.summary, run.metrics, run.changes, run.environment, run.logged)
        self.before = {
            file: file.read_bytes() if file.is_file() else None for file in (*files, *more)
        }

    def change(
        self, experiment: Experiment, changes: Changes, code: list[str], progress: Done
    ) -> None:
        """Write to the run's files what is about to be trained.

        progress: with the `epoch` and `step` that are done.
        """
        run = self.run
        done = {"epoch": progress.epoch, "step": progress.step}
        noted = [
            {**done, "key": key, "old": old, "new": new} for key, (old, new) in changes.items()
        ]
        noted += [{**done, "key": "code", "old": None, "new": text} for text in code]
        known = [{k: v for k, v in one.items() if k != "epoch"} for one in run.read_changes()]
        new = [one for one in noted if {k: v for k, v in one.items() if k != "epoch"} not in known]
        if new:
            run.append_changes(new)
        # The summary first: without one the run is unfinished, whatever follows.
        run.summary.unlink(missing_ok=True)
        text = experiment.to_yaml()
        if self.before[run.config] != text.encode():
            write_text(run.config, text)
        run.keep_metrics(progress.epoch)

    def put_back(self) -> None:
        """Restore the files: training failed before anything new was saved."""
        for file, content in self.before.items():
            if content is None:
                file.unlink(missing_ok=True)
            elif not file.is_file() or file.read_bytes() != content:
                _write(file, content)


def _write(file: Path, content: bytes) -> None:
    write_atomically(file, lambda stream: stream.write(content))
