"""`cnnrun predict`: a trained network's answers for images in files."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from cnnrun.cli.app import AsJson, Plugins, TrainedTarget, app
from cnnrun.cli.help_text import examples
from cnnrun.errors import ConfigError, UserError
from cnnrun.runtime import console
from cnnrun.runtime.printable import printable
from cnnrun.runtime.strict_json import to_json
from cnnrun.runtime.text_table import wrapped

if TYPE_CHECKING:
    from cnnrun.components.tasks import Task
    from cnnrun.engine.parts import Parts
    from cnnrun.evaluation.prediction import Answers


ImageNames = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE|FOLDER|GLOB|-...",
        help="Image files; - reads paths from stdin, one per line.",
    ),
]
Top = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="Classes to show of each image, most likely first."),
]
AsCsv = Annotated[
    bool, typer.Option("--csv", help="Print CSV, of classes: file, rank, class, probability.")
]
GradCamFolder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        help="Folder for Grad-CAM plots, which show what each prediction is based on.",
        metavar="DIR",
    ),
]
MaskFolder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder for masks of a segmentation, as PNG files.", metavar="DIR"),
]
BatchSize = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(metavar="N", min=1, help="Images per batch; changes the speed, not the answers."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", metavar="DEVICE")]


@app.command(
    epilog=examples(
        "cnnrun predict RUN photo.jpg",
        "cnnrun predict RUN photos/ --csv > answers.csv",
        "find photos -name '*.png' | cnnrun predict RUN -",
    )
)
def predict(
    target: TrainedTarget,
    images: ImageNames,
    top: Top = 5,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    gradcam: GradCamFolder = None,
    masks: MaskFolder = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    plugin: Plugins = None,
) -> None:
    """Predict classes or values of images with a trained model.

    Images are prepared as in training; files that can't be read are named and skipped.
    """
    if as_json and as_csv:
        raise ConfigError("--json and --csv: choose one of them")
    from cnnrun.evaluation import prediction
    from cnnrun.evaluation.loading import open_trained

    file, parts, _ = open_trained(target, plugin or [], device)
    if not parts.task.answers_images:
        raise UserError(f"task {parts.experiment.task.name} gives no classes to predict")
    files = prediction.find_images(_with_stdin(images))
    draw = _drawn(parts, gradcam, masks)
    show = _print_csv if as_csv else _print_text
    rows: list[dict[str, Any]] = []
    bad: list[dict[str, str]] = []
    for answers in prediction.predict_files(parts, files, batch_size):
        bad += _bad_rows(answers)
        found = _rows(parts, answers, top, {key: write(answers) for key, write in draw.items()})
        if not as_json:
            show(parts.task, found, first=not rows)
        rows += found
    if as_json:
        console.out(to_json({"checkpoint": str(file), "predictions": rows, "bad": bad}))
    if not rows:
        console.warn(f"error: none of {len(files):,} files is an image that can be read")
        raise typer.Exit(1)


def _bad_rows(answers: Answers) -> list[dict[str, str]]:
    """The files of a batch that can't be read, each with a warning."""
    for each in answers.bad:
        console.warn(f"{printable(each.path)}: {each.reason}; skipped")
    return [{"file": each.path, "reason": each.reason} for each in answers.bad]


Draw = Callable[["Answers"], list[Path]]


def _drawn(parts: Parts, gradcam: Path | None, masks: Path | None) -> dict[str, Draw]:
    """What writes a file per image, by the key that names it in the answer."""
    task, found = parts.experiment.task.name, dict[str, Draw]()
    if gradcam:
        from cnnrun.plots.of_predictions import GradCam

        if parts.task.targets != "labels":
            reason = f"task {task} predicts none"
            raise ConfigError(f"--gradcam explains the score of one class of an image; {reason}")
        found["gradcam"] = GradCam(parts, gradcam).draw
    if masks:
        from cnnrun.plots.of_predictions import MaskFiles

        if parts.task.targets != "masks":
            raise ConfigError(f"--masks writes the classes of pixels; task {task} predicts none")
        found["mask"] = MaskFiles(parts, masks).write
    return found


def _with_stdin(names: list[str]) -> list[str]:
    """`names`, with `-` replaced by the lines of stdin."""
    lines = _paths_from_stdin() if "-" in names else []
    return [n for name in names for n in (filter(None, lines) if name == "-" else [name])]


def _paths_from_stdin() -> list[str]:
    """One per line, or separated by zero bytes, as `find -print0` writes them.

    Raises:
        ConfigError: stdin is an image instead.
    """
    from cnnrun.data.sources.folder_listing import IMAGE_BEGINNINGS

    text = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
    if text.startswith(IMAGE_BEGINNINGS):
        raise ConfigError("-: stdin holds an image, not paths of images; name its file instead")
    parts = text.split(b"\0") if b"\0" in text else text.splitlines()
    return [os.fsdecode(part) for part in parts]


def _rows(
    parts: Parts, answers: Answers, top: int, drawn: dict[str, list[Path]]
) -> list[dict[str, Any]]:
    """The answers for each image."""
    if not answers.files:
        return []
    predicted = parts.task.prediction_rows(answers.answers, parts.dataset.classes, top)
    rows = [{"file": file, **row} for file, row in zip(answers.files, predicted, strict=True)]
    for key, files in drawn.items():
        for row, file in zip(rows, files, strict=True):
            row[key] = str(file)
    return rows


def _print_text(task: Task, rows: list[dict[str, Any]], first: bool) -> None:  # noqa: ARG001
    for row in rows:
        drawn = "".join(f"  {printable(row[key])}" for key in ("gradcam", "mask") if key in row)
        text = f"{printable(row['file'])}: {task.row_to_text(row)}{drawn}"
        room = console.room()
        console.out(wrapped(text.split(" "), room, indent=4) if room else text)


def _print_csv(task: Task, rows: list[dict[str, Any]], first: bool) -> None:
    writer = csv.writer(console.results, lineterminator="\n")
    for row in rows:
        for cells in task.row_to_cells(row):
            if first:
                writer.writerow(["file", *cells])
                first = False
            writer.writerow([row["file"], *cells.values()])
