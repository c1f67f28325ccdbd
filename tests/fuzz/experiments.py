"""Random experiments over the whole schema, small enough to train in a second.

An experiment follows from its number alone, so a failure is repeated by naming it.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cow")

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid")
AUGMENTATIONS: list[Any] = [
    "horizontal_flip", "vertical_flip", "alternating_flip", "translation", "rotation", "shear",
    "scale", {"name": "shift_crop", "padding": 1}, {"name": "cutout", "size": 3}, "erasing",
    "brightness", "contrast", "blur", "mixup", "cutmix", "random_resized_crop", "trivial_augment",
    {"name": "randaugment", "magnitude": 5}, {"name": "rotation", "degrees": 40},
]  # fmt: skip
INITIALIZERS: list[Any] = [
    "default", "kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform",
    "orthogonal", "uniform_fan_in", {"name": "normal", "std": 0.1}, "trunc_normal",
    {"name": "uniform", "low": -0.1, "high": 0.1}, {"name": "constant", "value": 0.01},
]  # fmt: skip


def write_images(folder: Path) -> Path:
    """A folder of three classes without splits, 25 images each, of two modes and several sizes."""
    random_ = np.random.default_rng(0)
    for k, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(25):
            pixels = random_.integers(0, 130, (9 + i % 3, 10, 3)) + 60 * k
            image = Image.fromarray(pixels.astype(np.uint8))
            image = image.convert("L") if i % 5 == 0 else image
            image.save(folder / name / f"{i:02}.png")
    return folder


def experiment(number: int, images: Path) -> dict[str, Any]:
    """Experiment `number`; images: a folder that `write_images` filled."""
    draw = random.Random(number)
    reconstruct = draw.random() < 0.15
    values: dict[str, Any] = {
        "name": f"e{number}",
        "seed": draw.randrange(1000),
        "device": "cpu",
        "task": _task(draw, reconstruct),
        "dataset": _dataset(draw, images, reconstruct),
        "model": _autoencoder(draw) if reconstruct else _model(draw),
        "initializer": draw.choice(INITIALIZERS),
        "loss": draw.choice(["mse", "l1", "bce"]) if reconstruct else _loss(draw),
        "optimizer": _optimizer(draw),
        "schedule": _schedule(draw),
    }
    if values["model"]["name"] == "linear_autoencoder" and values["loss"] == "bce":
        values["loss"] = "mse"  # it gives pixels below 0 and above 1
    if not reconstruct and draw.random() < 0.3:
        values["transfer"] = _transfer(draw, values["model"]["name"])
    values["training"] = _training(draw, values)
    return values


def _task(draw: random.Random, reconstruct: bool) -> Any:
    if reconstruct:
        kind = draw.choice(["gaussian", "masking"])
        noise = draw.choice([0.0, 0.0, 0.2])
        return {"name": "reconstruct", "noise": noise, "noise_kind": kind}
    return draw.choice(["classify", "classify", {"name": "classify", "tta": "flip"}])


def _dataset(draw: random.Random, images: Path, reconstruct: bool) -> dict[str, Any]:
    values: dict[str, Any] = draw.choice(
        [
            {"name": "digits", "limit": draw.choice([60, 97, 150])},
            {"name": "digits", "per_class": draw.choice([4, 7])},
            {"name": "shapes", "side": 12, "train": 90, "test": 20, "classes": 3},
            {"name": "fake", "count": 80, "test": 15, "height": 8, "width": 9, "classes": 4},
            {"name": "folder", "root": str(images), "size": draw.choice([8, [8, 10]])},
        ]
    )
    values["batch_size"] = draw.choice([7, 16, 20, 33])
    values |= draw.choice(
        [{}, {"validation": 0}, {"validation": 0.25}, {"validation": 12}, {"fold": "2/3"}]
    )
    values["normalize"] = draw.choice(["auto", "auto", "half", "none"])
    if values["name"] == "folder":
        values |= draw.choice([{}, {"channels": "gray"}, {"channels": "rgb"}, {"resize": "pad"}])
        values["cache"] = draw.choice(["none", "ram"])
    if draw.random() < 0.2 and values["name"] != "folder":
        values["displace"] = 0.1
    if draw.random() < 0.4:
        chosen = draw.sample(AUGMENTATIONS, draw.choice([1, 1, 2, 3]))
        labels_change = ("mixup", "cutmix")
        values["augment"] = [a for a in chosen if not (reconstruct and a in labels_change)]
        values["interpolation"] = draw.choice(["nearest", "bilinear"])
    return values


def _model(draw: random.Random) -> dict[str, Any]:
    name = draw.choice(["mlp", "mlp", "cnn", "cnn", "cnn", "resnet"])
    if name == "mlp":
        return {
            "name": "mlp",
            "hidden": draw.choice([[], [8], [12, 6]]),
            "activation": draw.choice(ACTIVATIONS),
            "dropout": draw.choice([0.0, 0.0, 0.3]),
            "batch_norm": draw.random() < 0.3,
        }
    if name == "cnn":
        return {
            "name": "cnn",
            "channels": draw.choice([[3], [4, 5]]),
            "kind": draw.choice(["conv", "conv", "conv", "local"]),
            "kernel_size": draw.choice([1, 3]),
            "padding_mode": draw.choice(["zeros", "reflect", "circular"]),
            "pooling": draw.choice(["max", "average", "none"]),
            "activation": draw.choice(ACTIVATIONS),
            "batch_norm": draw.random() < 0.4,
            "spatial_dropout": draw.choice([0.0, 0.0, 0.2]),
            "head_pooling": draw.choice(["flatten", "average"]),
            "head": draw.choice([[], [6]]),
            "dropout": draw.choice([0.0, 0.0, 0.3]),
        }
    return {"name": "resnet", "depth": 8, "width": 4, "dropout": draw.choice([0.0, 0.2])}


def _autoencoder(draw: random.Random) -> dict[str, Any]:
    name = draw.choice(["linear_autoencoder", "conv_autoencoder", "vae"])
    if name == "linear_autoencoder":
        return {"name": name, "code": 3}
    values = {"name": name, "code": 3, "channels": [4, 6], "batch_norm": draw.random() < 0.5}
    values["upsampling"] = draw.choice(["transposed", "nearest"])
    return values


def _loss(draw: random.Random) -> Any:
    weight = draw.choice(["none", "balanced"])
    return draw.choice(
        [
            "cross_entropy",
            {"name": "cross_entropy", "label_smoothing": 0.1, "weight": weight},
            {"name": "focal", "gamma": draw.choice([0.5, 2.0]), "weight": weight},
            "mse",
            "l1",
            "nll",
        ]
    )


def _optimizer(draw: random.Random) -> dict[str, Any]:
    decay = draw.choice([0.0, 0.01])
    name = draw.choice(["sgd", "sgd", "adam", "adamw", "rmsprop", "adagrad", "lbfgs"])
    if name == "sgd":
        momentum = draw.choice([0.0, 0.9])
        values = {"lr": draw.choice([0.01, 0.1]), "momentum": momentum, "weight_decay": decay}
        return {
            "name": name,
            **values,
            "nesterov": momentum > 0 and draw.random() < 0.5,
            "decoupled": draw.random() < 0.2,
        }
    if name == "lbfgs":
        return {"name": name, "lr": 0.5, "max_iter": 3, "line_search": draw.random() < 0.5}
    values = {"name": name, "lr": draw.choice([0.001, 0.01]), "weight_decay": decay}
    # Rounding of a gradient that should be zero is not to become a whole step.
    values["eps"] = 1e-3
    if name == "rmsprop":
        values |= {"momentum": draw.choice([0.0, 0.5]), "centered": draw.random() < 0.5}
    return values


def _schedule(draw: random.Random) -> dict[str, Any]:
    values = draw.choice(
        [
            {"name": "constant"},
            {"name": "cosine", "final": draw.choice([0.0, 0.1])},
            {"name": "linear", "final": 0.1},
            {"name": "multistep", "milestones": [1, 2], "gamma": 0.5},
            {"name": "step", "epochs": 1, "gamma": 0.5},
            {"name": "one_cycle"},
            {"name": "plateau", "patience": 0, "gamma": 0.5},
        ]
    )
    return {**values, "warmup_epochs": draw.choice([0.0, 0.0, 0.5])}


def _transfer(draw: random.Random, model: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    first = {"mlp": "features.1", "cnn": "features.0*", "resnet": "features.stem"}[model]
    values["freeze"] = draw.choice(["none", "features", "features*", first, first])
    if draw.random() < 0.5:
        values["head"] = draw.choice([[], [5]])
    if draw.random() < 0.4:
        values["unfreeze_at"] = draw.choice([1, 2, 3])
    if draw.random() < 0.4:
        values["lr_multipliers"] = {"features": draw.choice([0.1, 0.5])}
    return values


def _training(draw: random.Random, values: dict[str, Any]) -> dict[str, Any]:
    training: dict[str, Any] = {"epochs": draw.choice([1, 2, 3]), "draw": False}
    choices: dict[str, list[Any]] = {
        "patience": [1],
        "monitor": ["loss"],
        "checkpoint_every": ["2 steps"],
        "accumulate": [2, 3],
        "clip_norm": [0.5],
        "ema": [0.9],
        "on_nan": ["skip"],
        "amp": ["bf16"],
        "channels_last": [False],
    }
    for key, allowed in choices.items():
        if draw.random() < 0.15:
            training[key] = draw.choice(allowed)
    if draw.random() < 0.1 and values["model"]["name"] == "cnn":
        training |= {"progressive_from": 0.75, "progressive_until": 0.8}
        values["model"] |= {"head_pooling": "average", "kind": "conv"}
    return training
