"""Whole trainings whose images are decoded by processes, as for a GPU with many cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnrun.data import batches
from cnnrun.data.decoding_plan import Plan
from cnnrun.engine.trainer import Trainer
from tests.conftest import Command

CONFIG = """\
name: files
dataset:
  name: folder
  root: images
  size: [12, 12]
  batch_size: 6
  validation: 0.2
  cache_dir: cache
  augment: [random_resized_crop, horizontal_flip]
model: {name: cnn, channels: [4], head: [8]}
device: cpu
training: {epochs: 3, draw: false}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for number in range(48):
        noise = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        file = tmp_path / "images" / "ab"[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).resize((30, 25)).save(file)
    (tmp_path / "files.yaml").write_text(CONFIG)
    return tmp_path / "files.yaml"


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many there were in each step."""
    seen: list[int] = []
    step = Trainer.train_step

    def counting_step(self: Trainer, *batch: object) -> None:
        seen.append(len(multiprocessing.active_children()))
        step(self, *batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "train_step", counting_step)
    monkeypatch.setattr(batches, "plan", lambda *_: Plan(2, 2))
    yield seen
    assert multiprocessing.active_children() == []


def trained(cnnrun: Command, *arguments: object) -> Path:
    ended = cnnrun("train", *arguments, "-q")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    return Path(ended.out.strip())


@pytest.mark.slow
def test_a_training_is_that_of_threads_to_the_byte(
    cnnrun: Command, config: Path, processes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = trained(cnnrun, config)
    # Of the second epoch on, also those that decode what is validated on.
    assert set(processes) == {2, 4}
    monkeypatch.setattr(batches, "plan", lambda *_: None)
    theirs = trained(cnnrun, config)
    assert processes[-1] == 0
    for name in ("metrics.jsonl", "checkpoints/last.pt"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()


@pytest.mark.slow
def test_one_that_was_killed_goes_on_to_the_same_bytes(
    killed_and_resumed: Callable[..., tuple[Path, Path]], config: Path, processes: list[int]
) -> None:
    killed_and_resumed(9, config)
    assert min(processes) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_them_saves_and_ends(
    cnnrun: Command,
    config: Path,
    processes: list[int],
    number: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = trained(cnnrun, config)
    step = Trainer.train_step

    def step_and_stop(self: Trainer, *batch: object) -> None:
        if self.progress.step == 8:
            for process in multiprocessing.active_children():
                assert process.pid
                os.kill(process.pid, number)
            os.kill(os.getpid(), number)
        step(self, *batch)  # type: ignore[arg-type]

    with monkeypatch.context() as stopping:
        stopping.setattr(Trainer, "train_step", step_and_stop)
        ended = cnnrun("train", config, "-q")
    assert ended.code == 128 + number
    assert "after step 9, saved" in ended.err
    assert "Traceback" not in ended.err
    assert "threads" not in ended.err
    assert multiprocessing.active_children() == []
    [cut] = [path for path in whole.resolve().parent.iterdir() if path != whole.resolve()]
    trained(cnnrun, "--resume", cut)  # at once: nobody holds its lock
    assert (cut / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert min(processes) == 2
