"""Runs of `Workers` in the test's own process, one after another: no import, no fork."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import IO, Any

import pytest

from cnnrun import runner
from cnnrun.config.experiment import load
from cnnrun.errors import UserError
from cnnrun.multirun.launcher import workers
from tests.conftest import stand_in


class Inline:
    """As much of `subprocess.Popen` as `Workers` uses; `command` is `python -m cnnrun train ...`.

    It has ended once it is begun.
    """

    def __init__(self, command: list[str], *, stderr: IO[str], **_: Any):
        _train, config, *rest = command[command.index("cnnrun") + 1 :]
        plugins = [text.partition("=")[2] for text in rest if text.startswith("--plugin=")]
        changes = [text for text in rest if "=" in text and not text.startswith("-")]
        self.pid, self.returncode, self.stdout = 0, 0, io.StringIO()
        try:
            experiment = load(Path(config), changes, plugins)
            self.stdout = io.StringIO(str(runner.train(experiment, quiet=True).path))
        except UserError as error:
            self.returncode = error.exit_code
            stderr.write(f"error: {error}\n")

    def poll(self) -> int:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002
        return self.returncode


def run_inline(patch: pytest.MonkeyPatch) -> None:
    """Let `Workers` train so from now on; none of the runs can be stopped or resumed."""
    patch.setattr(workers, "subprocess", stand_in(subprocess, Popen=Inline))
