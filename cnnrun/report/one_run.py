"""What the report of one run shows: scores, curves, mistakes, config, environment."""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from cnnrun.comparison import RunRecord
from cnnrun.errors import UserError
from cnnrun.report.charts import Line, chart, shown_epochs
from cnnrun.report.confusion import confusion
from cnnrun.report.figures import plots
from cnnrun.report.page import Section, code, curves, facts, page, render, sentences, table
from cnnrun.report.reliability import reliability
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.reading import CONFIG_BYTES, read_json, read_text

if TYPE_CHECKING:
    from cnnrun.components.tasks import Predictions
    from cnnrun.engine.parts import Parts

MOST_MISTAKES = 24
_FIGURES = (
    ("parameters", "parameters", "{:,}"),
    ("seconds", "time", "{:,.1f} s"),
    ("images_per_second", "speed", "{:,.0f} images/s"),
)
# Pixels that a small image is written with; the page enlarges it.
_MOST_SIDE = 128


def report(run: RunRecord, plugins: Sequence[str] = ()) -> str:
    """The HTML page of a run, as far as it got.

    Its best checkpoint is evaluated once more for the confusion matrix and the mistakes; where that
    can't be done (the data are gone, say) the page says so instead.
    """
    if run.state == "damaged":
        problem = sentences([f"This run can't be read: {run.problem}"], "warning")
        return page(run.path.name, str(run.path), [Section("Summary", problem)])
    sections = [_summary(run), _curves(run)]
    sections += _of_task(run, plugins)
    sections += [_config(run), _environment(run), _reproduce(run)]
    return page(f"{run.name}, seed {run.seed}", _lead(run), [s for s in sections if s])


def _lead(run: RunRecord) -> str:
    metrics = [(run.metric(name), score) for name, score in _test(run).items()]
    scores = ", ".join(f"{metric.display_name} {metric.text(v)}" for metric, v in metrics)
    result = f"{scores} on the test split" if scores else "no test score"
    lead = Markup("A {} run of <bdi>{}</bdi> (<bdi>{}</bdi>): {}.")
    return lead.format(run.state, run.task, run.path, result)


def _summary(run: RunRecord) -> Section:
    summary, best = run.summary, run.best
    early = ", stopped early" if summary.get("stopped_early") else ""
    pairs = [("state", run.state + early), ("epochs", f"{run.epochs} of {_planned(run)}")]
    for name, value in _test(run).items():
        metric = run.metric(name)
        pairs.append((f"test {metric.display_name}", metric.text(value)))
    chosen = "best epoch" if any(k.startswith("validation_") for k in best) else "last epoch"
    for key, value in best.items():
        if key.startswith("validation_"):
            metric = run.metric(key.removeprefix("validation_"))
            pairs.append((f"validation {metric.display_name}, best epoch", metric.text(value)))
    if best.get("epoch"):
        by = f", by validation {run.metric(run.monitor).display_name}" if run.monitor else ""
        pairs.append((chosen, f"{best['epoch']}{by}"))
    pairs.append(("started", run.started.isoformat(" ")))
    for key, name, form in _FIGURES:
        if isinstance(summary.get(key), (int, float)):
            pairs.append((name, form.format(summary[key])))
    return Section("Summary", facts(pairs))


def _planned(run: RunRecord) -> str:
    return str(run.settings.get("training.epochs", "?"))


def _test(run: RunRecord) -> dict[str, Any]:
    test = run.summary.get("test")
    return test if isinstance(test, dict) else {}


def _curves(run: RunRecord) -> Section:
    x = shown_epochs(len(run.rows))
    rows = [run.rows[epoch - 1] for epoch in x]
    if not rows:
        return Section("Curves", sentences([_no_rows(run)]))
    keys = dict.fromkeys(key for row in rows for key in row)
    names = dict.fromkeys(
        key.partition("_")[2] for key in keys if key.startswith(("train_", "validation_"))
    )
    drawn = []
    for metric in map(run.metric, names):
        lines = [
            Line(split, [_scaled(row.get(f"{split}_{metric.name}"), metric.scale) for row in rows])
            for split in ("train", "validation")
            if f"{split}_{metric.name}" in keys
        ]
        drawn.append(chart(metric.display_name, x, lines, metric))
    if "lr" in keys:
        rate = Line("learning rate", [_scaled(row.get("lr"), 1) for row in rows])
        drawn.append(chart("learning rate", x, [rate]))
    some = "" if len(rows) == len(run.rows) else f", {len(rows)} of {len(run.rows):,} epochs"
    numbers = table(
        f"The log, one row per epoch{some}",
        list(keys),
        [[_cell(run, k, row.get(k)) for k in keys] for row in rows],
    )
    return Section("Curves", curves(drawn, numbers))


def _no_rows(run: RunRecord) -> str:
    log = RunDirectory(run.path).metrics
    if run.summary or (log.is_file() and log.stat().st_size):
        return "The log, metrics.jsonl, has no row that can be read."
    return "No epoch has finished yet."


def _scaled(value: Any, scale: int) -> float | None:
    return scale * value if isinstance(value, (int, float)) else None


def _cell(run: RunRecord, key: str, value: Any) -> Any:
    """A number of the log as people read it."""
    split, _, name = key.partition("_")
    if split in ("train", "validation") and isinstance(value, (int, float)):
        return (value, run.metric(name).text(value))
    return (value, f"{value:.4g}") if isinstance(value, float) else value


def _of_task(run: RunRecord, plugins: Sequence[str]) -> list[Section]:
    """The confusion and mistakes of a classifier; of other tasks, the run's own plots."""
    if run.task != "classify":
        return _plots(run)
    try:
        from cnnrun.components.tasks.metrics import fraction_text
        from cnnrun.evaluation import scoring as evaluation
        from cnnrun.evaluation.loading import open_checkpoint

        _, parts, _ = open_checkpoint(run.path, plugins=plugins)
        predictions, scores = evaluation.evaluate(parts, "test")
    except Exception as error:
        # If data or weights are broken by now, the rest of the page is still fine.
        why = str(error).strip() or type(error).__name__
        reason = f"No scores of single classes, and no mistakes: {why}"
        return [Section("Classes", sentences([reason], "warning")), *_plots(run)]
    matrix = confusion(scores["confusion"], scores["classes"])
    shares = ("precision", "recall", "f1")
    rows = [
        [row["class"], *((row[key], fraction_text(row[key])) for key in shares), row["support"]]
        for row in scores["per_class"]
    ]
    head = ["class", "precision", "recall", "F1", "test images"]
    classes = table("Scores of each class, on the test split", head, rows)
    return [
        Section("Confusion", matrix),
        Section("Classes", classes),
        *_calibration(predictions),
        Section("Mistakes", _mistakes(parts, predictions)),
    ]


def _calibration(predictions: Predictions) -> list[Section]:
    from cnnrun.components.tasks.metrics import calibration
    from cnnrun.evaluation.ranking_curves import answered

    found = answered(predictions.answers["outputs"], predictions.labels)
    if not len(found.labels):
        return []
    body = reliability(calibration(found.probabilities, found.labels))
    left_out = f"{found.left_out:,} predictions were not finite numbers and are left out."
    body += sentences([left_out] if found.left_out else [], "warning")
    return [Section("Calibration", body)]


def _mistakes(parts: Parts, predictions: Predictions) -> Markup:
    """The misclassified test images, most confident first."""
    import numpy as np
    import torch

    from cnnrun.components.tasks.metrics import softmax

    probabilities = softmax(predictions.answers["outputs"])
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != predictions.labels)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES]
    names = parts.dataset.classes
    if not len(wrong):
        return sentences(["None: every test image was classified correctly."])
    data = parts.dataset.test
    images = data.images[torch.from_numpy(shown)].cpu().numpy()
    found = [
        {
            "number": k,
            "true": names[predictions.labels[k]],
            "said": names[predicted[k]],
            "sure": f"{100 * confidence[k]:.0f} %",
            "caption": data.caption(k),
            "png": _png(pixels),
        }
        for pixels, k in zip(images, shown.tolist(), strict=True)
    ]
    count = f"{len(wrong):,} of {len(predicted):,} test images were misclassified"
    most = f"; these are the {len(shown)} with the highest confidence." if len(wrong) > 1 else "."
    return sentences([count + most]) + render("mistakes.html", mistakes=found)


def _png(image: Any) -> bytes:
    """An image (C, H, W) uint8 as a PNG, no larger than what a page needs."""
    from PIL import Image

    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    made = Image.fromarray(pixels)
    made.thumbnail((_MOST_SIDE, _MOST_SIDE))
    stream = io.BytesIO()
    made.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _plots(run: RunRecord) -> list[Section]:
    found = sorted(RunDirectory(run.path).plots.glob("*.png"))
    files = [file for file in found if file.stem != "curves"]  # the page has its own
    return [Section("Plots", plots(files))] if files else []


def _config(run: RunRecord) -> Section:
    text = read_text(RunDirectory(run.path).config, CONFIG_BYTES)
    return Section("Config", code(text, "the config"))


def _environment(run: RunRecord) -> Section:
    try:
        values = dict(read_json(RunDirectory(run.path).environment))
    except (UserError, ValueError, TypeError):
        return Section("Environment", sentences(["environment.json is missing."]))
    rows = [[key, _to_text(value)] for key, value in values.items()]
    return Section("Environment", table("Where it was trained", ["what", "value"], rows, False))


def _to_text(value: Any) -> str:
    if isinstance(value, list):
        return shlex.join(map(str, value))
    return "-" if value is None else str(value)


def _reproduce(run: RunRecord) -> Section:
    words = "The config above, saved as config.yaml, reproduces this run:"
    state = "" if run.state == "finished" else f"; resume it with cnnrun train --resume {run.path}"
    command = code("cnnrun train config.yaml", "the command")
    bits = "The bits are the same on the same kind of machine with the same versions" + state + "."
    return Section("Reproduce", sentences([words]) + command + sentences([bits]))
