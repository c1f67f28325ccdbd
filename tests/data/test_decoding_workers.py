"""Batches that processes decode: the same bytes and errors as by threads, and no process stays."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cnnrun.data import batches as batches_module
from cnnrun.data import decoding_plan, decoding_workers
from cnnrun.data.batches import Batches
from cnnrun.data.dataset import Split, chosen
from cnnrun.data.decoding_plan import Plan, plan
from cnnrun.data.decoding_workers import decoding_processes
from cnnrun.data.images.decoding import BadImageError, ImageFormat
from cnnrun.data.images.files import Files, ImageFiles
from cnnrun.data.images.framing import RandomCrop

CPU = torch.device("cpu")
CROP = RandomCrop(seed=1)
COUNT = 23


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("images")
    for i in range(COUNT):
        noise = np.random.default_rng(i).integers(0, 256, (8, 9, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((50 + i, 60 - i))
        image.save(folder / f"{i:02}.{'jpg' if i % 2 else 'png'}")
    return sorted(map(str, folder.iterdir()))


@pytest.fixture(autouse=True)
def two_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(batches_module, "plan", lambda *_: Plan(processes=2, ahead=2))
    for module in (batches_module, decoding_workers):
        monkeypatch.setattr(module, "PIECE", 3)
    yield
    assert multiprocessing.active_children() == []


def batches_of(
    paths: list[str], batch_size: int = 7, channels: int = 3, crop: RandomCrop | None = CROP
) -> Batches:
    # Some of the files, in another order.
    images = ImageFiles(Files(paths), ImageFormat((20, 24), channels), 2)
    some = torch.arange(len(paths) - 1, 0, -1)
    return Batches(Split(chosen(images, some), some), batch_size, CPU, crop)


def read(batches: Batches, epoch: int = 0, start: int = 0) -> list[tuple[Tensor, Tensor]]:
    order = torch.randperm(batches.samples, generator=torch.Generator().manual_seed(epoch))
    return list(batches.iterate(order, start, epoch))


def assert_same(found: list[tuple[Tensor, Tensor]], expected: list[tuple[Tensor, Tensor]]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
        assert ours[0].stride() == theirs[0].stride()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_the_batches_are_those_of_threads(
    paths: list[str], channels: int, batch_size: int, capfd: pytest.CaptureFixture[str]
) -> None:
    for crop in (None, CROP):
        batches = batches_of(paths, batch_size, channels, crop)
        # From the middle of an epoch, too.
        passes = [(0, 0), (1, 0), (2, len(batches) // 2)]
        expected = [read(batches, epoch, start) for epoch, start in passes]
        assert multiprocessing.active_children() == []
        with decoding_processes():
            found = [read(batches, epoch, start) for epoch, start in passes]
            assert len(multiprocessing.active_children()) == 2
        assert multiprocessing.active_children() == []
        for ours, theirs in zip(found, expected, strict=True):
            assert_same(ours, theirs)
    assert capfd.readouterr() == ("", "")


def by_threads(paths: list[str], epoch: int) -> list[tuple[Tensor, Tensor]]:
    return read(batches_of(paths), epoch)  # outside of any block


def test_a_pass_that_is_abandoned_leaves_nothing_to_the_next(paths: list[str]) -> None:
    expected = [by_threads(paths, epoch) for epoch in range(3)]
    batches = batches_of(paths)
    with decoding_processes():
        for taken in range(3):
            with closing(batches.iterate(None, 0, epoch=8)) as begun:
                for _ in range(taken):
                    next(begun)
            assert_same(read(batches, taken), expected[taken])
            assert len(multiprocessing.active_children()) == 2


def test_two_passes_at_once_and_two_splits(paths: list[str]) -> None:
    one, other = batches_of(paths), batches_of(paths, batch_size=5, crop=None)
    expected = [list(one.iterate()), list(other.iterate())]
    with decoding_processes():
        twice = list(zip(one.iterate(), one.iterate(), other.iterate(), strict=False))
        assert len(multiprocessing.active_children()) == 4
    first, second, third = (list(found) for found in zip(*twice, strict=True))
    assert_same(first, expected[0])
    assert_same(second, expected[0])
    assert_same(third, expected[1][: len(third)])


@pytest.mark.slow
def test_the_processes_of_an_inner_block_end_with_it(paths: list[str]) -> None:
    outer, inner = batches_of(paths), batches_of(paths)
    with decoding_processes():
        read(outer)
        with decoding_processes():
            read(inner)
            assert len(multiprocessing.active_children()) == 4
        assert len(multiprocessing.active_children()) == 2
        assert_same(read(outer, 1), by_threads(paths, 1))


def test_what_must_be_fetched_is_read_by_threads(
    paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = by_threads(paths, 0)
    monkeypatch.setattr(Files, "local", False)
    with decoding_processes():
        assert_same(read(batches_of(paths)), expected)
        assert multiprocessing.active_children() == []


def test_a_bad_file_is_told_as_threads_tell_it(paths: list[str], tmp_path: Path) -> None:
    own = [str(tmp_path / Path(path).name) for path in paths]
    for old, new in zip(paths, own, strict=True):
        Path(new).write_bytes(Path(old).read_bytes())
    Path(own[5]).write_bytes(Path(own[5]).read_bytes()[:300])
    with pytest.raises(BadImageError) as by_thread:
        read(batches_of(own))
    with decoding_processes(), pytest.raises(BadImageError) as by_process:
        read(batches_of(own))
    assert str(by_process.value) == str(by_thread.value)
    assert by_process.value.files == by_thread.value.files
    assert "05.jpg: damaged" in str(by_process.value)


def test_where_a_process_was_killed_threads_go_on(
    paths: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    batches = batches_of(paths)
    expected = [by_threads(paths, epoch) for epoch in range(2)]
    order = torch.randperm(batches.samples, generator=torch.Generator().manual_seed(0))
    with decoding_processes():
        handler = signal.getsignal(signal.SIGCHLD)
        begun = batches.iterate(order, 0, 0)
        found = [next(begun)]
        for process in multiprocessing.active_children():
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
        found += begun
        assert_same(found, expected[0])
        assert_same(read(batches, 1), expected[1])
        assert multiprocessing.active_children() == []
        assert signal.getsignal(signal.SIGCHLD) == handler
    assert capfd.readouterr().err.startswith("images are decoded by threads from here on: ")


# The loader stumbles over itself where its second process can't be had.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("possible", [0, 1])
def test_where_no_process_can_be_started_threads_decode(
    paths: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    possible: int,
) -> None:
    fork, forks = os.fork, itertools.count()

    def fork_or_refuse() -> int:
        if next(forks) == possible:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    expected = by_threads(paths, 0)
    with decoding_processes():
        monkeypatch.setattr(os, "fork", fork_or_refuse)
        assert_same(read(batches_of(paths)), expected)
        assert multiprocessing.active_children() == []
    assert "Resource temporarily unavailable" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_for_the_parent(paths: list[str], number: int) -> None:
    batches = batches_of(paths)
    expected = by_threads(paths, 1)
    with decoding_processes():
        read(batches)
        for process in multiprocessing.active_children():
            assert process.pid
            os.kill(process.pid, number)
        assert_same(read(batches, 1), expected)
        assert len(multiprocessing.active_children()) == 2


def test_the_processes_end_with_a_parent_that_is_killed(paths: list[str]) -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if not parent:
        try:
            with decoding_processes():
                begun = batches_of(paths).iterate()
                next(begun)
                os.write(writing, b"%d" % len(multiprocessing.active_children()))
                signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    assert os.read(reading, 9) == b"2"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert os.read(reading, 9) == b""  # the end, which comes when no process has the pipe open
    os.close(reading)


GPU = torch.device("cuda")
IMAGE = 3 * 224 * 224


@pytest.fixture
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_plan, "PIECE", 32)
    monkeypatch.setattr(decoding_plan, "cores", lambda: 16)
    monkeypatch.setattr(decoding_plan, "_room", lambda: 2**33)


@pytest.mark.usefixtures("large_machine")
@pytest.mark.parametrize(
    ("samples", "batch", "threads", "expected"),
    [
        (10**6, 256, 16, Plan(14, 2)),
        (10**6, 1024, 16, Plan(14, 5)),
        (10**6, 256, 8, Plan(8, 2)),
        (10**6, 256, 3, None),
        (200, 64, 16, Plan(7, 2)),
        (90, 64, 16, None),
    ],
)
def test_how_many_processes_decode(
    samples: int, batch: int, threads: int, expected: Plan | None
) -> None:
    assert plan(GPU, samples, batch, IMAGE, threads) == expected
    assert plan(CPU, samples, batch, IMAGE, threads) is None


@pytest.mark.usefixtures("large_machine")
def test_processes_need_cores_and_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def planned() -> Plan | None:
        return plan(GPU, 10**6, 1024, IMAGE, 64)

    for cores, expected in ((5, None), (6, Plan(4, 16)), (64, Plan(62, 2))):
        monkeypatch.setattr(decoding_plan, "cores", lambda cores=cores: cores)
        assert planned() == expected
    # Two processes of one run share the machine.
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert planned() == Plan(30, 3)
    for room in (0, 2**26, 2**28, 2**30):
        monkeypatch.setattr(decoding_plan, "_room", lambda room=room: room)
        found = planned()
        assert (found is None) == (room <= 2**26)
        if found:
            in_flight = math.prod(found) * 32 * IMAGE * 2
            assert room / 2 < in_flight <= room
