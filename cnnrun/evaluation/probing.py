"""How useful a code is: what simple classifiers learn from it, against pixels and PCA."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnrun.components.tasks import Predictions
from cnnrun.components.tasks.reconstruct import Reconstruct
from cnnrun.data.dataset import Split
from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError
from cnnrun.evaluation.scoring import predict
from cnnrun.metrics import MSE
from cnnrun.runtime.randomness import generator

# PCA of more training images would take minutes without a visible change.
_MOST = 10_000
_NEIGHBOURS = 5

Features = NDArray[np.float32]


def has_codes(parts: Parts) -> bool:
    return isinstance(parts.task, Reconstruct)


def further_scores(
    parts: Parts, split: str, predictions: Predictions
) -> tuple[dict[str, Any], str]:
    """What `cnnrun eval` reports about a code besides the errors, as plain values and text."""
    ratio = compression(parts, predictions)
    words = (
        f"\n\ncompression: {ratio['numbers']:.3g} pixels for each number of the code, "
        f"{ratio['bytes']:.3g} bytes for each byte"
    )
    try:
        found = usefulness(parts, split, predictions)
    except UserError as error:
        return {"compression": ratio}, f"{words}\nnot probed: {error}"
    return {"compression": ratio, "usefulness": found}, f"{words}\n{to_text(found)}"


def worst(
    parts: Parts, split: str, predictions: Predictions, count: int
) -> tuple[list[dict[str, Any]], str]:
    """The `count` largest reconstruction errors, worst first, as plain values and text."""
    errors, labels = predictions.answers["mse"], predictions.labels
    rows, lines, data = [], [], parts.dataset.split(split)
    for i in np.argsort(-errors, kind="stable")[:count].tolist():
        name, file = parts.dataset.classes[labels[i]], data.name(i)
        named = {"index": i} | ({"file": file} if file else {})
        rows.append({**named, "class": name, "mse": float(errors[i])})
        lines.append(f"{MSE.text(float(errors[i]))}  {file or f'{split} image {i}'} ({name})")
    return rows, "\n\nworst reconstructions\n" + "\n".join(lines)


def compression(parts: Parts, predictions: Predictions) -> dict[str, float]:
    """Pixels per number of the code, and bytes per byte of it."""
    pixels, code = math.prod(parts.dataset.input_shape), predictions.answers["codes"].shape[1]
    # A pixel is one byte, a number of the code is four.
    return {"numbers": pixels / code, "bytes": pixels / (4 * code)}


def usefulness(parts: Parts, split: str, predictions: Predictions) -> dict[str, Any]:
    """Compare an autoencoder's code with the pixels and with a PCA of the code's size.

    A linear classifier (logistic regression on standardized features) and k nearest neighbours
    learn from `probe_labels` training images, as many of each class, drawn `probe_seeds` times;
    they are tested on `split`, whose `predictions` are given.

    Returns: for `code`, `pca` and `pixels`: their `size`, the accuracies `linear` and `knn` (mean
    over the draws, 0..1), `linear_std`, and for code and pca the `mse` of reconstruction.

    Raises:
        UserError: there are fewer classes than two, or fewer labels than classes.
    """
    from sklearn.decomposition import PCA

    task = parts.task
    assert isinstance(task, Reconstruct)
    data = parts.dataset
    classes = len(torch.unique(data.train.labels))
    if not 2 <= classes <= min(task.probe_labels, len(data.train)):
        raise UserError(
            f"task.probe_labels: {task.probe_labels} labels can't show {classes} classes"
        )
    kept = torch.randperm(
        len(data.train), generator=generator(parts.experiment.seed, "probe")
    )[:_MOST]  # fmt: skip
    train = data.train.take(kept)
    codes = predict(parts, "train").answers["codes"][kept.numpy()]
    tested = predictions.answers["codes"]
    pixels, test_pixels = _pixels(train), _pixels(data.split(split))
    size = min(codes.shape[1], *pixels.shape)
    pca = PCA(size, random_state=0).fit(pixels)
    back = pca.inverse_transform(pca.transform(test_pixels))
    draws = [
        _balanced(train.labels.numpy(), task.probe_labels, parts.experiment.seed, k)
        for k in range(task.probe_seeds)
    ]
    labels = train.labels.numpy(), predictions.labels
    return {
        "labels": len(draws[0]),
        "seeds": len(draws),
        "code": {
            **_probe(codes, tested, *labels, draws),
            "mse": float(predictions.answers["mse"].mean(dtype=np.float64)),
        },
        "pca": {
            **_probe(pca.transform(pixels), pca.transform(test_pixels), *labels, draws),
            "mse": float(np.square(back - test_pixels, dtype=np.float64).mean()),
        },
        "pixels": _probe(pixels, test_pixels, *labels, draws),
    }


def to_text(found: dict[str, Any]) -> str:
    lines = [
        f"classifiers of {found['labels']} labelled training images "
        f"(mean of {found['seeds']} draws), on",
        f"{'':8}numbers   linear (std)        {_NEIGHBOURS}-NN   squared error",
    ]
    for name in ("code", "pca", "pixels"):
        row = found[name]
        error = f"{row['mse']:.5f}" if "mse" in row else "-"
        lines.append(
            f"{name:8}{row['size']:>7,} {100 * row['linear']:>7.2f} % "
            f"({100 * row['linear_std']:.2f})  {100 * row['knn']:>6.2f} %   {error:>13}"
        )
    return "\n".join(lines)


def _probe(
    features: Features,
    tested: Features,
    labels: NDArray[np.int64],
    test_labels: NDArray[np.int64],
    draws: list[NDArray[np.int64]],
) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear, neighbours = [], []
    for draw in draws:
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        linear.append(probe.fit(features[draw], labels[draw]).score(tested, test_labels))
        knn = KNeighborsClassifier(min(_NEIGHBOURS, len(draw)))
        neighbours.append(knn.fit(features[draw], labels[draw]).score(tested, test_labels))
    return {
        "size": features.shape[1],
        "linear": float(np.mean(linear)),
        "linear_std": float(np.std(linear)),
        "knn": float(np.mean(neighbours)),
    }


def _balanced(labels: NDArray[np.int64], count: int, seed: int, draw: int) -> NDArray[np.int64]:
    """Indices of about `count` samples, equally many of each class if there are enough."""
    order = torch.randperm(len(labels), generator=generator(seed, "probe labels", draw)).numpy()
    present = np.unique(labels)
    each = max(1, count // len(present))
    return np.concatenate([order[labels[order] == k][:each] for k in present])


def _pixels(split: Split) -> Features:
    """(N, C * H * W) float32 in 0..1."""
    images = split.images[torch.arange(len(split))]
    return images.flatten(1).float().div(255).numpy()
