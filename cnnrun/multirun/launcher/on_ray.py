"""Runs as tasks of a Ray cluster: placed by CPUs, GPUs and memory, tried again when a node is lost.

Ray knows the nodes and their resources; a task of a lost node is given to another, where it resumes
from the run directory if the disk is shared.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnnrun.errors import UserError
from cnnrun.multirun.launcher.elsewhere import Elsewhere, new_mark, package_of
from cnnrun.multirun.launcher.engine import Place, Training
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.remote import Ended, Remote

# Retries of a run after lost nodes.
_RETRIES = 5
_GB = 1e9


class RayEngine:
    """The cluster at `place.on` or RAY_ADDRESS, or a local one."""

    def __init__(self, place: Place, folder: Path, workers: int | None, any_gpu: bool) -> None:
        with package_of("ray", "--on ray"):
            import ray
        if not ray.is_initialized():
            address = None if place.on == "ray" else place.on
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ray.init(address, log_to_driver=False, configure_logging=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                said = (str(error).strip() or repr(error)).splitlines()[-1]
                raise UserError(
                    f"--on {place.on}: can't connect to the Ray cluster ({said})"
                ) from error
        self._ray = ray
        self._mark = new_mark(folder)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus = 1.0 if place.cpus is None else place.cpus
        gpus = place.gpus
        if gpus is None:
            gpus = 1.0 if any_gpu and any(node.get("GPU") for node in nodes) else 0.0
        wanted = {"CPU": cpus, "GPU": gpus, "memory": (place.memory or 0) * _GB}
        room = sum(runs_at_once(node, wanted) for node in nodes)
        if not room:
            found = "; ".join(sorted({_said(node) for node in nodes}))
            raise UserError(
                f"--on {place.on}: a run asks for {_said(wanted)}, and no node of the cluster has "
                f"that much ({found})"
            )
        self.slots = workers or room
        self._cpus = cpus
        self._task = ray.remote(_train)
        memory = {"memory": int(wanted["memory"])} if place.memory else {}
        self._resources = {"num_cpus": cpus, "num_gpus": gpus, **memory}

    def start(self, job: Job, arguments: list[str], log: Path) -> Training:
        remote = Remote.of(job, arguments, self._mark, self._cpus)
        # Ray leaves all GPUs in sight of a task that asked for none.
        remote = replace(remote, without_gpu=not self._resources["num_gpus"])
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


def runs_at_once(node: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    """How many runs that take `wanted` each fit on a node: a run is never divided between two.

    Both are by `CPU`, `GPU` and `memory`, in bytes.
    """
    held = [node.get(kind, 0) / each + 1e-9 for kind, each in wanted.items() if each]
    return int(min(held, default=1))


def _said(resources: Mapping[str, float]) -> str:
    """`resources` to read, the memory in GB."""
    held = [f"{resources[kind]:g} {kind}" for kind in ("CPU", "GPU") if resources.get(kind)]
    if memory := resources.get("memory"):
        held.append(f"{memory / _GB:.3g} GB of memory")
    return ", ".join(held) or "nothing"


def _train(remote: Remote) -> Ended:
    """In a worker of Ray; cancelling the task raises KeyboardInterrupt here."""
    return remote.train()
