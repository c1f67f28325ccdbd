"""Whole commands, from start to exit: seconds and peak memory, against a tutorial's script.

    python -m benchmarks.commands [--rounds 5]

Training one epoch on scikit-learn's digits shows what a run costs apart from its steps: the seconds
of the command, less those of `import torch` and of the epoch. The CIFAR-size CNN with augmentation
is trained for two epochs by `cnnrun train` and by `benchmarks/tutorial.py`. All are run in turn,
round after round; printed are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
DIGITS = [str(HERE.parent / "configs" / "digits_cnn.yaml"), "training.epochs=1"]
TRAIN = [sys.executable, "-m", "cnnrun", "train", "--json"]
CNN = """
dataset: {name: fake, count: 4096, validation: 0, batch_size: 128,
          augment: [{name: horizontal_flip}, {name: rotation, degrees: 10}]}
model: {name: cnn, channels: [32, 64, 128], batch_norm: true, head: [256]}
optimizer: {name: sgd, lr: 0.01, momentum: 0.9}
training: {epochs: 2, draw: false}
"""


def measured(command: list[str], images: int, folder: str) -> tuple[float, float, float]:
    """Seconds, peak MB, and the seconds of the steps where `command` prints a run's summary.

    images: that it trains on, over all epochs.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    steps = images / json.loads(printed)["images_per_second"] if images else 0.0
    return seconds, usage.ru_maxrss / 1024, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "cnn.yaml").write_text(CNN)
        commands = {
            "import torch": ([sys.executable, "-c", "import torch"], 0),
            "digits, 1 epoch, 4 plots": ([*TRAIN, *DIGITS], 1293),
            "digits, 1 epoch, no plots": ([*TRAIN, *DIGITS, "training.draw=false"], 1293),
            "CIFAR-size CNN, cnnrun": ([*TRAIN, "cnn.yaml"], 2 * 4096),
            "CIFAR-size CNN, tutorial": ([sys.executable, str(HERE / "tutorial.py"), "2"], 0),
        }
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, (command, images) in commands.items():
                found[name].append(measured(command, images, folder))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in found.items()
    }
    torch_alone = medians["import torch"][0]
    print(f"{'':32}{'MB':>8}{'seconds':>10}{'steps':>8}{'without steps and import torch':>32}")
    for name, (seconds, memory, steps) in medians.items():
        beside = f"{seconds - steps - torch_alone:.2f}" if steps else ""
        print(f"{name:32}{memory:8.0f}{seconds:10.2f}{steps:8.2f}{beside:>32}")


if __name__ == "__main__":
    main()
