"""One GPU measured whole: `benchmarks/gpu.sh [--json F] [--smoke]`, under 8 minutes on an H100.

Its parts, of which one that fails is printed and does not end the others: the tests that need a
GPU; cnnrun against the same model stepping on one batch that is already there; CIFAR-10's ten
epochs on synthetic images of its size; ResNet-50 in bfloat16 from JPEGs and from memory, with each
lever; training killed and resumed, every bit compared. `--smoke` runs all of it on tiny data, on a
CPU too, to show that the script works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training import limit, measure
from benchmarks.workloads import FLIP_AND_TURN, Workload, jpegs
from cnnrun.config.experiment import from_dict, load
from cnnrun.engine.build import build
from cnnrun.engine.progress import Progress
from cnnrun.engine.trainer import Trainer
from cnnrun.runtime.training_display import Quiet

REPOSITORY = Path(__file__).parent.parent
ON_GPU = torch.cuda.is_available()
CIFAR10_FAST = REPOSITORY / "configs/records/cifar10_fast.yaml"
OTHERS = ["tutorial", "lightning"]

Figures = dict[str, Any]


def tests(_: bool) -> Figures:
    """What only a GPU can show."""
    command = ["-m", "pytest", "-q", "-n", "0", "-rs", "tests/engine/test_gpu.py"]
    return {"result": _last_line(_python(*command))}


def resuming(_: bool) -> Figures:
    """Killed and resumed: equal to the bit with torch's deterministic algorithms, and without?"""
    found = {}
    for deterministic in (True, False):
        told = _python(
            *("-m", "cnnrun", "verify-resume", "configs/shapes_cnn.yaml", "--kills", "1"),
            *("--epochs", "2", "--limit", "1000"),
            f"training.deterministic={str(deterministic).lower()}",
        )
        found[f"deterministic={deterministic}"] = _last_line(told)
    return found


def small_networks(smoke: bool) -> Figures:
    """CNNs at 32x32, where starting the kernels costs most: images/s, and of the limit."""
    fake = {"name": "fake", "count": 512 if smoke else 5000, "validation": 0, "batch_size": 128}
    cnn = {"name": "cnn", "channels": [32, 64, 128], "batch_norm": True, "head": [256]}
    found = {}
    for title, dataset, training in (
        ("plain", {}, {}),
        ("flip + rotation", {"augment": FLIP_AND_TURN}, {}),
        ("flip + rotation, cuda_graphs", {"augment": FLIP_AND_TURN}, {"compile": "cuda_graphs"}),
    ):
        if training and not ON_GPU:
            continue
        experiment = {"dataset": {**fake, **dataset}, "model": cnn}
        experiment["training"] = {"epochs": 1, **training}
        found[title] = _of_limit(Workload(title, experiment, []), 1 if smoke else 7)
    return found


def cifar10_fast(smoke: bool) -> Figures:
    """Seconds of the ten epochs, on data of CIFAR-10's size: published are 3.83 on an A100."""
    found: Figures = {}
    for name in ("false", "cuda_graphs") if ON_GPU else ("false",):
        found[f"compile={name}"] = _ten_epochs(smoke, name)
    started = time.perf_counter()
    _python("-m", "cnnrun", "train", str(CIFAR10_FAST), *_changes(smoke), "--quiet")
    found["whole command"] = {"seconds": time.perf_counter() - started}
    return found


def resnet50(smoke: bool) -> Figures:
    """Images/s in bfloat16 at 224 pixels from memory; levers that need no compiler."""
    found = {"channels_last": _resnet_from_memory(smoke)}
    found["contiguous"] = _resnet_from_memory(smoke, channels_last=False)
    if ON_GPU:
        found["cuda_graphs"] = _resnet_from_memory(smoke, compile="cuda_graphs")
    torch.backends.cudnn.benchmark = True
    seconds = statistics.median(limit(_resnet(_memory(smoke), {}, smoke))() for _ in range(3))
    torch.backends.cudnn.benchmark = False
    found["limit with cudnn.benchmark"] = {"images/s": _count(smoke) / seconds}
    return found


def compiling(smoke: bool) -> Figures:
    """The same two with `training.compile: true`: published are 2.59 seconds on an A100."""
    if not ON_GPU:
        return {"left out": "there is no GPU"}
    return {
        "cifar10_fast": _ten_epochs(smoke, "true"),
        "resnet50": _resnet_from_memory(smoke, compile=True),
    }


def resnet50_jpegs(smoke: bool) -> Figures:
    """The same from 500x375 JPEGs, a random crop of each decoded again."""
    dataset = {
        "name": "folder",
        "root": jpegs(_count(smoke)),
        "cache": "none",
        "size": 224,
        "augment": [{"name": "random_resized_crop"}, {"name": "horizontal_flip"}],
    }
    return _of_limit(_resnet(dataset, {}, smoke), 1 if smoke else 4) | {"cores": os.cpu_count()}


def _ten_epochs(smoke: bool, compile: str) -> Figures:
    """Seconds of training to the end, data and model being there; the first time counted apart."""
    experiment = load(CIFAR10_FAST, [*_changes(smoke), f"training.compile={compile}"])
    trainer = Trainer(build(from_dict(experiment.to_dict(), "benchmark")))
    first, *seconds = [_seconds_of(trainer) for _ in range(2 if smoke else 4)]
    return {"seconds": statistics.median(seconds), "first": first}


@cache
def _changes(smoke: bool) -> tuple[str, ...]:
    """What lets `cifar10_fast` train on synthetic data."""
    folder = _cifar10(100 if smoke else 10_000)
    changes = ["dataset.download=false", "dataset.validation=0", f"output={folder}/runs"]
    if smoke:
        changes += [
            "training.epochs=4",
            "training.amp=off",
            "dataset.batch_size=64",
            "model.channels=[8,8,8]",
        ]
    return (f"dataset.root={folder}", *changes)


def _count(smoke: bool) -> int:
    return 8 if smoke else 1536


def _memory(smoke: bool) -> Figures:
    return {"name": "fake", "count": _count(smoke), "height": 224, "width": 224}


def _resnet(dataset: Figures, training: Figures, smoke: bool) -> Workload:
    experiment = {
        "dataset": {**dataset, "batch_size": 4 if smoke else 256, "validation": 0},
        "model": {"name": f"torchvision/resnet{18 if smoke else 50}"},
        "training": {"epochs": 1, "amp": "bf16", **training},
    }
    return Workload("ResNet-50", experiment, [])


def _resnet_from_memory(smoke: bool, **training: object) -> Figures:
    return _of_limit(_resnet(_memory(smoke), training, smoke), 1 if smoke else 4)


def _of_limit(workload: Workload, rounds: int) -> Figures:
    """Images/s of cnnrun and of the limit, and their ratio; GiB at the most."""
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    speeds = measure(workload, rounds, OTHERS)
    found = {
        "images/s": speeds["cnnrun"]["images_per_second"],
        "limit": speeds["limit"]["images_per_second"],
        "of the limit": speeds["limit"]["ratio"],
    }
    if ON_GPU:
        found["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def _seconds_of(trainer: Trainer) -> float:
    """Of all epochs from the first on; the weights don't change."""
    trainer.progress = Progress(accumulate=trainer.stepper.accumulate)
    started = time.perf_counter()
    trainer.fit(Quiet())  # reads the last epoch's means, so it waits for the device
    return time.perf_counter() - started


def _cifar10(in_a_file: int) -> Path:
    """Files of the layout of CIFAR-10's: noise over a pattern for each class."""
    folder = Path(tempfile.mkdtemp(prefix="cnnrun-benchmark-"))
    (folder / "cifar-10-batches-py").mkdir()
    random = np.random.default_rng(0)
    patterns = random.integers(0, 128, (10, 3072), dtype=np.uint8)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        labels = random.integers(0, 10, in_a_file)
        noise = random.integers(0, 128, (in_a_file, 3072), dtype=np.uint8)
        content = {b"data": patterns[labels] + noise, b"labels": labels.tolist()}
        _write_pickle(folder / "cifar-10-batches-py" / name, content)
    names = {b"label_names": [f"class {i}".encode() for i in range(10)]}
    _write_pickle(folder / "cifar-10-batches-py" / "batches.meta", names)
    return folder


def _write_pickle(file: Path, content: object) -> None:
    file.write_bytes(pickle.dumps(content, protocol=2))


def _python(*arguments: str) -> str:
    """What a command of this Python prints; its end too where it fails."""
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        print(ended.stdout[-3000:], ended.stderr[-3000:], sep="\n", flush=True)
    return ended.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing"])[-1]


PARTS: list[Callable[[bool], Figures]] = [
    tests,
    small_networks,
    cifar10_fast,
    resnet50_jpegs,
    resnet50,
    compiling,
    resuming,
]


def main() -> int:
    """1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--smoke", action="store_true", help="on tiny data: does the script work?")
    parser.add_argument("--only", nargs="*", default=[part.__name__ for part in PARTS])
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    device = torch.cuda.get_device_name() if ON_GPU else "cpu"
    found: Figures = {"torch": torch.__version__, "device": device}
    print(f"torch {torch.__version__} on {device}, {os.cpu_count()} cores")
    failed = 0
    for part in PARTS:
        if part.__name__ not in options.only:
            continue
        started = time.perf_counter()
        try:
            found[part.__name__] = part(options.smoke)
        except Exception:
            failed += 1
            found[part.__name__] = {"failed": traceback.format_exc()}
        print(f"{part.__name__}: {time.perf_counter() - started:.0f} s")
        print(_table(found[part.__name__]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 1 if failed else 0


def _table(figures: Figures) -> str:
    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "  ".join(f"{key} {text(each)}" for key, each in value.items())
        return f"{value:,.2f}" if isinstance(value, float) else str(value)

    return "\n".join(f"  {name:30} {text(value)}" for name, value in figures.items())


if __name__ == "__main__":
    sys.exit(main())
