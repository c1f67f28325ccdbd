"""From a built trainer to the last file of its run."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from cnnrun.components.tasks import Predictions
from cnnrun.data.decoding_workers import decoding_processes
from cnnrun.data.images.decoding import BadImageError
from cnnrun.engine.parts import Parts
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import Interrupted, UserError
from cnnrun.evaluation import scoring as evaluation
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.loggers.forwarding import Reports, build_loggers
from cnnrun.runtime import console
from cnnrun.runtime.distributed import world
from cnnrun.runtime.files import write_json
from cnnrun.runtime.interrupt import Leave, nothing_to_save
from cnnrun.runtime.memory import peak_bytes
from cnnrun.runtime.training_display import reporter
from cnnrun.runtime.weights import load_weights


def train_to_end(trainer: Trainer, quiet: bool, started: float) -> None:
    """Train, test, draw the plots, and notify the loggers.

    started: `time.perf_counter()` when the run started.
    """
    main, run = world().is_main, trainer.run
    assert run
    reports = Reports(build_loggers(trainer.experiment), run)
    reports.start(trainer.experiment)
    trainer.notify = reports.epoch
    try:
        _fit(trainer, quiet or not main)
        with leaving_at_once(run):
            if main:
                finish(trainer, started)
    except BadImageError as error:
        raise _stopped_at(error, trainer) from error
    finally:
        reports.end(run.read_summary())


@contextmanager
def leaving_at_once(*runs: RunDirectory) -> Iterator[None]:
    """Before the first step and after the last, nothing is lost if a signal ends the run at once.

    Raises:
        Interrupted: one came.
    """
    try:
        with nothing_to_save():
            yield
    except Leave as left:
        commands = "\n".join(f"  cnnrun train --resume {run.path}" for run in runs)
        message = f"stopped, with everything saved; resume with\n{commands}"
        raise Interrupted(message, left.exit_code) from left


def _fit(trainer: Trainer, quiet: bool) -> None:
    """Train to the end; if training fails, the curves so far are drawn."""
    try:
        epochs = trainer.experiment.training.epochs
        shown = reporter(quiet, trainer.total_steps, trainer.progress.step, epochs)
        with decoding_processes(), shown as display:
            trainer.fit(display)
    except UserError:
        parts, run = trainer.full, trainer.run
        if world().is_main and run and run.read_metrics() and parts.experiment.training.draw:
            draw_plots(parts, run, None, ("curves",))
        raise


def _stopped_at(error: BadImageError, trainer: Trainer) -> UserError:
    """The message about files that could not be decoded during training; the state is saved."""
    run = trainer.run
    if run is None or world().size > 1:  # the other processes are somewhere else
        return error
    if trainer.progress.batch:  # else the last epoch has saved it
        trainer.save("last")
    bad = [*trainer.full.dataset.bad_files, *error.files]
    run.write_bad_files((file.path, file.reason) for file in bad)
    return UserError(
        f"{error}\nstopped after step {trainer.progress.step:,}, saved. `cnnrun data` lists all "
        "damaged files; put them right and resume with\n"
        f"  cnnrun train --resume {run.path}\n"
        "or start again without them: dataset.check=all dataset.on_error=skip"
    )


def finish(trainer: Trainer, started: float) -> None:
    """Test the best checkpoint once, draw the plots and write the summary."""
    parts, run = trainer.full, trainer.run
    assert run
    best_epoch = trainer.progress.best_epoch or None
    validated = len(parts.dataset.split("validation")) > 0
    predictions, test = _tested(parts, run) if best_epoch else (None, {})
    summary = _summary(trainer, run, test, started)
    if parts.experiment.training.draw:
        names = parts.task.plots if best_epoch else ("curves",)
        draw_plots(parts, run, predictions, names, best_epoch if validated else None)
    if not validated and (warning := rising(_comparable(trainer, run))):
        console.warn(warning)
    write_json(run.summary, summary)  # last: a run that is killed before this resumes
    if not best_epoch:
        monitored = parts.task.ranks_by(parts.experiment.training.monitor)
        raise UserError(
            f"the validation {monitored.display_name} or loss was NaN after each of the "
            f"{trainer.progress.epoch} epochs, so none is the best and nothing was tested; try a "
            f"smaller optimizer.lr. The last weights are in {run.checkpoint('last')}"
        )


def _tested(parts: Parts, run: RunDirectory) -> tuple[Predictions | None, dict[str, Any]]:
    """Predictions and scores of the best checkpoint on the test split, if there is one.

    The model has the checkpoint's weights afterwards.
    """
    best = Checkpoint.load(run.checkpoint("best"))
    load_weights(parts.model, best.model)
    if parts.task.settles and len(parts.dataset.split("validation")):
        parts.task.settle(evaluation.predict(parts, "validation"))
        replace(best, task=parts.task.state()).save(run.checkpoint("best"))
    if not len(parts.dataset.test):
        return None, {}
    console.stage("testing")
    return evaluation.evaluate(parts, "test")


def _summary(
    trainer: Trainer, run: RunDirectory, test: dict[str, Any], started: float
) -> dict[str, Any]:
    """What `summary.json` holds. test: all scores of the test split."""
    parts, task, progress = trainer.full, trainer.task, trainer.progress
    best_epoch = progress.best_epoch or None
    # What chose the best epoch; without a validation split the last one is used.
    validated = len(parts.dataset.split("validation")) > 0
    monitored = task.ranks_by(parts.experiment.training.monitor)
    return {
        "name": parts.experiment.name,
        "seed": parts.experiment.seed,
        # Identifies all data: runs with another value were trained on other data.
        "data": parts.dataset.fingerprint,
        "epochs": progress.epoch,
        "stopped_early": progress.stopped_early,
        "best_epoch": best_epoch,
        "best": _row_of(best_epoch, parts, run) if best_epoch else {},
        "monitor": monitored.name if validated else None,
        "main_metric": task.main_metric or task.monitor,
        "metrics": {name: metric.to_dict() for name, metric in task.declared().items()},
        "test": {key: test[key] for key in task.headline if key in test},
        "normalization": asdict(parts.normalization),
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        "images_per_second": round(trainer.speed, 1),
        "seconds": round(time.perf_counter() - started, 2),
        "peak_memory": peak_bytes(parts.device),  # bytes
    }


def _comparable(trainer: Trainer, run: RunDirectory) -> list[dict[str, Any]]:
    """The last rows of the log that have comparable losses: same images, same loss."""
    options = trainer.experiment.training
    since = trainer.task.loss_since(trainer.full.model, options.epochs)
    if options.progressive_from < 1:
        since = max(since, math.ceil(options.progressive_until * options.epochs) + 1)
    changes = [one for one in run.read_changes() if one["key"].startswith("loss.")]
    since = max([since, *(one["epoch"] + 1 for one in changes)])
    return [row for row in run.read_metrics() if row["epoch"] >= since]


def rising(rows: Sequence[Mapping[str, Any]]) -> str:
    """A warning that training diverged in the end, for runs without a validation split; else "".

    Without validation the last epoch is kept, however bad: warn if the loss has given up more than
    half of its improvement, or has only risen.
    """
    losses = {row["epoch"]: row.get("train_loss") for row in rows}
    known = {epoch: float(v) for epoch, v in losses.items() if isinstance(v, int | float)}
    if len(known) < 2:
        return ""
    first, last = min(known), max(known)
    low = min(known, key=lambda epoch: known[epoch])
    lost = known[last] - known[low]
    if lost <= 0.5 * (known[first] - known[low]) or lost <= 0.01 * abs(known[low]):
        return ""
    return (
        f"the training loss rose from {known[low]:.4g} (epoch {low}) to {known[last]:.4g} (epoch "
        f"{last}); without a validation split the last epoch is kept all the same. Try a smaller "
        f"optimizer.lr, or training.epochs={low}"
    )


def _row_of(epoch: int, parts: Parts, run: RunDirectory) -> dict[str, Any]:
    """The log's row of the epoch of `parts`' weights; if it was lost, they are scored again."""
    for row in run.read_metrics():
        if row["epoch"] == epoch:
            return row
    scores: dict[str, Any] = {}
    if parts.dataset.validation is not None and len(parts.dataset.validation):
        _, scores = evaluation.evaluate(parts, "validation")
    found = {f"validation_{key}": scores[key] for key in parts.task.epoch_metrics if key in scores}
    return {"epoch": epoch, **found}


def draw_plots(
    parts: Parts,
    run: RunDirectory,
    predictions: Predictions | None,
    names: Iterable[str],
    best_epoch: int | None = None,
) -> None:
    """Draw plots; one that fails is reported, and the others are drawn."""
    from cnnrun import plots
    from cnnrun.plots.target import Opened, Target

    known = {"test": predictions} if predictions else {}
    target = Target(run.path, opened=Opened(parts, trained=True), predictions=known)
    target.best_epoch = best_epoch
    for name in names:
        console.stage(f"drawing {name}")
        try:
            plots.draw(name, target, run.plots / f"{name}.png")
        except Exception as error:
            console.warn(f"the plot '{name}' was not drawn: {error}")
