"""A run to train, and its command line."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from cnnrun.config.experiment import Experiment


@dataclass(frozen=True)
class Job:
    """A run of `config` with `changes` (`key=value`), its directory made below `output`.

    experiment: the same, resolved. key: `key_of` it. trial, seed: the run's. group: shared by jobs
    that may be trained together. seeds: all of them, in the job that does so.
    """

    config: Path
    changes: tuple[str, ...]
    output: Path
    key: str
    trial: int
    seed: int
    plugins: tuple[str, ...] = ()
    group: str = ""
    seeds: tuple[int, ...] = ()
    experiment: Experiment | None = field(default=None, compare=False, repr=False)

    def arguments(self, resume: Path | None = None) -> list[str]:
        """Arguments of `cnnrun`: to start the run, or to resume the one at `resume`."""
        plugins = [f"--plugin={file}" for file in self.plugins]
        if resume:
            return ["train", "--resume", str(resume), "-q", *plugins]
        all_seeds = ",".join(map(str, self.seeds))
        seeds = ["--seeds", all_seeds] if self.seeds else [f"seed={self.seed}"]
        output = f"output={self.output}"
        return ["train", str(self.config), *self.changes, *seeds, output, "-q", *plugins]

    def command(self) -> str:
        """The shell command that starts it."""
        return shlex.join(["cnnrun", *self.arguments()])
