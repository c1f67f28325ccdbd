"""One experiment from its config to a finished run directory."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnnrun.components.tasks import Predictions
from cnnrun.config.experiment import Experiment, load
from cnnrun.data.images.decoding import BadPictureError
from cnnrun.engine.auto_speed import fastest
from cnnrun.engine.build import build
from cnnrun.engine.parts import Parts
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import Interrupted, UserError, in_user_code
from cnnrun.evaluation import scoring as evaluation
from cnnrun.runs import resuming
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.environment import describe_environment
from cnnrun.runs.lock import alone_in
from cnnrun.runs.loggers.forwarding import Reports, build_loggers
from cnnrun.runtime import console
from cnnrun.runtime.device import device_name, select_device
from cnnrun.runtime.distributed import broadcast_from_main, process_group, world
from cnnrun.runtime.files import write_json, write_text
from cnnrun.runtime.interrupt import Leave, nothing_to_save, stop_on_signals
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.training_display import reporter
from cnnrun.runtime.weights import load_weights


def train(experiment: Experiment, quiet: bool = False) -> RunDirectory:
    """Train `experiment` in a new run directory, then test its best checkpoint and draw.

    Raises:
        UserError: see `build` and `Trainer.fit`.
    """
    with process_group(select_device(experiment.device)):
        build_loggers(experiment)  # what is missing is told before anything else takes time
        try:
            parts = build(experiment)
        except BadPictureError as error:
            run = _new_run(experiment)
            run.write_bad_files((bad.path, bad.reason) for bad in error.files)
            told = f"{error}\nall {len(error.files)} are listed in {run.bad_files}"
            raise UserError(told) from error
        if experiment.training.auto_speed:
            parts = fastest(parts)
        run = begin(parts, quiet)
        _train(parts, run, None, quiet)
    return run


def begin(parts: Parts, quiet: bool) -> RunDirectory:
    """A new run directory for `parts`, with what they are and where they compute."""
    run = _new_run(parts.experiment)
    if world().is_main:
        write_json(run.environment, describe_environment(device_name(parts.device)))
        _tell_about_data(parts, run, quiet)
    return run


def _new_run(experiment: Experiment) -> RunDirectory:
    """A directory of this run's own, the same in all processes."""
    path = ""
    if world().is_main:
        run = RunDirectory.create(expanded(experiment.output), experiment.name)
        write_text(run.config, experiment.to_yaml())
        path = str(run.path)
    return RunDirectory(Path(broadcast_from_main(path)))


def _tell_about_data(parts: Parts, run: RunDirectory, quiet: bool) -> None:
    """What the data are, on stderr; bad files also in the run directory."""
    data, name = parts.dataset, parts.experiment.dataset.name
    if not quiet:
        names = ", ".join(data.classes[:10]) + (", ..." if len(data.classes) > 10 else "")
        counts = ", ".join(f"{s} {len(data.split(s)):,}" for s in ("train", "validation", "test"))
        shape = " x ".join(map(str, data.input_shape))
        console.warn(f"{name}: {len(data.classes)} classes ({names}), {shape}; {counts}")
    bad = data.bad_files
    if bad:
        run.write_bad_files((file.path, file.reason) for file in bad)
        console.warn(f"left out {len(bad)} bad image files, listed in {run.bad_files}")
    if parts.transfer and not quiet:
        trains = sum(p.numel() for p in parts.model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in parts.model.parameters())
        console.warn(
            f"transfer: {parts.transfer.in_words()}; {trains:,} of {total:,} parameters train",
        )
    for note in (*parts.dataset.notes, *parts.notes):
        console.warn(note)


def resume(
    path: Path, overrides: Iterable[str] = (), plugins: Iterable[str] = (), quiet: bool = False
) -> RunDirectory:
    """Continue the run at `path` from its last checkpoint; a finished run stays as it is.

    overrides: changes to its experiment, e.g. more `training.epochs`; see `resuming.FIXED`.

    Raises:
        ConfigError: a change that a run can't go on with.
        UserError: there is no such run, or its data have changed.
    """
    run = RunDirectory.find(path)
    before = load(run.config, plugins=plugins)
    experiment = load(run.config, overrides, plugins)
    changes = resuming.differences(before, experiment)
    if run.read_summary() and not changes:
        return run
    resuming.allow(changes, run)
    with process_group(select_device(experiment.device)) as here:
        parts = build(experiment)
        checkpoint = _last_good(run)
        if checkpoint:
            resuming.check_data(parts.dataset, checkpoint)
            load_weights(parts.model, checkpoint.raw or checkpoint.model)
        if here.is_main:
            run.remove_leftovers()
            if not run.environment.is_file():
                write_json(run.environment, describe_environment(device_name(parts.device)))
            if changes:
                write_text(run.config, experiment.to_yaml())
                run.summary.unlink(missing_ok=True)
        _train(parts, run, checkpoint, quiet, before)
    return run


def resume_or_start(experiment: Experiment, plugins: Iterable[str], quiet: bool) -> RunDirectory:
    """Continue this very experiment's newest run, or begin one: for jobs that are started again."""
    with process_group(select_device(experiment.device)) as here:
        run = resuming.begun(experiment) if here.is_main else None
        path = broadcast_from_main(str(run.path) if run else "")
        return resume(Path(path), (), plugins, quiet) if path else train(experiment, quiet)


def _last_good(run: RunDirectory) -> Checkpoint | None:
    """The last checkpoint, or the best one where the last is damaged; None before the first.

    Raises:
        UserError: both are damaged.
    """
    last, best = run.checkpoint("last"), run.checkpoint("best")
    if not last.is_file():
        return None
    try:
        return Checkpoint.load(last)
    except UserError as error:
        if not best.is_file():
            raise
        console.warn(f"{error}; going on from {best} instead")
        return Checkpoint.load(best)


def _train(
    parts: Parts,
    run: RunDirectory,
    checkpoint: Checkpoint | None,
    quiet: bool,
    before: Experiment | None = None,
) -> None:
    """before: the experiment that the checkpoint was written under."""
    started, main = time.perf_counter(), world().is_main
    with alone_in(run) if main else nullcontext(), stop_on_signals() as stop:
        with leaving_at_once(run):
            trainer = Trainer(parts, run, stop)
            if checkpoint:
                trainer.restore(checkpoint)
                if before and main:
                    steps, per_epoch = trainer.progress.step, len(trainer.train_batches)
                    resuming.tell_learning_rate(before, parts.experiment, steps, per_epoch)
                trainer.save("last")  # the one that was read may be an older, whole one
            elif main:
                run.keep_metrics(0)
        reports = Reports(build_loggers(parts.experiment), run)
        reports.begin(parts.experiment)
        trainer.tell = reports.epoch
        try:
            _fit(trainer, quiet or not main)
            with leaving_at_once(run):
                if main:
                    finish(trainer, started)
        finally:
            reports.end(run.read_summary())


@contextmanager
def leaving_at_once(*runs: RunDirectory) -> Iterator[None]:
    """Before the first step and after the last one, a signal loses nothing by leaving at once.

    Raises:
        Interrupted: one came.
    """
    try:
        with nothing_to_save():
            yield
    except Leave as left:
        commands = "\n".join(f"  cnnrun train --resume {run.path}" for run in runs)
        told = f"stopped, with all that was trained saved; go on with\n{commands}"
        raise Interrupted(told, left.exit_code) from left


def _fit(trainer: Trainer, quiet: bool) -> None:
    """Train to the end; of a run that fails, the curves are drawn as far as they go."""
    try:
        with reporter(quiet, trainer.total_steps, trainer.progress.step) as shown:
            trainer.fit(shown)
    except UserError:
        parts, run = trainer.full, trainer.run
        if world().is_main and run and run.read_metrics() and parts.experiment.training.draw:
            draw_pictures(parts, run, None, ("curves",))
        raise


def finish(trainer: Trainer, started: float) -> None:
    """Test the best checkpoint, once, write the summary and draw the pictures."""
    parts, run = trainer.full, trainer.run
    assert run
    best_epoch = trainer.progress.best_epoch or None
    predictions: Predictions | None = None
    test: dict[str, Any] = {}
    if best_epoch:
        load_weights(parts.model, Checkpoint.load(run.checkpoint("best")).model)
        if len(parts.dataset.test):
            predictions, test = evaluation.evaluate(parts, "test")
    task, validated = parts.task, len(parts.dataset.split("validation")) > 0
    monitored = task.ranks_by(parts.experiment.training.monitor)
    summary: dict[str, Any] = {
        "name": parts.experiment.name,
        "seed": parts.experiment.seed,
        "epochs": trainer.progress.epoch,
        "stopped_early": trainer.progress.stopped_early,
        "best_epoch": best_epoch,
        "best": run.read_metrics()[best_epoch - 1] if best_epoch else {},
        # What chose the best epoch; without a validation split the last one was taken.
        "monitor": monitored.name if validated else None,
        "main_metric": task.main_metric or task.monitor,
        "metrics": {name: metric.to_dict() for name, metric in task.declared().items()},
        "test": {key: test[key] for key in task.headline if key in test},
        "normalization": asdict(parts.normalization),
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        "images_per_second": round(trainer.speed, 1),
        "seconds": round(time.perf_counter() - started, 2),
    }
    if parts.experiment.training.draw:
        names = task.pictures if best_epoch else ("curves",)
        draw_pictures(parts, run, predictions, names, best_epoch if validated else None)
    write_json(run.summary, summary)  # last: a run that is killed before goes on
    if not best_epoch:
        raise UserError(
            f"the validation {monitored.display_name} or loss was NaN after each of the "
            f"{trainer.progress.epoch} epochs, so none is the best and nothing was tested; try a "
            f"smaller optimizer.lr. The last weights are in {run.checkpoint('last')}"
        )


def draw_pictures(
    parts: Parts,
    run: RunDirectory,
    predictions: Predictions | None,
    names: Iterable[str],
    best_epoch: int | None = None,
) -> None:
    """Draw pictures; one that fails is named and costs nothing else."""
    from cnnrun import plots
    from cnnrun.plots.target import Opened, Target

    known = {"test": predictions} if predictions else {}
    target = Target(run.path, opened=Opened(parts, trained=True), predictions=known)
    target.best_epoch = best_epoch
    for name in names:
        try:
            plots.draw(name, target, run.plots / f"{name}.png")
        except Exception as error:
            reason = in_user_code(error) or error
            console.warn(f"the picture '{name}' was not drawn: {reason}")


def check(experiment: Experiment) -> dict[str, Any]:
    """Build everything and run one batch forward and backward; leaves nothing behind.

    Returns: what a person wants to see before training.

    Raises:
        UserError: whatever would have stopped the training.
    """
    parts = build(experiment)
    for note in (*parts.dataset.notes, *parts.notes):
        console.warn(note)
    trainer = Trainer(parts)
    images, labels = next(trainer.train_batches.iterate())
    trainer.begin_epoch(0)
    trainer.set_training_mode(0)
    trainer.train_step(images, labels)
    return {
        "name": experiment.name,
        "device": device_name(parts.device),
        "classes": len(parts.dataset.classes),
        "images": {s: len(parts.dataset.split(s)) for s in ("train", "validation", "test")},
        "input": " x ".join(map(str, parts.dataset.input_shape)),
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        "steps": trainer.total_steps,
        "first batch": parts.task.texts(trainer.running_means()),
    }
