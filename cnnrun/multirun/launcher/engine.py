"""Where runs are trained: in processes here, on a Ray cluster, or by Slurm.

In any case, the same jobs become the same run directories: each is a plain `cnnrun train`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from cnnrun.errors import ConfigError
from cnnrun.multirun.launcher.job import Job


@dataclass(frozen=True)
class Place:
    """The command line's options for where to train, which don't change results.

    on: `local`, `ray`, `ray://HOST:PORT` or `slurm`. cpus, gpus, memory: of one run, memory in GB.
    minutes: Slurm's time limit per job. slurm: further options of Slurm, such as `partition=gpu`.
    """

    on: str = "local"
    cpus: float | None = None
    gpus: float | None = None
    memory: float | None = None
    minutes: int | None = None
    slurm: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kind = self.kind
        if kind not in ("local", "ray", "slurm") or (kind != self.on and kind != "ray"):
            raise ConfigError(f"--on {self.on}: expected local, ray, ray://HOST:PORT or slurm")
        given = {"--cpus": self.cpus, "--gpus": self.gpus, "--memory": self.memory}
        of_slurm = {"--time": self.minutes, "--slurm": self.slurm or None}
        for option, value in (given | of_slurm).items():
            if value is not None and (kind == "local" or (kind == "ray" and option in of_slurm)):
                where = "--on slurm" if option in of_slurm else "--on ray or --on slurm"
                raise ConfigError(f"{option}: only works with {where}")
        if self.gpus is not None and self.gpus > 1:
            message = "a run trains on one GPU; give 1, or on Ray a part of one such as 0.5"
            raise ConfigError(f"--gpus {self.gpus:g}: {message}")
        if self.gpus not in (None, 0, 1) and kind == "slurm":
            message = "Slurm allocates whole GPUs; fractions of one need --on ray"
            raise ConfigError(f"--gpus {self.gpus:g}: {message}")

    @property
    def kind(self) -> str:
        return self.on.partition("://")[0]

    def check_device(self, device: str) -> None:
        """Refuse the `device` of an experiment that its runs would not find there.

        Raises:
            ConfigError: what to write instead.
        """
        if self.kind == "local":
            return
        if device.startswith("cuda:"):
            message = f"with --on {self.kind} a run sees only its own GPU; write device: cuda"
            raise ConfigError(f"device: {device}: {message}")
        if device == "cuda" and self.gpus == 0:
            raise ConfigError("--gpus 0: the experiment says device: cuda; give 1 or a part of one")


HERE = Place()


class Training(Protocol):
    """A run in training: the part of `subprocess.Popen` that `Workers` use."""

    returncode: int | None
    stdout: IO[str] | None

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Engine(Protocol):
    """Trains runs elsewhere than in local processes.

    slots: number of runs at a time.
    """

    slots: int

    def start(self, job: Job, arguments: list[str], log: Path) -> Training:
        """Start a job; its output goes to `log` when it has ended."""
        ...

    def submit(self) -> None:
        """Called when all jobs of this moment have been submitted."""
        ...
