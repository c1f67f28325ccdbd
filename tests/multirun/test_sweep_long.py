"""Whole sweeps with real training: killed and continued, shared by processes and machines."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnnrun.config.experiment import load
from cnnrun.config.identity import key_of
from tests.conftest import HANGS
from tests.postgres import postgres_server
from tests.sweeping import trials_of

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]

SEARCHES = {
    "grid": "grid: {optimizer.lr: [0.1, 0.01], model.hidden: [[8], [16]]}",
    "random": "random: {trials: 4, space: {optimizer.lr: {log_uniform: [0.001, 1.0]},"
    " model.dropout: {uniform: [0.0, 0.5]}, dataset.batch_size: {int: [16, 64]}}}",
    "optuna": "optuna: {trials: 4, space: {optimizer.lr: {log_uniform: [0.001, 1.0]},"
    " model.hidden: [[8], [16]]}}",
}


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    values = yaml.safe_load(tiny.read_text())
    values["dataset"]["limit"] = 300
    values["training"]["epochs"] = 1
    tiny.write_text(yaml.safe_dump(values))
    return tmp_path


@pytest.fixture
def started(folder: Path, quick_path: Path) -> Start:
    """`started(*arguments)`: `cnnrun` in the folder, or in another; its runs start at once, too."""

    def start(*arguments: str, within: Path = folder) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(quick_path / "cnnrun"), *arguments],
            cwd=within,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def output_of(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=HANGS)
    assert process.returncode == 0, error
    return out


def finished(folder: Path) -> list[Path]:
    return list(folder.rglob("summary.json"))


def assert_all_present_once(trials: list[dict[str, Any]], folders: list[Path]) -> None:
    assert sorted(trial["trial"] for trial in trials) == list(range(4))
    assert {trial["state"] for trial in trials} == {"finished"}
    assert all(sorted(trial["scores"]) == ["0", "1"] for trial in trials)
    runs = [run for folder in folders for run in folder.rglob("runs/*/*/config.yaml")]
    assert len(runs) == 8
    assert len({key_of(load(run).to_dict()) for run in runs}) == 8
    means = [trial["mean"] for trial in trials]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize("kind", SEARCHES)
def test_four_trials_of_two_seeds_killed_on_the_way_and_continued(
    folder: Path, started: Start, kind: str
) -> None:
    (folder / "sweep.yaml").write_text(f"base: tiny.yaml\n{SEARCHES[kind]}\nseeds: 2\nworkers: 2\n")
    killed = started("sweep", "sweep.yaml")
    while len(finished(folder)) < 2:
        assert killed.poll() is None
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert len(finished(folder)) < 8
    trials = trials_of(output_of(started("sweep", "sweep.yaml", "--json")))
    assert_all_present_once(trials, [folder])
    best = trials[0]
    repeated = started(*shlex.split(best["command"])[1:], "output=again", "-q")
    again = folder / output_of(repeated).strip() / "metrics.jsonl"
    assert again.read_bytes() == (folder / best["runs"]["0"] / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("kind", ["random", "optuna"])
def test_two_join_a_sweep_in_an_sqlite_file(folder: Path, started: Start, kind: str) -> None:
    (folder / "sweep.yaml").write_text(f"base: tiny.yaml\n{SEARCHES[kind]}\nseeds: 2\n")
    starter = started("sweep", "sweep.yaml", "--json")
    while not (folder / "sweeps/sweep/sweep.db").exists():
        time.sleep(0.1)
    joined = [started("sweep", "--join", "sweeps/sweep") for _ in range(2)]
    for process in joined:
        output_of(process)
    assert_all_present_once(trials_of(output_of(starter)), [folder])


@pytest.mark.parametrize("kind", ["grid", "optuna"])
def test_two_machines_join_a_sweep_in_postgresql(folder: Path, started: Start, kind: str) -> None:
    machines = [folder / "first", folder / "second"]
    for machine in machines:
        machine.mkdir()
    with postgres_server() as url:
        (folder / "sweep.yaml").write_text(
            f"base: tiny.yaml\n{SEARCHES[kind]}\nseeds: 2\nstorage: {url}\n"
        )
        starter = started("sweep", "../sweep.yaml", "--json", within=machines[0])
        while not finished(machines[0]):
            assert starter.poll() is None
            time.sleep(0.1)
        joined = started("sweep", "--join", url, within=machines[1])
        output_of(joined)
        trials = trials_of(output_of(starter))
    assert_all_present_once(trials, machines)
    assert all(finished(machine) for machine in machines)
