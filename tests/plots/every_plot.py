"""Small trained runs of each task, with few and many classes, gray and RGB, plain and odd names.

`python -m tests.plots.every_plot FOLDER [CASE ...]` draws every plot of all runs, or of some, to be
looked at: PNG files, and an `index.html` with all of them on light and on dark ground.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path

import numpy as np

from cnnrun import runner
from cnnrun.config.document import Document
from cnnrun.config.experiment import load
from cnnrun.config.yaml_words import dump
from cnnrun.data.targets import IGNORED
from cnnrun.errors import UserError
from cnnrun.evaluation.loading import open_checkpoint
from cnnrun.plots import figure_of
from cnnrun.plots.style import Figure, save
from cnnrun.plots.target import Opened, Target
from cnnrun.registry import plots
from tests.small_tasks import TASKS, experiment

LONG = "African hunting dog, hyena dog, Cape hunting dog, Lycaon pictus"
SCRIPTS = (
    *("кошка", "γάτα", "猫の写真", "고양이", "قطة صغيرة", "חתול", "แมวน้อย", "बिल्ली", "🐱 cat"),
    *("$5 bill $x_2$", "<b>&amp;", "", "_private", "a/b\\c", "ﬁne\u0301"),
)

CLASSIFY = """\
name: {name}
dataset: {{name: fake, count: {count}, test: {test}, rgb: {rgb}, height: 12, width: 12,
  classes: {classes}, batch_size: 50, validation: 0.2, augment: [rotation, horizontal_flip]}}
model: {{name: cnn, channels: [4, 6], batch_norm: true, head: [8]}}
optimizer: {{name: adam, lr: 0.02}}
device: cpu
training: {{epochs: 2, draw: false}}
"""

RECONSTRUCT = """\
name: {name}
task: {{name: reconstruct, probe_labels: 20, probe_seeds: 1, noise: 0.3}}
dataset: {{name: fake, count: 60, test: 40, rgb: {rgb}, height: 16, width: 16, batch_size: 30}}
model: {{name: conv_autoencoder, channels: [4, 4], code: {code}}}
optimizer: {{name: adam, lr: 0.01}}
device: cpu
training: {{epochs: 2, draw: false}}
"""


def classifier(folder: Path, classes: int, rgb: bool, names: str) -> Target:
    """A run of a classifier on random images, its classes called as one likes."""
    config = CLASSIFY.format(
        name=f"{names}_names" if names != "long" else LONG.replace(", ", "-").replace(" ", "_"),
        count=max(60, classes),
        test=max(60, classes),
        rgb=str(rgb).lower(),
        classes=classes,
    )
    path, opened = _trained(folder, config)
    dataset = replace(opened.dataset, classes=tuple(_names(names, classes)))
    return Target(path, opened=Opened(replace(opened, dataset=dataset), trained=True))


def autoencoder(folder: Path, code: int, rgb: bool) -> Target:
    """A run of a denoising autoencoder."""
    config = RECONSTRUCT.format(name=f"code_of_{code}", code=code, rgb=str(rgb).lower())
    path, opened = _trained(folder, config)
    return Target(path, opened=Opened(opened, trained=True))


def stylized(folder: Path) -> Target:
    """A style transfer by a VGG of random weights."""
    changes = ["loss.weights=random", "dataset.longest=64", "training.epochs=2", "model.stages=1"]
    changes += ["loss.content_layers={relu2_1: 1}", "loss.style_layers={relu1_1: 1}"]
    changes += ["dataset.steps=1", "optimizer.max_iter=2"]
    run = runner.train(
        load(Path("stylize"), [f"output={folder}", "training.draw=false", *changes]), quiet=True
    )
    _, parts, _ = open_checkpoint(run.path)
    return Target(run.path, opened=Opened(parts, trained=True))


def of_targets(folder: Path, task: str) -> Target:
    """A run of a task that learns from label sets, values or masks."""
    path, opened = _trained(folder, dump(experiment(task)))
    return Target(path, opened=Opened(opened, trained=True))


def of_arrays(folder: Path, task: str, classes: int, names: str) -> Target:
    """The same of many labels, values or classes, called as one likes, on random images."""
    random = np.random.default_rng(0)
    rows = {
        "multilabel": random.integers(0, 2, (60, classes)),
        "regress": random.standard_normal((60, classes)) * 10.0 ** (np.arange(classes) % 9 - 4),
        "segment": random.integers(0, classes, (60, 4, 4), dtype=np.uint8)
        .repeat(4, 1)
        .repeat(4, 2),
    }
    rows["segment"][:, :2] = IGNORED
    folder.mkdir(parents=True, exist_ok=True)
    images = random.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    np.savez_compressed(folder / "arrays.npz", images=images, targets=rows[task])
    kind = TASKS[task]["dataset"]["targets"]
    data = {"name": "npz", "file": str(folder / "arrays.npz"), "targets": kind, "batch_size": 16}
    data["classes"] = [name or "?" for name in _names(names, classes)]
    path, opened = _trained(folder, dump(experiment(task, dataset=data)))
    return Target(path, opened=Opened(opened, trained=True))


def _trained(folder: Path, config: str):  # type: ignore[no-untyped-def]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "every.yaml"
    file.write_text(config, "utf-8")
    run = runner.train(load(file, [f"output={folder}"]), quiet=True)
    return run.path, open_checkpoint(run.path)[1]


def _names(kind: str, count: int) -> Iterator[str]:
    for k in range(count):
        if kind == "long":
            yield f"{LONG} {k}"
        elif kind == "odd":
            name = SCRIPTS[k % len(SCRIPTS)]
            yield name if k < len(SCRIPTS) else f"{name} {k}"
        else:
            yield f"c{k}"


CASES = {
    "2 long, gray": lambda folder: classifier(folder, 2, False, "long"),
    "10 odd, RGB": lambda folder: classifier(folder, 10, True, "odd"),
    "10 plain, gray": lambda folder: classifier(folder, 10, False, "plain"),
    "100 long, RGB": lambda folder: classifier(folder, 100, True, "long"),
    "1000 odd, gray": lambda folder: classifier(folder, 1000, False, "odd"),
    "code of 2, gray": lambda folder: autoencoder(folder, 2, False),
    "code of 8, RGB": lambda folder: autoencoder(folder, 8, True),
    "style": stylized,
    **{task: partial(of_targets, task=task) for task in TASKS},
    "100 odd labels": partial(of_arrays, task="multilabel", classes=100, names="odd"),
    "12 long values": partial(of_arrays, task="regress", classes=12, names="long"),
    "30 long masks": partial(of_arrays, task="segment", classes=30, names="long"),
}
"""Runs by what is odd in them."""

OF_THE_NETWORK = {"activations", "weights", "filters", "features", "pixels", "augmentations"}
"""Plots that look alike whatever the classes are."""

QUICK = {"invariance": {"count": 40}, "embeddings": {"count": 200}, "latent": {"count": 60}}
"""Parameters of plots that would take seconds."""


def figures(target: Target, left_out: set[str] = frozenset()) -> Iterator[tuple[str, Figure]]:  # type: ignore[assignment]
    """Every plot that the target has, by its name."""
    for name in plots.names():
        if name in left_out or not plots.get(name).factory.__module__.startswith("cnnrun."):
            continue
        document = Document("test", {"name": name, **QUICK.get(name, {})})
        with suppress(UserError):
            yield name, figure_of(name, target, document)


def main(folder: Path, only: list[str]) -> None:
    rows = []
    for case, make in CASES.items():
        if only and case not in only:
            continue
        target = make(folder / "runs" / case)
        cells = []
        for name, figure in figures(target):
            file = save(figure, folder / case / f"{name}.png")
            cells.append(f'<img src="{escape(str(file.relative_to(folder)))}" title="{name}">')
        print(f"{case}: {len(cells)} plots", flush=True)
        rows.append(f"<h2>{case}</h2><div>{''.join(cells)}</div>")
    style = "div{display:flex;flex-wrap:wrap;gap:1em;padding:1em}img{max-width:100%}"
    style += "body>div:nth-of-type(even){background:#111}"
    (folder / "index.html").write_text(f"<style>{style}</style>{''.join(rows)}", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
