"""What much data and many runs cost: time and memory at three sizes, and the slope.

    python -m benchmarks.scale [--images 10000,40000,160000] [--runs 1000,3000,10000] [--json FILE]

Images are JPEGs of 32 x 32 pixels in 1,000 classes: in folders, in a CSV and in tar shards. Each
command is a process of its own, as a person runs it. `cnnrun check` takes one step and leaves, so
it is the time to the first step. "Cold" is the first time that cnnrun sees the files, "warm" the
second; the system has them in memory either way. What a million would take is extrapolated from the
two largest sizes. Printed are CPU seconds, which other work on the machine leaves alone; seconds by
the clock are in the JSON.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import simplejpeg

CLASSES = 1_000
MILLION = 1_000_000
# Samples in a shard, as ImageNet's usual shards have.
IN_SHARD = 10_000

EXPERIMENT = """
name: scale
dataset: {{{source}, size: 32, batch_size: 64, check: {check}}}
model: {{name: cnn, channels: [8]}}
optimizer: {{name: sgd, lr: 0.01}}
training: {{epochs: 1, draw: false}}
device: cpu
"""
SOURCES = {
    "folder": "name: folder, root: images",
    "csv": "name: csv, file: images.csv",
    "webdataset": "name: webdataset, train: 'train-*.tar', test: 'test.tar'",
}

# CPU seconds of all threads, peak MB, seconds by the clock.
Cost = tuple[float, float, float]


def jpegs(count: int) -> Iterator[tuple[str, str, bytes]]:
    """(class, name, content) of so many JPEGs, no two alike."""
    random = np.random.default_rng(0)
    for i in range(count):
        coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
        pixels = np.ascontiguousarray(coarse.repeat(4, axis=0).repeat(4, axis=1))
        yield f"class{i % CLASSES:04d}", f"{i:07d}.jpg", simplejpeg.encode_jpeg(pixels)


def make_images(folder: Path, count: int) -> None:
    """The same images as folders, as a CSV of them, and as shards."""
    for number in range(CLASSES):
        (folder / "images" / f"class{number:04d}").mkdir(parents=True)
    with (folder / "images.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label"))
        for label, name, content in jpegs(count):
            path = folder / "images" / label / name
            path.write_bytes(content)
            rows.writerow((f"images/{label}/{name}", label))
    for first in range(0, count, IN_SHARD):
        name = f"train-{first // IN_SHARD:04d}.tar"
        _make_shard(folder, name, first, min(first + IN_SHARD, count))
    shutil.copy(folder / "train-0000.tar", folder / "test.tar")


def _make_shard(folder: Path, name: str, first: int, last: int) -> None:
    with tarfile.open(folder / name, "w") as shard:
        for i in range(first, last):
            label = f"class{i % CLASSES:04d}"
            content = (folder / "images" / label / f"{i:07d}.jpg").read_bytes()
            for ending, data in (("jpg", content), ("cls", label.encode())):
                member = tarfile.TarInfo(f"{i:07d}.{ending}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))


def make_runs(folder: Path, count: int) -> None:
    """Run directories that differ in their seeds and learning rates: copies of one that trained."""
    config = Path(__file__).parent.parent / "configs" / "digits_cnn.yaml"
    options = ["training.epochs=2", "training.draw=false", f"output={folder / 'first'}"]
    command = [sys.executable, "-m", "cnnrun", "train", str(config), "-q", *options]
    trained = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    texts = {p.name: p.read_text() for p in Path(trained).iterdir() if p.is_file()}
    for i in range(count):
        copy = folder / "runs" / "digits_cnn" / f"20260101-{i:06d}-{i:06x}"
        (copy / "checkpoints").mkdir(parents=True)
        for name, text in texts.items():
            for before, now in (
                ("seed: 0", f"seed: {i % 10}"),
                ('"seed": 0', f'"seed": {i % 10}'),
                ("lr: 0.001", f"lr: {0.001 * (1 + i // 10)}"),
            ):
                text = text.replace(before, now)
            (copy / name).write_text(text)


def measured(arguments: list[str], folder: Path, cache: Path) -> Cost:
    """What `cnnrun` with these arguments costs."""
    started = time.perf_counter()
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "cnnrun", *arguments],
            cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"cnnrun {' '.join(arguments)}: {(folder / 'said.txt').read_text()}")
    spent = usage.ru_utime + usage.ru_stime
    return spent, usage.ru_maxrss / 1024, time.perf_counter() - started


def of_images(count: int) -> dict[str, Cost]:
    """What commands cost on so many images."""
    found: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory(prefix="cnnrun-scale-") as place:
        folder = Path(place)
        make_images(folder, count)
        for source, keys in SOURCES.items():
            for check in ("all", "first_use"):
                file = folder / f"{source}-{check}.yaml"
                file.write_text(EXPERIMENT.format(source=keys, check=check))
                cache = folder / f"cache-{source}-{check}"
                for when in ("cold", "warm"):
                    name = f"{source}, check: {check}, first step, {when}"
                    found[name] = measured(["check", file.name], folder, cache)
                shutil.rmtree(folder / "data", ignore_errors=True)
        found["folder, cnnrun data"] = measured(
            ["data", "folder-all.yaml"], folder, folder / "cache-folder-all"
        )
    return found


def of_runs(count: int) -> dict[str, Cost]:
    """What commands cost on so many run directories."""
    with tempfile.TemporaryDirectory(prefix="cnnrun-scale-") as place:
        folder = Path(place)
        make_runs(folder, count)
        commands = {"cnnrun runs": ["runs", "runs"], "cnnrun report": ["report", "runs"]}
        return {name: measured(command, folder, folder) for name, command in commands.items()}


def table(
    measure: Callable[[int], dict[str, Cost]], sizes: list[int], goal: int
) -> dict[str, dict[str, Cost]]:
    """Print a row for each command: CPU seconds and MB at each size, the slope, and at `goal`."""
    costs = {size: measure(size) for size in sizes}
    heads = "".join(f"{size:>18,}" for size in sizes)
    print(f"{'CPU seconds (MB)':46}{heads}{'s per 1,000':>14}{f'at {goal:,}':>22}")
    for name in costs[sizes[0]]:
        cells = "".join(f"{s:>10.1f} ({mb:>5.0f})" for s, mb, _ in (costs[n][name] for n in sizes))
        (low, high), (a, b) = sizes[-2:], (costs[n][name] for n in sizes[-2:])
        slope, more = ((y - x) / (high - low) for x, y in zip(a[:2], b[:2], strict=True))
        at_goal = f"{b[0] + slope * (goal - high):.0f} ({b[1] + more * (goal - high):,.0f})"
        print(f"{name:46}{cells}{1_000 * slope:>14.3f}{at_goal:>22}", flush=True)
    return {str(size): cost for size, cost in costs.items()}


def main() -> None:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--images", type=numbers, default=[10_000, 40_000, 160_000])
    parser.add_argument("--runs", type=numbers, default=[1_000, 3_000, 10_000])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {
        "images": table(of_images, options.images, MILLION),
        "runs": table(of_runs, options.runs, 100_000),
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
