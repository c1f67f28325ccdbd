"""What tests share: the command as a user runs it, and where real data lie."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import typer.main

REPOSITORY = Path(__file__).parent.parent
CONFIGS = REPOSITORY / "configs"
EXPERIMENTS = sorted(
    file for file in CONFIGS.rglob("*.yaml") if file.parent.name not in ("studies", "sweeps")
)
"""The shipped configs that `cnnrun train` takes."""

# Two test processes share two cores; more threads would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Typer makes all commands anew for each line that it is given, in 20 ms: the suite gives thousands.
typer.main.get_command = cache(typer.main.get_command)


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@contextmanager
def _forgotten_afterwards() -> Iterator[None]:
    """What is registered within the block is forgotten with it: others list what there is."""
    from cnnrun.config import plugins
    from cnnrun.registry import KINDS

    before = {kind: set(registry._entries) for kind, registry in KINDS.items()}
    yield
    for kind, registry in KINDS.items():
        for name, entry in list(registry._entries.items()):
            if name not in before[kind] and not entry.factory.__module__.startswith("cnnrun."):
                del registry._entries[name]
    plugins._loaded.clear()  # so that a file that others name, too, is read again


@pytest.fixture(scope="module", autouse=True)
def no_component_outlives_its_file() -> Iterator[None]:
    with _forgotten_afterwards():
        yield


@pytest.fixture
def no_component_outlives_its_test() -> Iterator[None]:
    with _forgotten_afterwards():
        yield


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
def killed_and_resumed(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Path, Path]]:
    """`killed_and_resumed(step, config, *changes)`: a whole run, and one that was cut at a step.

    The second one ends before its step number `step`, with nothing saved for the occasion, as if
    killed; then it is resumed. Their logs are equal to the byte; the test compares the rest.
    """

    def run(step: int, *arguments: object) -> tuple[Path, Path]:
        from cnnrun.engine.trainer import Trainer

        whole = Path(cnnrun("train", *arguments, "-q").out.strip()).resolve()
        take = Trainer.train_step

        def take_or_die(self: Trainer, *batch: object) -> None:
            if self.progress.step == step:
                raise KeyboardInterrupt
            take(self, *batch)  # type: ignore[arg-type]

        with monkeypatch.context() as killing:
            killing.setattr(Trainer, "train_step", take_or_die)
            often = "training.checkpoint_every=2 steps"
            assert cnnrun("train", *arguments, often, "-q").code == 130
        [cut] = [path for path in whole.parent.iterdir() if path != whole]
        resumed = cnnrun("train", "--resume", cut, "-q")
        assert resumed.code == 0, resumed.err
        assert (whole / "metrics.jsonl").read_bytes() == (cut / "metrics.jsonl").read_bytes()
        return whole, cut

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
