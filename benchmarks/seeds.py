"""The cost of N seeds together, relative to one seed, compared with N seeds in turn.

    python -m benchmarks.seeds [--seeds 1,4,8] [--threads 2] [--rounds 3] [--json F]

Timed are epochs of the training loop, validation included, in turn and round after round; printed
are medians. Processes of their own would add the seconds of importing torch for each seed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

# As the `cnnrun` command sets it; before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch

from cnnrun.config.experiment import from_dict
from cnnrun.engine.build import build
from cnnrun.engine.many_seeds import Seeds
from cnnrun.engine.trainer import Trainer
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.device import select_device
from cnnrun.runtime.interrupt import StopRequest
from cnnrun.runtime.training_display import Quiet

MNIST_SIZE = {"name": "fake", "height": 28, "width": 28, "rgb": False, "count": 2000}
DIGITS = {"name": "digits", "validation": 0.1}
WORKLOADS = {
    "MLP 784-512-512-10, batch 20": {
        "dataset": {**MNIST_SIZE, "batch_size": 20},
        "model": {"name": "mlp", "hidden": [512, 512], "dropout": 0.2},
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
    },
    "MLP 64-32-10 on digits, batch 20": {
        "dataset": {**DIGITS, "batch_size": 20},
        "model": {"name": "mlp", "hidden": [32]},
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
    },
    "CNN 32-64 on digits, batch 32": {
        "dataset": {**DIGITS, "batch_size": 32},
        "model": {"name": "cnn", "pooling": ["none", "max"], "batch_norm": True, "head": [128]},
        "optimizer": {"name": "adam", "lr": 0.001},
    },
}


def trainers(name: str, seeds: int, folder: Path) -> list[Trainer]:
    """A trainer for each seed, in a run directory of its own."""
    found = []
    for seed in range(seeds):
        values = {"name": "seeds", "loss": "cross_entropy", "training": {"epochs": 1}}
        experiment = from_dict({**values, **WORKLOADS[name], "seed": seed}, "benchmark")
        run = RunDirectory.create(folder, "seeds")
        found.append(Trainer(build(experiment), run, StopRequest()))
    return found


def one_by_one(name: str, seeds: int, folder: Path) -> float:
    """Seconds of an epoch of every seed, one after the other."""
    those = trainers(name, seeds, folder)
    started = time.perf_counter()
    for trainer in those:
        trainer.fit(Quiet())
    return time.perf_counter() - started


def together(name: str, seeds: int, folder: Path) -> float:
    """Seconds of an epoch of all seeds at once."""
    those = Seeds(trainers(name, seeds, folder), StopRequest(), select_device("auto"))
    started = time.perf_counter()
    those.fit(Quiet())
    return time.perf_counter() - started


def compare(name: str, count: int, rounds: int) -> tuple[float, float]:
    """What `count` seeds take, one by one and together, in times of one seed."""
    times = []
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            one = one_by_one(name, 1, Path(folder))
            apart, joint = (
                measure(name, count, Path(folder)) for measure in (one_by_one, together)
            )
        times.append((apart / one, joint / one))
    apart, joint = (statistics.median(ratios) for ratios in zip(*times[1:], strict=True))
    return apart, joint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1,4,8")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    print(f"{'in times of one seed':34}  seeds  one by one  together   gain")
    for name in WORKLOADS:
        for count in map(int, arguments.seeds.split(",")):
            apart, joint = compare(name, count, arguments.rounds)
            rows.append({"workload": name, "seeds": count, "one_by_one": apart, "together": joint})
            print(f"{name:34}  {count:5}  {apart:10.2f}  {joint:8.2f}  {apart / joint:5.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
