"""What tests share: the command as a user runs it, and where real data lie."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
CONFIGS = REPOSITORY / "configs"

# Two test processes share two cores; more threads would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def cnnrun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """`cnnrun(*arguments)` in this process and an empty folder: what `main` does, but quickly."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        from cnnrun.cli import main

        monkeypatch.setattr(sys, "argv", ["cnnrun", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def shell(tmp_path: Path) -> Command:
    """`shell(script)`: run a line of bash in an empty folder, with the installed `cnnrun`."""

    def run(script: str, timeout: float = 240, **environment: str) -> Result:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ended = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Result(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds MNIST/raw; these tests fail, and do not skip, where it is not there."""
    root = Path(os.environ.get("CNNRUN_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    assert (root / "MNIST" / "raw").is_dir(), (
        f"the MNIST files are not in {root}; set CNNRUN_TEST_DATA to the folder that has MNIST/raw"
    )
    return root.resolve()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A config that trains in a second: an MLP on digits."""
    file = tmp_path / "tiny.yaml"
    file.write_text(
        "dataset: {name: digits, batch_size: 64}\n"
        "model: {name: mlp, hidden: [32], dropout: 0.1}\n"
        "optimizer: {name: sgd, lr: 0.1, momentum: 0.9}\n"
        "device: cpu\n"
        "training: {epochs: 2}\n"
    )
    return file
