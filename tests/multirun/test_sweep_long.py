"""Whole sweeps with real training: killed and continued, shared by processes and machines."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnnrun.config.experiment import load
from cnnrun.config.identity import key_of
from tests.postgres import postgres_server
from tests.sweeping import trials_of

pytestmark = pytest.mark.long

SEARCHES = {
    "grid": "grid: {optimizer.lr: [1.0, 0.3, 0.1, 0.01], model.hidden: [[8], [16]]}",
    "random": "random: {trials: 8, space: {optimizer.lr: {log_uniform: [0.001, 1.0]},"
    " model.dropout: {uniform: [0.0, 0.5]}, dataset.batch_size: {int: [16, 64]}}}",
    "optuna": "optuna: {trials: 8, space: {optimizer.lr: {log_uniform: [0.001, 1.0]},"
    " model.hidden: [[8], [16]]}}",
}


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    values = yaml.safe_load(tiny.read_text())
    values["dataset"]["limit"] = 300
    values["training"]["epochs"] = 1
    tiny.write_text(yaml.safe_dump(values))
    return tmp_path


def cnnrun(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cnnrun", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=900)
    assert process.returncode == 0, error
    return out


def finished(folder: Path) -> list[Path]:
    return list(folder.rglob("summary.json"))


def assert_all_present_once(trials: list[dict[str, Any]], folders: list[Path]) -> None:
    assert sorted(trial["trial"] for trial in trials) == list(range(8))
    assert {trial["state"] for trial in trials} == {"finished"}
    assert all(sorted(trial["scores"]) == ["0", "1", "2"] for trial in trials)
    runs = [run for folder in folders for run in folder.rglob("runs/*/*/config.yaml")]
    assert len(runs) == 24
    assert len({key_of(load(run).to_dict()) for run in runs}) == 24
    means = [trial["mean"] for trial in trials]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize("kind", SEARCHES)
def test_eight_trials_of_three_seeds_killed_half_way_and_continued(folder: Path, kind: str) -> None:
    (folder / "sweep.yaml").write_text(f"base: tiny.yaml\n{SEARCHES[kind]}\nseeds: 3\nworkers: 2\n")
    killed = cnnrun("sweep", "sweep.yaml", folder=folder)
    while len(finished(folder)) < 12:
        assert killed.poll() is None
        time.sleep(0.1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert len(finished(folder)) < 24
    trials = trials_of(output_of(cnnrun("sweep", "sweep.yaml", "--json", folder=folder)))
    assert_all_present_once(trials, [folder])
    best = trials[0]
    repeated = cnnrun(*shlex.split(best["command"])[1:], "output=again", "-q", folder=folder)
    again = folder / output_of(repeated).strip() / "metrics.jsonl"
    assert again.read_bytes() == (folder / best["runs"]["0"] / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("kind", ["random", "optuna"])
def test_two_join_a_sweep_in_an_sqlite_file(folder: Path, kind: str) -> None:
    (folder / "sweep.yaml").write_text(f"base: tiny.yaml\n{SEARCHES[kind]}\nseeds: 3\n")
    starter = cnnrun("sweep", "sweep.yaml", "--json", folder=folder)
    while not (folder / "sweeps/sweep/sweep.db").exists():
        time.sleep(0.1)
    joined = [cnnrun("sweep", "--join", "sweeps/sweep", folder=folder) for _ in range(2)]
    for process in joined:
        output_of(process)
    assert_all_present_once(trials_of(output_of(starter)), [folder])


@pytest.mark.parametrize("kind", ["grid", "optuna"])
def test_two_machines_join_a_sweep_in_postgresql(folder: Path, kind: str) -> None:
    machines = [folder / "first", folder / "second"]
    for machine in machines:
        machine.mkdir()
    with postgres_server() as url:
        (folder / "sweep.yaml").write_text(
            f"base: tiny.yaml\n{SEARCHES[kind]}\nseeds: 3\nstorage: {url}\n"
        )
        starter = cnnrun("sweep", "../sweep.yaml", "--json", folder=machines[0])
        while not finished(machines[0]):
            assert starter.poll() is None
            time.sleep(0.1)
        joined = cnnrun("sweep", "--join", url, folder=machines[1])
        output_of(joined)
        trials = trials_of(output_of(starter))
    assert_all_present_once(trials, machines)
    assert all(finished(machine) for machine in machines)
