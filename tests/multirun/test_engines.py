"""Sweeps and studies on Ray and Slurm: the same runs as here, also where machines are lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnrun.config.document import read
from cnnrun.errors import ConfigError
from cnnrun.multirun.launcher import remote as remote_module
from cnnrun.multirun.launcher.engine import Place
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.on_ray import runs_at_once
from cnnrun.multirun.launcher.remote import Ended, Remote, brought_back
from tests.chaos.runs import assert_equal
from tests.conftest import HANGS, Command, stand_in
from tests.multirun import fake_slurm

BASE = """\
name: b
dataset: {name: digits, batch_size: 16}
model: {name: cnn, channels: [8, 16], batch_norm: true}
optimizer: {name: sgd, lr: 0.1}
device: cpu
training: {epochs: EPOCHS, draw: false}
"""
# The same threads everywhere: sums in another order differ in their last bit.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def sweep(folder: Path, lrs: list[float], seeds: int, epochs: int = 6) -> Path:
    (folder / "base.yaml").write_text(BASE.replace("EPOCHS", str(epochs)))
    file = folder / "mine.yaml"
    file.write_text(f"base: base.yaml\ngrid: {{optimizer.lr: {lrs}}}\nseeds: {seeds}\n")
    return file


INSTALLED = (sys.executable, "-m", "cnnrun")


def began(
    folder: Path, *arguments: str, command: tuple[str, ...] = INSTALLED, **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, "sweep", "mine.yaml", *arguments],
        cwd=folder,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def runs_below(folder: Path) -> dict[tuple[Any, Any], Path]:
    """Run directories by learning rate and seed; each is there once."""
    found = [json.loads(file.read_text()) for file in folder.glob("runs/b/*/summary.json")]
    paths = [file.parent for file in folder.glob("runs/b/*/summary.json")]
    assert len(found) == len(list(folder.glob("runs/b/*/config.yaml"))), "a run was left behind"
    keys = []
    for path in paths:
        values = read(path / "config.yaml").values
        keys.append((values["optimizer"]["lr"], values["seed"]))
    assert max(Counter(keys).values()) == 1
    return dict(zip(keys, paths, strict=True))


def assert_same_runs(ours: Path, expected: Path, count: int, epochs: int = 6) -> None:
    """To the bit, and each epoch of each was trained to its end once."""
    found, wanted = runs_below(ours), runs_below(expected)
    assert found.keys() == wanted.keys()
    assert len(found) == count
    for key, run in found.items():
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == list(range(1, epochs + 1))
        log, other = ((r / "metrics.jsonl").read_bytes() for r in (run, wanted[key]))
        assert log == other, key
        for name in ("last", "best"):
            weights, others = (
                torch.load(r / "checkpoints" / f"{name}.pt", weights_only=True)["model"]
                for r in (run, wanted[key])
            )
            assert_equal(weights, others, f"{key} {name}")


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)


def descendants(parent: int) -> set[int]:
    """Processes that `parent` started, theirs included (Linux)."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {parent}
    while more := {pid for pid, of in parents.items() if of in found} - found:
        found |= more
    return found


def trainings(among: set[int]) -> set[int]:
    found = set()
    for pid in among:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"cnnrun" in words and b"train" in words:
            found.add(pid)
    return found


# Ray ---------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of two nodes on this machine."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'cnnrun[ray]'")
    # Ray gives a client's server 30 s to start, too little on a busy machine.
    monkeypatch.setenv("RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S", "300")
    from ray.cluster_utils import Cluster

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = {"num_cpus": 2, "num_gpus": 1, "memory": 4 * 10**9, "ray_client_server_port": port}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.client = f"ray://127.0.0.1:{port}"
    made.second = made.add_node(num_cpus=2, memory=4 * 10**9)
    yield made
    made.shutdown()


@pytest.mark.slow
def test_a_sweep_survives_the_loss_of_a_node(cluster: Any, tmp_path: Path) -> None:
    sweep(tmp_path, [0.05, 0.1, 0.2, 0.3], 3)
    process = began(tmp_path, "--on", "ray", "output=ray", RAY_ADDRESS=cluster.address)
    folder = tmp_path / "ray" / "mine"
    raylet = cluster.second.all_processes["raylet"][0].process.pid
    lost: set[int] = set()

    def in_the_middle() -> bool:
        lost.clear()
        lost.update(trainings(descendants(raylet)))
        begun = list(folder.glob("runs/b/*/checkpoints/last.pt"))
        return bool(lost) and len(begun) >= 4

    wait_until(in_the_middle, process)
    cluster.remove_node(cluster.second, allow_graceful=False)
    assert lost
    out, err = process.communicate(timeout=HANGS)
    assert process.returncode == 0, err
    assert out.count("finished") == 4
    assert not trainings(lost)
    local = began(tmp_path, "output=local", "--workers", "2")
    assert local.wait(HANGS) == 0
    assert_same_runs(folder, tmp_path / "local" / "mine", 12)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["address", "client"])
def test_a_sweep_on_ray_that_is_stopped_saves_its_runs_and_goes_on(
    cluster: Any, tmp_path: Path, by: str
) -> None:
    sweep(tmp_path, [0.1], 2)
    on = cluster.client if by == "client" else "ray"
    process = began(tmp_path, "--on", on, "output=ray", RAY_ADDRESS=cluster.address)
    folder = tmp_path / "ray" / "mine"
    wait_until(lambda: list(folder.glob("runs/b/*/checkpoints/last.pt")), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANGS)
    assert process.returncode == 130, err
    assert "the runs under way are saved" in err
    again = began(tmp_path, "--on", on, "output=ray", RAY_ADDRESS=cluster.address)
    _, err = again.communicate(timeout=HANGS)
    assert again.returncode == 0, err
    local = began(tmp_path, "output=local")
    assert local.wait(HANGS) == 0
    assert_same_runs(folder, tmp_path / "local" / "mine", 2)


# Says which GPU its run sees, and waits until as many runs as are to share one are there.
TOGETHER = """\
import os, sys, time
from pathlib import Path

if "train" in sys.argv:
    folder = Path(os.environ["SEEN"])
    (folder / str(os.getpid())).write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.1)
"""


@pytest.mark.slow
def test_runs_share_a_gpu_or_see_none(cluster: Any, tmp_path: Path) -> None:
    """Ray hands out what a node says that it has; the runs train on the CPU all the same."""
    sweep(tmp_path, [0.1, 0.2], 1, epochs=1)
    for gpus, seen in (("0.5", "0"), ("0", "")):
        folder = tmp_path / f"seen{gpus}"
        folder.mkdir()
        plugin = tmp_path / f"together{gpus.replace('.', '')}.py"
        plugin.write_text(TOGETHER.replace('os.environ["SEEN"]', repr(str(folder))))
        options = "--cpus", "0.5", "--gpus", gpus, "--plugin", str(plugin)
        process = began(
            tmp_path, "--on", "ray", *options, f"output=o{gpus}", RAY_ADDRESS=cluster.address
        )
        _, err = process.communicate(timeout=HANGS)
        assert process.returncode == 0, err
        assert [file.read_text() for file in folder.iterdir()] == [seen, seen]
    lacks = began(tmp_path, "--on", "ray", "--memory", "6", RAY_ADDRESS=cluster.address)
    _, err = lacks.communicate(timeout=HANGS)
    assert lacks.returncode == 1
    assert "a run asks for 1 CPU, 6 GB of memory" in err
    assert "that much (2 CPU, 1 GPU, 4 GB of memory; 2 CPU, 4 GB of memory)" in err


# Slurm -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_slurm_trains_an_array_and_a_job_that_is_preempted_goes_on(
    quick_path: Path, tmp_path: Path
) -> None:
    pytest.importorskip("submitit", reason="needs submitit: pip install 'cnnrun[slurm]'")
    slurm = tmp_path / "slurm"
    fake_slurm.install(slurm)
    sweep(tmp_path, [0.1, 0.2], 1, epochs=60)
    path = f"{slurm}{os.pathsep}{os.environ['PATH']}"
    options = ("--time", "30", "--cpus", "1", "--slurm", "partition=gpu")
    quick = (str(quick_path / "cnnrun"),)
    slurmed = ("--on", "slurm", *options, "output=slurmed")
    process = began(tmp_path, *slurmed, command=quick, PATH=path)
    folder = tmp_path / "slurmed" / "mine"
    in_the_middle: list[str] = []

    def found() -> bool:
        """A job whose run has trained some epochs, and has most of them before it."""
        logs = folder.glob("runs/b/*/metrics.jsonl")
        begun = [log.parent for log in logs if len(log.read_bytes().splitlines()) < 30]
        settings = [read(run / "config.yaml").values for run in begun]
        wanted = [(f"optimizer.lr={s['optimizer']['lr']}", f"seed={s['seed']}") for s in settings]
        for file in slurm.glob("*.pid"):
            for pid in trainings(descendants(int(file.read_text()))):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if any(set(pair) <= set(words) for pair in wanted):
                    in_the_middle.append(file.stem)
                    return True
        return False

    wait_until(found, process)
    # What Slurm sends before a job's time is up, and when it is preempted.
    scancel = [str(slurm / "scancel"), in_the_middle[0], "--signal", "SIGUSR2"]
    subprocess.run(scancel, check=True)
    _, err = process.communicate(timeout=HANGS)
    assert process.returncode == 0, err
    script = (slurm / "100.sh").read_text()
    for line in ("--array=0-1%2", "--time=30", "--cpus-per-task=1", "--partition=gpu"):
        assert f"#SBATCH {line}" in script
    begun = Counter((slurm / "begun").read_text().split())
    assert begun == {f"100_{task}": 1 for task in range(2)} | {in_the_middle[0]: 2}
    local = began(tmp_path, "output=local", command=quick)
    assert local.wait(HANGS) == 0
    assert_same_runs(folder, tmp_path / "local" / "mine", 2, epochs=60)


# What is said and sent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "told"),
    [({"on": "mesos"}, "local, ray, ray://HOST:PORT or slurm"),
     ({"on": "slurm://a"}, "--on slurm://a"),
     ({"gpus": 1.0}, "--gpus: only works with --on ray or --on slurm"),
     ({"on": "ray", "gpus": 2.0}, "--gpus 2: a run trains on one GPU"),
     ({"on": "slurm", "gpus": 1.5}, "--gpus 1.5: a run trains on one GPU"),
     ({"on": "slurm", "gpus": 0.5}, "--gpus 0.5: Slurm allocates whole GPUs; fractions of one"),
     ({"on": "ray", "minutes": 3}, "--time: only works with --on slurm"),
     ({"on": "ray", "slurm": ("a=b",)}, "--slurm: only works with --on slurm")],
)  # fmt: skip
def test_places_that_there_are_not_are_refused(place: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Place(**place)


@pytest.mark.parametrize("on", ["ray", "ray://head:10001", "slurm"])
def test_a_device_that_runs_elsewhere_do_not_have_is_refused(on: str) -> None:
    with pytest.raises(ConfigError, match="a run sees only its own GPU; write device: cuda"):
        Place(on).check_device("cuda:1")
    with pytest.raises(ConfigError, match="--gpus 0: the experiment says device: cuda"):
        Place(on, gpus=0.0).check_device("cuda")
    for device in ("auto", "cpu", "cuda"):
        Place(on).check_device(device)
    Place(on, gpus=0.0).check_device("auto")
    Place().check_device("cuda:1")


@pytest.mark.parametrize(
    ("node", "wanted", "count"),
    [
        ({"CPU": 8.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.5}, 2),
        ({"CPU": 8.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.1}, 8),
        ({"CPU": 8.0, "memory": 4e9}, {"CPU": 1.0, "GPU": 0.0, "memory": 3e9}, 1),
        ({"CPU": 1.0}, {"CPU": 2.0}, 0),
        ({"CPU": 8.0}, {"CPU": 1.0, "GPU": 0.5}, 0),
        ({"CPU": 0.3}, {"CPU": 0.1}, 3),
    ],
)
def test_a_run_fits_on_one_node_or_not_at_all(
    node: dict[str, float], wanted: dict[str, float], count: int
) -> None:
    assert runs_at_once(node, wanted) == count


@pytest.mark.parametrize(
    ("package", "on", "extra"), [("ray", "ray", "ray"), ("submitit", "slurm", "slurm")]
)
def test_a_package_that_is_not_installed_is_told(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch, package: str, on: str, extra: str
) -> None:
    sweep(Path.cwd(), [0.1], 1)
    monkeypatch.setitem(sys.modules, package, None)
    ended = cnnrun("sweep", "mine.yaml", "--on", on)
    assert ended.code == 1
    assert f"pip install 'cnnrun[{extra}]'" in ended.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "--on slurm: this machine has no `srun` and `sbatch`"),
        (("--slurm", "gpu"), "--slurm gpu: write OPTION=VALUE, as in --slurm partition=gpu"),
    ],
)
def test_what_slurm_lacks_is_told(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], told: str
) -> None:
    sweep(Path.cwd(), [0.1], 1)
    monkeypatch.setenv("PATH", "")
    ended = cnnrun("sweep", "mine.yaml", "--on", "slurm", *options)
    assert ended.code in (1, 2)
    assert told in ended.err


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "mine.py").write_text("")
    mark = tmp_path / ".shared"
    mark.write_text("here")
    files = (str(tmp_path / "mine.py"),)
    job = Job(tmp_path / "base.yaml", (), tmp_path / "runs", "key", 0, 3, plugins=files)
    return Remote.of(job, job.arguments(), mark, 1.0)


def test_a_machine_without_the_disk_gets_files_and_sends_its_run_back(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the command would, a run directory is made below the output that it was told."""

    def train(self: Remote, arguments: list[str], folder: str) -> Ended:
        config, plugin = arguments[1], next(a for a in arguments if a.startswith("--plugin="))
        assert Path(config).read_text() == BASE
        assert Path(plugin.partition("=")[2]).is_file()
        assert not config.startswith(str(tmp_path))
        assert "--resume-or-start" in arguments
        run = Path(folder, "out", "b", "one")
        run.mkdir(parents=True)
        (run / "summary.json").write_text(folder)
        assert self.here != folder
        return Ended(0, "out/b/one\n", "")

    monkeypatch.setattr(Remote, "_run", train)
    Path(remote.mark).write_text("another machine's")
    ended = brought_back(remote.train(), tmp_path / "runs")
    assert ended.printed == str(tmp_path / "runs" / "b" / "one")
    assert (tmp_path / "runs" / "b" / "one" / "summary.json").is_file()
    assert not Path((tmp_path / "runs" / "b" / "one" / "summary.json").read_text()).exists()


def test_where_the_disk_is_shared_a_try_waits_for_the_one_before(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def train(self: Remote, arguments: list[str], folder: str) -> Ended:
        assert (arguments, folder) == (self.arguments, self.here)
        tries.append(folder)
        taken = len(tries) < 3
        return Ended(int(taken), "", "error: another process is training x" if taken else "")

    monkeypatch.setattr(Remote, "_run", train)
    monkeypatch.setattr(remote_module, "time", stand_in(time, sleep=lambda _: None))
    assert remote.train() == Ended(0, "", "")
    assert len(tries) == 3
