"""Seconds from starting a command to an accuracy on MNIST's test digits, against other tools.

    python -m benchmarks.time_to_accuracy ROOT [--seeds 3] [--json FILE]

ROOT: the folder of `MNIST/raw`. All train the same network in batches of 64 for as many epochs, see
`mnist_contestants.py`, all in turn, seed after seed. The others' clock stops when they print, after
an epoch, that the accuracy is reached; that of cnnrun only when its command has ended, with its run
directory and checkpoints written. Tools that are not installed are left out.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "records" / "mnist_fast.yaml"
# The accuracy, and the epochs and network that reach it.
GOALS: list[tuple[float, int, list[int]]] = [(0.97, 2, [8, 16]), (0.985, 7, [16, 32, 64])]
OTHERS = {"tutorial": "torchvision", "lightning": "lightning", "keras": "keras", "fastai": "fastai"}


def unpacked(root: Path, folder: Path) -> Path:
    """A root with uncompressed files, as torchvision reads them."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (root / "MNIST" / "raw").glob("*-ubyte*"):
        with (gzip.open if file.suffix == ".gz" else open)(file, "rb") as packed:
            (raw / file.name.removesuffix(".gz")).write_bytes(packed.read())
    return folder


def of_cnnrun(root: Path, goal: tuple[float, int, list[int]], seed: int) -> dict[str, Any]:
    """One run: seconds by the clock and of CPU until the command has ended, and its accuracy."""
    _, epochs, channels = goal
    with tempfile.TemporaryDirectory() as runs:
        keys = [f"dataset.root={root}", f"seed={seed}", f"output={runs}", "--json"]
        keys += [f"training.epochs={epochs}", f"model.channels={channels}", "device=cpu"]
        command = [sys.executable, "-m", "cnnrun", "train", str(CONFIG), *keys]
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    seconds = time.perf_counter() - started
    accuracy = json.loads(printed)["test"]["accuracy"]
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "accuracy": accuracy}


def of_other(
    tool: str, root: Path, goal: tuple[float, int, list[int]], seed: int
) -> dict[str, Any]:
    """The same, but until the accuracy is reached, or the end where it is not."""
    wanted, epochs, channels = goal
    numbers = map(str, (epochs, seed, *channels))
    command = [sys.executable, str(HERE / "mnist_contestants.py"), tool, str(root), *numbers]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout
    seconds, accuracy = 0.0, 0.0
    for line in process.stdout:
        if line.startswith("accuracy ") and accuracy < wanted:
            accuracy, seconds = float(line.split()[1]), time.perf_counter() - started
    assert process.stderr
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: {said}")
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "accuracy": accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("root", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--goals", type=int, default=len(GOALS), help="only the first so many")
    options = parser.parse_args()
    tools = [tool for tool, package in OTHERS.items() if importlib.util.find_spec(package)]
    figures: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = unpacked(options.root, Path(folder))
        for goal in GOALS[: options.goals]:
            found: dict[str, list[dict[str, Any]]] = {tool: [] for tool in ("cnnrun", *tools)}
            for seed in range(options.seeds):
                found["cnnrun"].append(of_cnnrun(root, goal, seed))
                for tool in tools:
                    found[tool].append(of_other(tool, root, goal, seed))
            _tell(goal, found)
            figures[f"{goal[0]:.1%}"] = found
            if options.json:
                options.json.write_text(json.dumps(figures, indent=2))
        shutil.rmtree(root / "MNIST")


def _tell(goal: tuple[float, int, list[int]], found: dict[str, list[dict[str, Any]]]) -> None:
    """Medians, the ratios of each seed's seconds to cnnrun's, and how often it was reached."""
    wanted, epochs, channels = goal
    print(f"{wanted:.1%}, {epochs} epochs, channels {channels}")
    print(f"{'':12}{'seconds':>9}{'CPU s':>8}{'x cnnrun':>10}{'reached':>9}  accuracy")
    for tool, runs in found.items():
        seconds, cpu = (statistics.median(run[key] for run in runs) for key in ("seconds", "cpu"))
        pairs = zip(runs, found["cnnrun"], strict=True)
        ratio = statistics.median(run["seconds"] / own["seconds"] for run, own in pairs)
        reached = sum(run["accuracy"] >= wanted for run in runs)
        scores = " ".join(f"{run['accuracy']:.2%}" for run in runs)
        print(f"{tool:12}{seconds:9.1f}{cpu:8.1f}{ratio:10.1f}{reached:5} / {len(runs)}  {scores}")


if __name__ == "__main__":
    main()
