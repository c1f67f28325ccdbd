"""Slurm as far as submitit uses it, for one machine: `install` puts its commands into a folder.

Jobs run at once. Their states, and what was asked of them, are files in the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scontrol", "scancel")


def install(folder: Path) -> None:
    """Write the commands; `folder` belongs in front of PATH."""
    folder.mkdir(parents=True)
    for name in COMMANDS:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} {folder} "$@"\n')
        script.chmod(0o755)


def sbatch(folder: Path, file: str) -> None:
    number = 100 + len(list(folder.glob("*.job")))
    (folder / f"{number}.job").touch()
    text = Path(file).read_text()
    (folder / f"{number}.sh").write_text(text)
    array = re.search(r"--array=0-(\d+)", text)
    for task in range(int(array[1]) + 1) if array else [None]:
        name = str(number) if task is None else f"{number}_{task}"
        (folder / f"{name}.state").write_text("RUNNING")
        with contextlib.suppress(FileNotFoundError):
            subprocess.Popen(
                [sys.executable, __file__, "job", folder, name],
                start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
    print(f"Submitted batch job {number}")


def job(folder: Path, name: str) -> None:
    """Run a job's script, once more for each time that it is requeued."""
    number, _, task = name.partition("_")
    environment = {
        **os.environ,
        "SLURM_JOB_ID": number,
        "SLURM_NTASKS": "1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        **({"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": task} if task else {}),
    }
    while True:
        with (folder / "begun").open("a") as begun:
            begun.write(f"{name}\n")
        script = [str(folder / f"{number}.sh")]
        process = subprocess.Popen(["bash", *script], env=environment, start_new_session=True)
        code = process.wait()
        requeue = folder / f"{name}.requeue"
        if not requeue.exists():
            break
        requeue.unlink()
    (folder / f"{name}.state").write_text("FAILED" if code else "COMPLETED")


def srun(folder: Path, *arguments: str) -> None:
    rest = list(arguments)
    into: dict[str, str] = {}
    while rest[0].startswith("--"):
        option = rest.pop(0)
        if option in ("--output", "--error"):
            into[option] = rest.pop(0)
    named = {"%A": "SLURM_ARRAY_JOB_ID", "%a": "SLURM_ARRAY_TASK_ID", "%j": "SLURM_JOB_ID"}
    for number, option in ((1, "--output"), (2, "--error")):
        file = into[option].replace("%t", "0")
        for mark, variable in named.items():
            file = file.replace(mark, os.environ.get(variable, ""))
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.setsid()
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    name = os.environ["SLURM_JOB_ID"] + (f"_{task}" if task else "")
    (folder / f"{name}.pid").write_text(str(os.getpid()))
    os.execvp(rest[0], rest)


def sacct(folder: Path, *_: str) -> None:
    print("JobID|State|NodeList")
    for state in folder.glob("*.state"):
        print(f"{state.stem}|{state.read_text()}|here")


def scontrol(folder: Path, what: str, name: str) -> None:
    assert what == "requeue"
    (folder / f"{name}.requeue").touch()


def scancel(folder: Path, name: str, *options: str) -> None:
    """As Slurm does: the signal goes to all processes of the job but its batch script's shell."""
    number = getattr(signal, options[1]) if options else signal.SIGTERM
    with contextlib.suppress(OSError):  # it has ended, or not begun
        os.killpg(int((folder / f"{name}.pid").read_text()), number)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
