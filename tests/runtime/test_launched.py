"""What an environment says of many processes: taken, done by the first one, or told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cnnrun.errors import ConfigError, UserError
from cnnrun.runtime.launched import World, world
from tests.conftest import Command

LEFT_OVER = {"RANK": "1", "WORLD_SIZE": "2"}
VARIABLES = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"),
    *("SLURM_NTASKS", "SLURM_PROCID", "PMI_SIZE", "PMI_RANK"),
    *("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
)


@pytest.fixture
def set_(monkeypatch: pytest.MonkeyPatch) -> object:
    """`set_({...})`: these variables, and no others of the kind."""

    def change(values: Mapping[str, str]) -> None:
        for name in VARIABLES:
            monkeypatch.setenv(name, "")  # so that what the command takes away comes back
            monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return change


def test_world(set_) -> None:  # type: ignore[no-untyped-def]
    set_({})
    assert world() == World()
    set_({"RANK": "3"})
    assert world() == World()
    set_({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    assert world() == World(1, 4, 1)
    for rank, size in [("a", "2"), ("0", ""), ("2", "2"), ("-1", "2"), ("0", "0")]:
        set_({"RANK": rank, "WORLD_SIZE": size})
        with pytest.raises(ConfigError, match="unset RANK WORLD_SIZE"):
            world()


COMMANDS = [
    *(["check", "tiny.yaml"], ["lr-find", "tiny.yaml"], ["describe", "tiny.yaml"]),
    *(["data", "tiny.yaml"], ["list", "models"], ["crossval", "tiny.yaml", "--dry-run"]),
]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("left_over", [LEFT_OVER, {"RANK": "x", "WORLD_SIZE": "2"}], ids=str)
def test_commands_of_one_process_do_not_mind_what_is_left_over(  # type: ignore[no-untyped-def]
    cnnrun: Command, set_, command: list[str], left_over: dict[str, str]
) -> None:
    set_({})
    plain = cnnrun(*command)
    set_(left_over)
    ended = cnnrun(*command)
    assert (ended.code, plain.code) == (0, 0), ended.err
    assert len(ended.out.splitlines()) == len(plain.out.splitlines()) > 0


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_under_torchrun_the_first_process_does_them(  # type: ignore[no-untyped-def]
    cnnrun: Command, set_, command: list[str]
) -> None:
    for rank in "01":
        set_({"RANK": rank, "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"})
        ended = cnnrun(*command)
        assert ended.code == 0, ended.err
        assert bool(ended.out) == (rank == "0")
        assert ("done by the first of 2" in ended.err) == (rank == "0")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (LEFT_OVER, "process 1 of 2, but MASTER_ADDR and MASTER_PORT, where they meet"),
        ({**LEFT_OVER, "MASTER_ADDR": "h"}, "but MASTER_PORT, where they meet, is not set"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "are not a process of a number of processes"),
    ],
)
def test_training_says_what_is_left_over(  # type: ignore[no-untyped-def]
    cnnrun: Command, set_, tiny: Path, values: dict[str, str], told: str
) -> None:
    set_(values)
    ended = cnnrun("train", tiny)
    assert ended.code == 2
    assert told in ended.err
    assert "unset RANK WORLD_SIZE" in ended.err
    assert ended.err.count("\n") == 1
    assert not Path("runs").exists()


def test_evaluation_from_python_is_one_process_s_work(  # type: ignore[no-untyped-def]
    cnnrun: Command, set_, tiny: Path
) -> None:
    import cnnrun as library

    set_({})
    run = cnnrun("train", tiny, "-q", "training={epochs: 1, draw: false}").out.strip()
    expected = library.evaluate(run)
    set_(LEFT_OVER)
    assert library.evaluate(run) == expected


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, True),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, False),  # once is enough
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, False),
        ({"SLURM_NTASKS": "2", "WORLD_SIZE": "1", "RANK": "0"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}, True),
        ({"PMI_SIZE": "4", "PMI_RANK": "0"}, True),
    ],
)
def test_copies_of_a_command_are_told(  # type: ignore[no-untyped-def]
    cnnrun: Command, set_, tiny: Path, values: dict[str, str], told: bool
) -> None:
    set_(values)
    ended = cnnrun("train", tiny, "-q", "training={epochs: 1, draw: false}")
    assert ended.code == 0
    assert ("tasks trains a run of its own" in ended.err) == told


@pytest.mark.parametrize(
    ("name", "rank", "index"),
    [("cuda", "0", 0), ("cuda", "3", 1), ("auto", "1", 1), ("cuda", "", 0)],
)
def test_each_process_of_a_machine_has_a_gpu_of_its_own(
    set_: Callable[[Mapping[str, str]], None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    rank: str,
    index: int,
) -> None:
    import torch

    from cnnrun.runtime.device import select_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    set_({"RANK": rank, "WORLD_SIZE": "4", "LOCAL_RANK": rank} if rank else {})
    assert select_device(name) == torch.device("cuda", index)


def test_processes_that_would_share_a_gpu_are_refused(
    set_: Callable[[Mapping[str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from cnnrun.runtime.device import select_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    set_({})
    assert select_device("cuda:1") == torch.device("cuda", 1)
    set_({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"})
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="device cuda:1: 2 processes can't share one GPU"):
        select_device("cuda:1")
