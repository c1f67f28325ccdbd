"""Runs as tasks of a Ray cluster: placed by CPUs, GPUs and memory, tried again when a node is lost.

Ray knows the nodes and their resources; a task of a lost node is given to another, where it resumes
from the run directory if the disk is shared.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from cnnrun.errors import UserError
from cnnrun.multirun.launcher.elsewhere import Elsewhere, new_mark, package_of
from cnnrun.multirun.launcher.engine import Place, Training
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.remote import Ended, Remote

# Retries of a run after lost nodes.
_RETRIES = 5


class RayEngine:
    """The cluster at `place.on` or RAY_ADDRESS, or a local one."""

    def __init__(self, place: Place, folder: Path, workers: int | None, any_gpu: bool) -> None:
        with package_of("ray", "--on ray"):
            import ray
        if not ray.is_initialized():
            address = None if place.on == "ray" else place.on
            try:
                ray.init(address, log_to_driver=False, configure_logging=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                said = (str(error).strip() or repr(error)).splitlines()[0]
                raise UserError(f"--on {place.on}: no Ray cluster answers ({said})") from error
        self._ray = ray
        self._mark = new_mark(folder)
        there = ray.cluster_resources()
        cpus = 1.0 if place.cpus is None else place.cpus
        gpus = place.gpus
        if gpus is None:
            gpus = 1.0 if any_gpu and there.get("GPU") else 0.0
        wanted = {"CPU": cpus, "GPU": gpus, "memory": (place.memory or 0) * 1e9}
        fitting = [int(there.get(kind, 0) / each) for kind, each in wanted.items() if each]
        if 0 in fitting:
            lacking = next(k for k, each in wanted.items() if each and there.get(k, 0) < each)
            raise UserError(
                f"--on {place.on}: a run asks for {wanted[lacking]:g} {lacking}, the whole cluster "
                f"has {there.get(lacking, 0):g}"
            )
        self.slots = workers or min(fitting, default=1)
        self._cpus = cpus
        self._task = ray.remote(_train)
        memory = {"memory": int(wanted["memory"])} if place.memory else {}
        self._resources = {"num_cpus": cpus, "num_gpus": gpus, **memory}

    def start(self, job: Job, arguments: list[str], log: Path) -> Training:
        remote = Remote.of(job, arguments, self._mark, self._cpus)
        # Seeds trained together can't be resumed as one run: they follow one by one.
        retries = 0 if job.seeds else _RETRIES
        task = self._task.options(name=job.key, max_retries=retries, **self._resources)
        reference = task.remote(remote)

        def cancel() -> None:
            self._ray.cancel(reference)

        return Elsewhere(lambda: self._ended(reference), cancel, log, job.output)

    def submit(self) -> None:
        pass  # Ray places each task as soon as there is room

    def _ended(self, reference: Any) -> Ended | None:
        errors = self._ray.exceptions
        done, _ = self._ray.wait([reference], timeout=0)
        if not done:
            return None
        try:
            ended: Ended = self._ray.get(reference)
        except (errors.TaskCancelledError, KeyboardInterrupt):
            return Ended(-signal.SIGTERM, "", "stopped")
        except errors.RayError as error:
            said = (str(error).strip() or repr(error)).splitlines()[0]
            return Ended(1, "", f"error: Ray gave it up: {said}")
        return ended


def _train(remote: Remote) -> Ended:
    """In a worker of Ray; cancelling the task raises KeyboardInterrupt here."""
    return remote.train()
