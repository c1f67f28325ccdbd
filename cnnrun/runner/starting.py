"""A new run, from an experiment to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from cnnrun.config.experiment import Experiment
from cnnrun.data.images.decoding import BadImageError
from cnnrun.engine.auto_speed import fastest
from cnnrun.engine.build import build
from cnnrun.engine.parts import Parts
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import UserError
from cnnrun.runner.finishing import leaving_at_once, train_to_end
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.environment import describe_environment
from cnnrun.runs.identity import record
from cnnrun.runs.lock import alone_in
from cnnrun.runs.loggers.forwarding import build_loggers
from cnnrun.runtime import console
from cnnrun.runtime.device import device_name, select_device
from cnnrun.runtime.distributed import broadcast_from_main, process_group, world
from cnnrun.runtime.files import write_json, write_text
from cnnrun.runtime.interrupt import stop_on_signals
from cnnrun.runtime.paths import expanded

NewRun = Callable[[Experiment], RunDirectory]
"""Creates the directory that a run trains in, with its config."""


def train(experiment: Experiment, quiet: bool = False) -> RunDirectory:
    """Train `experiment` in a new run directory, then test its best checkpoint and draw.

    Raises:
        UserError: see `build` and `Trainer.fit`.
    """
    device = select_device(experiment.device)
    with console.quiet_if(quiet), process_group(device), ExitStack() as held:
        return start(experiment, quiet, lambda chosen: new_run(chosen, held))


def start(experiment: Experiment, quiet: bool, directory: NewRun) -> RunDirectory:
    """As `train`, in a directory that is created once the experiment has been built.

    Raises:
        UserError: see `build` and `Trainer.fit`.
    """
    started = time.perf_counter()
    console.stage("loading data and model")
    build_loggers(experiment)  # report missing packages before anything slow
    try:
        parts = build(experiment)
    except BadImageError as error:
        run = directory(experiment)
        run.write_bad_files((bad.path, bad.reason) for bad in error.files)
        message = f"{error}\nThe whole list ({len(error.files):,}): {run.bad_files}"
        raise UserError(message) from error
    if experiment.training.auto_speed:
        parts = fastest(parts)
    run = directory(parts.experiment)
    describe(parts, run, quiet, auto_speed=experiment.training.auto_speed)
    with stop_on_signals() as stop:
        with leaving_at_once(run):
            trainer = Trainer(parts, run, stop)
            if world().is_main:
                run.keep_metrics(0)
        train_to_end(trainer, quiet, started)
    return run


def new_run(experiment: Experiment, held: ExitStack) -> RunDirectory:
    """A new directory for this run, the same in all processes, locked until `held` ends."""
    path = str(create(experiment, held).path) if world().is_main else ""
    return RunDirectory(Path(broadcast_from_main(path)))


def create(experiment: Experiment, held: ExitStack) -> RunDirectory:
    """A new directory, locked before others can find its config."""
    run = RunDirectory.create(expanded(experiment.output), experiment.name)
    held.enter_context(alone_in(run))
    write_text(run.config, experiment.to_yaml())
    return run


def describe(parts: Parts, run: RunDirectory, quiet: bool, auto_speed: bool = False) -> None:
    """Record in the run what it is computed from, and report on the data."""
    if world().is_main:
        note_environment(parts, run, auto_speed)
        _report_data(parts, run, quiet)


def note_environment(parts: Parts, run: RunDirectory, auto_speed: bool = False) -> None:
    """Record machine, code and data of a run; auto_speed: whether that chose its levers."""
    environment = describe_environment(device_name(parts.device))
    environment["identity"] = record(parts.experiment, parts.dataset.fingerprint, auto_speed)
    write_json(run.environment, environment)


def _report_data(parts: Parts, run: RunDirectory, quiet: bool) -> None:
    """Report on the data on stderr; list bad files in the run directory, too."""
    data, name = parts.dataset, parts.experiment.dataset.name
    if not quiet:
        names = ", ".join(data.classes[:10]) + (", ..." if len(data.classes) > 10 else "")
        counts = ", ".join(f"{s} {len(data.split(s)):,}" for s in ("train", "validation", "test"))
        words = data.train.targets.words
        shape = " x ".join(map(str, data.input_shape))
        console.warn(f"{name}: {len(data.classes)} {words} ({names}), {shape}; {counts}")
    bad = data.bad_files
    if bad:
        run.write_bad_files((file.path, file.reason) for file in bad)
        console.warn(f"left out {len(bad):,} samples that can't be read, listed in {run.bad_files}")
    if parts.transfer and not quiet:
        trains = sum(p.numel() for p in parts.model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in parts.model.parameters())
        console.warn(
            f"transfer: {parts.transfer.to_text()}; {trains:,} of {total:,} parameters train",
        )
    for note in (*parts.dataset.notes, *parts.notes):
        console.warn(note)
