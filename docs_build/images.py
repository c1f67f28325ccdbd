"""Trains shipped configs and draws the plots of the README and of `docs/`: `make images`.

    python -m docs_build.images [DATA]

DATA is the folder that has `MNIST/raw` (by default `$CNNRUN_DATA`, else `data`, and MNIST is
fetched where it is not there). Takes a quarter of an hour on two cores; every command is printed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from docs_build import DOCS
from docs_build.gallery_page import GALLERY

IMAGES = DOCS / "images"
LIMIT = 150_000
"""Bytes of an image: a page of documentation is to open at once."""


def main(data: str) -> None:
    GALLERY.mkdir(exist_ok=True, parents=True)
    started = time.time()
    mnist = [f"dataset.root={Path(data).resolve()}", "dataset.limit=20000"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _digits()
        _initializers()
        _classifier(mnist)
        _autoencoders(mnist)
        _style()
        _targets()
        _studies(mnist[0])
    for image in sorted(IMAGES.rglob("*.png")):
        if image.stat().st_mtime < started:
            raise SystemExit(f"{image}: nothing here draws this image")
        _shrink(image)
        print(f"{image.name}: {image.stat().st_size / 1000:.0f} kB")


def _digits() -> None:
    run = _train("digits_cnn")
    for plot in ("curves", "confusion", "mistakes"):
        _cnnrun("viz", plot, run, "-o", IMAGES / f"{plot}.png")
    _cnnrun("describe", "digits_cnn", "-o", IMAGES / "network.png")
    _cnnrun("crossval", "digits_cnn", "training.epochs=1", "training.draw=false", "-q")
    suspects = ["viz", "suspects", "crossval/digits_cnn", "-p", "count=10"]
    _cnnrun(*suspects, "-o", GALLERY / "suspects.png")
    for norm in ("true", "false"):
        for seed in range(5):
            _train("digits_cnn", f"model.batch_norm={norm}", f"seed={seed}", *_FEW)
    # Only runs of few images: the first one is another experiment.
    _cnnrun("compare", "few", "-o", IMAGES / "compare.png")


_FEW = ("dataset.per_class=20", "training.epochs=10", "training.draw=false", "output=few")


def _initializers() -> None:
    _cnnrun("viz", "activations", "digits_cnn", *_DEEP, "-o", IMAGES / "activations.png")


_DEEP = (
    "model={name: mlp, hidden: [64, 64, 64, 64, 64]}",
    "initializer={name: normal, std: 0.05}",
)


def _classifier(mnist: list[str]) -> None:
    run = _train("mnist_cnn", *mnist, "training.epochs=3")
    _cnnrun("viz", "features", run, "-o", IMAGES / "features.png")
    _gallery(run, *_OF_CLASSIFIERS)
    _cnnrun("viz", "augmentations", "mnist_pretrain", *mnist, "-o", GALLERY / "augmentations.png")
    _cnnrun("viz", "augmentations", "mnist_pretrain", *mnist, "-o", IMAGES / "augmentations.png")


def _autoencoders(mnist: list[str]) -> None:
    for config, plot, *parameters in (
        ("mnist_autoencoder", "reconstructions"),
        ("mnist_denoising", "reconstructions"),
        ("mnist_vae", "decoded_grid", "-p", "side=10"),
    ):
        run = _train(config, *mnist, "training.epochs=10")
        image = IMAGES / f"{config.removeprefix('mnist_')}.png"
        for file in (image, GALLERY / f"{plot}.png"):
            _cnnrun("viz", plot, run, *parameters, "-o", file)
        if config == "mnist_autoencoder":
            _gallery(run, "outliers", "latent", "walks")


def _targets() -> None:
    for config, plot in (
        ("shapes_regress", "predicted"),
        ("shapes_multilabel", "label_curves"),
        ("shapes_segment", "overlays"),
    ):
        run = _train(config)
        _cnnrun("viz", plot, run, "-o", IMAGES / f"{plot}.png")
        _gallery(run, plot, *(["residuals"] if plot == "predicted" else []))


def _studies(root: str) -> None:
    for study, plot, image in (
        ("initializers", "activations", "spread"),
        ("augmentation", "invariance", "invariance"),
    ):
        _cnnrun("study", study, root, "-q")
        shutil.copyfile(f"studies/{study}/{plot}.png", IMAGES / f"{image}.png")


def _style() -> None:
    """With random weights, as those of a trained VGG can't be shipped."""
    run = _train("stylize", *_RANDOM_JUDGE)
    _cnnrun("viz", "style", run, "-o", IMAGES / "style.png")
    _gallery(run, "style")


_RANDOM_JUDGE = (
    "loss.weights=random",
    "loss.style_weight=500",
    "model.stages=1",
    "dataset.longest=128",
    "training.epochs=2",
)


def _gallery(run: str, *plots: str) -> None:
    """Draw plots of a run for the page that shows all of them."""
    for plot in plots:
        _cnnrun("viz", plot, run, "-o", GALLERY / f"{plot}.png")


_OF_CLASSIFIERS = (
    *("samples", "pixels", "curves", "confusion", "mistakes", "invariance", "gradcam", "saliency"),
    *("calibration", "precision_recall", "roc"),
    *("features", "filters", "weights", "activations", "embeddings"),
)


def _train(*arguments: str) -> str:
    return _cnnrun("train", *arguments, "-q").splitlines()[0]


def _cnnrun(*arguments: object) -> str:
    command = ["cnnrun", *map(str, arguments)]
    print(shlex.join(command), flush=True)
    program = [sys.executable, "-m", *command]
    return subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _shrink(image: Path) -> None:
    """Fewer colours where that brings a image below the limit."""
    if image.stat().st_size < LIMIT:
        return
    with Image.open(image) as opened:
        fewer = opened.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    fewer.save(image, optimize=True)
    assert image.stat().st_size < LIMIT, f"{image.name} is too large"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CNNRUN_DATA", "data"))
