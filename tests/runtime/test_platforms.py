"""What other systems lack: every module can be imported without it, and a run goes through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# In a process of its own, as this one has imported everything already.
WITHOUT = """
import importlib, json, os, pkgutil, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1"):
    if hasattr(signal, name):
        delattr(signal, name)
for name in ("O_DIRECTORY", "sched_getaffinity", "fchmod", "statvfs", "getuid", "umask"):
    if hasattr(os, name):
        delattr(os, name)
import cnnrun
failed, count = {}, 0
for module in pkgutil.walk_packages(cnnrun.__path__, "cnnrun."):
    if module.name in ("cnnrun.__main__",):
        continue
    count += 1
    try:
        importlib.import_module(module.name)
    except Exception as error:
        failed[module.name] = repr(error)
run = cnnrun.train(sys.argv[1], "training.epochs=1", "training.draw=false")
run = cnnrun.runner.resume(run.path, ["training.epochs=2"], (), True)
print(json.dumps({"failed": failed, "count": count, "epochs": run.read_summary()["epochs"]}))
"""


@pytest.mark.slow
def test_without_what_windows_lacks(tiny: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tiny)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["failed"] == {}
    assert found["count"] > 150
    assert found["epochs"] == 2
