"""What tests share: the command as a user runs it, and where real data lie."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import hypothesis
import pytest
import typer.main

from tests.quick_fork import Fork
from tests.quick_shell import quick_cnnrun

REPOSITORY = Path(__file__).parent.parent
CONFIGS = REPOSITORY / "configs"
EXPERIMENTS = sorted(
    file for file in CONFIGS.rglob("*.yaml") if file.parent.name not in ("studies", "sweeps")
)
"""The shipped configs that `cnnrun train` takes."""

HANGS = 1800
"""Seconds after which a process or an event will not come any more, however busy the machine."""

THOROUGH = "CNNRUN_THOROUGH" in os.environ
"""`make chaos` asks for all cases and for whole trainings where the slow tests take a few."""

# A busy machine may take any time for an example.
hypothesis.settings.register_profile("any time", deadline=None)
hypothesis.settings.load_profile("any time")

# Two test processes share two cores; more threads would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Typer makes all commands anew for each line that it is given, in 20 ms: the suite gives thousands.
typer.main.get_command = cache(typer.main.get_command)


def slow_ones(cases: Iterable[Any], *slow: Any) -> list[Any]:
    """`cases` for `parametrize`: these are slow, the others always run."""
    return [pytest.param(case, marks=pytest.mark.slow) if case in slow else case for case in cases]


def quick_ones(cases: Iterable[Any], *quick: Any) -> list[Any]:
    """`cases` for `parametrize`: these always run, the others are slow."""
    return slow_ones(cases, *(case for case in cases if case not in quick))


def stand_in(module: ModuleType, **changes: Any) -> SimpleNamespace:
    """`module` with changes, to be put where one other module names it.

    Changed itself, it would be so for all; what is imported meanwhile would keep it for ever.
    """
    return SimpleNamespace(**{**vars(module), **changes})


def some(cases: Sequence[Any], count: int) -> list[Any]:
    """So many of the cases, at equal distances; all if `THOROUGH`."""
    if THOROUGH or count >= len(cases):
        return list(cases)
    return [cases[(2 * k + 1) * len(cases) // (2 * count)] for k in range(count)]


thorough_only = pytest.mark.skipif(
    not THOROUGH, reason="trains for minutes on real data: make chaos runs it"
)


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]
Start = Callable[..., Fork]


@contextmanager
def _forgotten_afterwards() -> Iterator[None]:
    """What is registered within the block is forgotten with it: others list what there is."""
    from cnnrun.config import plugins
    from cnnrun.registry import KINDS

    before = {kind: set(registry._entries) for kind, registry in KINDS.items()}
    yield
    for kind, registry in KINDS.items():
        registry._libraries.asked_for.clear()
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
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        finally:
            signal.signal(signal.SIGINT, on_interrupt)  # `main` takes it to the end of its process
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


@pytest.fixture(scope="session")
def quick_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the PATH whose `cnnrun` and `python` have all imports already."""
    with quick_cnnrun(tmp_path_factory.mktemp("quick")) as folder:
        yield folder


@pytest.fixture
def forked(quick_path: Path) -> Start:
    """`forked(folder, *arguments)`: start a command without the seconds of imports."""
    return partial(Fork, quick_path)


@pytest.fixture
def shell(tmp_path: Path, quick_path: Path) -> Command:
    """`shell(script)`: run bash in an empty folder, where `cnnrun` and `python` start at once."""
    return _shell(tmp_path, quick_path)


@pytest.fixture
def installed_shell(tmp_path: Path) -> Command:
    """The same with the installed `cnnrun`, which takes seconds to import what it needs."""
    return _shell(tmp_path)


def _shell(folder: Path, *first_on_path: Path) -> Command:
    def run(script: str, timeout: float = HANGS, **environment: str) -> Result:
        places = [*map(str, first_on_path), str(Path(sys.executable).parent), os.environ["PATH"]]
        ended = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env={**os.environ, "PATH": os.pathsep.join(places), **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Result(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds MNIST/raw: CNNRUN_TEST_DATA, or the one next to a checkout.

    A folder that was named must have them; on a machine without them, what needs them is skipped.
    """
    named = os.environ.get("CNNRUN_TEST_DATA")
    root = Path(named or REPOSITORY.parent / "shared" / "data")
    if not (root / "MNIST" / "raw").is_dir():
        told = f"the MNIST files are not in {root}; CNNRUN_TEST_DATA is the folder with MNIST/raw"
        (pytest.fail if named else pytest.skip)(told)
    return root.resolve()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A config that trains in a tenth of a second: an MLP on digits; plots would take another."""
    file = tmp_path / "tiny.yaml"
    file.write_text(
        "dataset: {name: digits, batch_size: 64}\n"
        "model: {name: mlp, hidden: [32], dropout: 0.1}\n"
        "optimizer: {name: sgd, lr: 0.1, momentum: 0.9}\n"
        "device: cpu\n"
        "training: {epochs: 2, draw: false}\n"
    )
    return file
