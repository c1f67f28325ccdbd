"""Images per second of training, against a tutorial's loop, Lightning's Trainer, and the limit.

    python -m benchmarks.training [--data data] [--threads 2] [--rounds 5] [--only MNIST] [--json F]

The limit is the same model, on the same device, stepping on one batch that is already there; so the
ratio to it says what loading, shuffling, augmenting, counting and logging cost. All contestants of
a workload are timed in turn, round after round, so that whatever else the machine does meets all of
them; printed are medians after a warm-up round, of a round's ratios where they are ratios.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# As the `cnnrun` command sets it; before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from benchmarks.workloads import Samples, Workload, workloads
from cnnrun.data.batches import Batches
from cnnrun.data.decoding_workers import decoding_processes
from cnnrun.engine.build_optimizer import build_optimizer
from cnnrun.engine.parts import Parts
from cnnrun.engine.trainer import Trainer
from cnnrun.models.dropout import Dropout
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.device import device_name, select_device
from cnnrun.runtime.interrupt import StopRequest
from cnnrun.runtime.training_display import Quiet

Contestant = Callable[[], float]


def cnnrun(workload: Workload) -> Contestant:
    """Epochs of the loop that `cnnrun train` runs; with several, what prepares them is counted."""
    parts = workload.parts()

    def begin() -> Trainer:
        return Trainer(parts, RunDirectory(Path("nowhere")), StopRequest())

    # Processes that decode are there from the second round on, as from the second epoch on.
    begun = begin() if workload.epochs == 1 else None

    def epochs() -> float:
        started = time.perf_counter()
        trainer = begun or begin()
        for epoch in range(workload.epochs):
            trainer.progress.epoch, trainer.progress.batch = epoch, 0
            trainer.progress.step = epoch * len(trainer.train_batches)
            trainer.train_epoch(Quiet())
        return time.perf_counter() - started

    return epochs


def limit(workload: Workload) -> Contestant:
    """The model's steps on one batch that is ready."""
    parts = workload.parts()
    batches = Batches(parts.dataset.train, parts.experiment.dataset.batch_size, parts.device)
    images, labels = next(batches.iterate())
    inputs, targets = parts.pipeline(images, labels, None)
    model, optimizer = parts.model, build_optimizer(parts)
    steps = len(batches) * workload.epochs
    half = parts.experiment.training.amp == "bf16"

    def all_steps() -> float:
        model.train()
        parts.trainable.start_epoch(0)
        started = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(parts.device.type, torch.bfloat16, enabled=half):
                loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
        if parts.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return all_steps


def tutorial(workload: Workload) -> Contestant:
    """The loop of torch's tutorials: per-sample transforms, DataLoader, `.item()` at each step."""
    parts = workload.parts()
    loader = _loader(parts, workload)
    model = _plain_model(parts)
    optimizer = _plain_sgd(parts)

    def epochs() -> float:
        model.train()
        started = time.perf_counter()
        for _ in range(workload.epochs):
            running = 0.0
            for on_cpu, labels in loader:
                inputs, targets = on_cpu.to(parts.device), labels.to(parts.device)
                optimizer.zero_grad()
                loss = F.cross_entropy(model(inputs), targets)
                loss.backward()
                optimizer.step()
                running += loss.item() * len(inputs)
        return time.perf_counter() - started

    return epochs


def lightning(workload: Workload) -> Contestant:
    """Lightning's Trainer without bar, logger, checkpoints and checks, which is its fastest."""
    import lightning.pytorch as pl

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    parts = workload.parts()
    loader = _loader(parts, workload)

    class Module(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = _plain_model(parts)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return _plain_sgd(parts)

    module = Module()

    def epochs() -> float:
        trainer = pl.Trainer(
            max_epochs=workload.epochs,
            accelerator="gpu" if parts.device.type == "cuda" else "cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        started = time.perf_counter()
        trainer.fit(module, loader)
        return time.perf_counter() - started

    return epochs


def _loader(parts: Parts, workload: Workload) -> DataLoader[Any]:
    # Two workers slow small images down and help JPEGs.
    decodes = not isinstance(parts.dataset.train.images, torch.Tensor)
    return DataLoader(
        Samples(parts, workload),
        parts.experiment.dataset.batch_size,
        shuffle=True,
        num_workers=2 if decodes else 0,
        persistent_workers=decodes,
        pin_memory=parts.device.type == "cuda",
    )


def _plain_model(parts: Parts) -> torch.nn.Module:
    """As its users would write it: with torch's dropout, in the default order in memory."""
    for name, module in list(parts.model.named_modules()):
        if isinstance(module, Dropout):
            parts.model.set_submodule(name, torch.nn.Dropout(module.p))
    return parts.model.to(memory_format=torch.contiguous_format)


def _plain_sgd(parts: Parts) -> torch.optim.Optimizer:
    group = build_optimizer(parts).param_groups[0]
    weights = [p for p in parts.model.parameters() if p.requires_grad]
    return torch.optim.SGD(weights, lr=group["lr"], momentum=group["momentum"])


CONTESTANTS = {"limit": limit, "cnnrun": cnnrun, "tutorial": tutorial, "lightning": lightning}


def measure(workload: Workload, rounds: int, left_out: list[str]) -> dict[str, dict[str, float]]:
    """Of each contestant images per second, and how many times as fast cnnrun is."""
    names = [name for name in CONTESTANTS if name not in left_out]
    ready = {name: CONTESTANTS[name](workload) for name in names}
    gc.freeze()  # as the command does: what was made until now isn't garbage
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with decoding_processes():
        for number in range(rounds + 1):
            for name, contestant in ready.items():
                taken = contestant()
                if number:
                    seconds[name].append(taken)
    images = len(workload.parts().dataset.train) * workload.epochs
    found = {}
    for name, times in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(times, seconds["cnnrun"], strict=True)]
        speed = images / statistics.median(times)
        found[name] = {"images_per_second": speed, "ratio": statistics.median(ratios)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds MNIST/raw")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="workloads whose names have this in them")
    parser.add_argument("--without", nargs="*", default=[], choices=set(CONTESTANTS) - {"cnnrun"})
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    device = device_name(select_device("auto"))
    machine = {"torch": torch.__version__, "device": device, "processor": platform.machine()}
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    shown = [name for name in CONTESTANTS if name not in options.without]
    others = [name for name in shown if name != "cnnrun"]
    titles = [*shown, *(f"x {name}" for name in others)]
    print(f"{'images/s':58}{''.join(f'{title:>12}' for title in titles)}")
    found = {}
    for workload in workloads(options.data):
        if options.only not in workload.name:
            continue
        speeds = found[workload.name] = measure(workload, options.rounds, options.without)
        numbers = "".join(f"{speeds[name]['images_per_second']:12,.0f}" for name in shown)
        ratios = "".join(f"{speeds[name]['ratio']:12.2f}" for name in others)
        print(f"{workload.name:58}{numbers}{ratios}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({**machine, "workloads": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
