"""A new experiment as commented YAML: `cnnrun new`."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from cnnrun import registry
from cnnrun.config.document import Document
from cnnrun.config.experiment import Experiment, Training, validate
from cnnrun.config.key_docs import field_texts, parameter_texts
from cnnrun.config.yaml_words import dump
from cnnrun.errors import ConfigError, did_you_mean
from cnnrun.registry import Component, as_mapping

# Settings that train a network from scratch well.
_USUAL = {
    "model": "cnn",
    "initializer": "kaiming_normal",
    "optimizer": {"name": "adam", "lr": 0.001},
    "schedule": "cosine",
    "training": {"epochs": 20},
}
_DIGITS = {"name": "digits", "batch_size": 64, "validation": 0.1}
_SHAPES = {"name": "shapes", "batch_size": 64, "validation": 0.1}
# What each task starts with: small data that need no download, and settings that train well on
# them.
_BEGINNINGS: dict[str, dict[str, Any]] = {
    "classify": {"dataset": _DIGITS, **_USUAL},
    "reconstruct": {
        "dataset": _DIGITS,
        "model": "conv_autoencoder",
        "loss": "mse",
        "optimizer": {"name": "adam", "lr": 0.002},
        "schedule": "cosine",
        "training": {"epochs": 20},
    },
    "multilabel": {"dataset": {**_SHAPES, "targets": "label_sets"}, **_USUAL},
    "regress": {"dataset": {**_SHAPES, "targets": "values"}, **_USUAL},
    "segment": {
        **_USUAL,
        "dataset": {**_SHAPES, "targets": "masks", "batch_size": 32},
        "model": {"name": "unet", "encoder": "cnn"},
        "training": {"epochs": 10},
    },
    "stylize": {
        "dataset": {"name": "image", "file": "sample:china.jpg", "longest": 256},
        "model": "image",
        "loss": {"name": "neural_style", "styles": [{"file": "sample:flower.jpg"}]},
        "optimizer": {"name": "lbfgs", "lr": 1.0},
        "training": {"epochs": 6},
    },
}
_WIDTH = 96


def new_experiment(
    name: str,
    task: str = "classify",
    dataset: str | None = None,
    model: str | None = None,
    overrides: Iterable[str] = (),
    plugins: Iterable[str] = (),
) -> str:
    """A YAML file that validates, with every key and its meaning; defaults are commented out.

    Raises:
        ConfigError: an unknown name, or a component with keys that have no default; giving them as
            overrides (`dataset.root=photos`) helps.
    """
    if task not in registry.tasks.names():
        hint = did_you_mean(task, registry.tasks.names())
        raise ConfigError(
            f"--task: unknown task '{task}'{hint or '; there are ' + ', '.join(_BEGINNINGS)}"
        )
    usual = deepcopy(_BEGINNINGS.get(task, _BEGINNINGS["classify"]))  # overrides change it
    values = {"name": name, "task": task, **usual}
    if dataset is not None:
        values["dataset"] = {"name": dataset, **_kept(values["dataset"], dataset)}
    if model is not None:
        values["model"] = model
    document = Document("cnnrun new", values)
    try:
        experiment = validate(document, overrides, plugins)
    except ConfigError as error:
        if "this key is required" not in str(error):
            raise
        raise ConfigError([*error.problems, "give it here, e.g. dataset.root=photos"]) from None
    return _rendered(experiment, document.values)


def _kept(beginning: dict[str, Any], dataset: str) -> dict[str, Any]:
    """What another data set takes over: batches, validation, and the targets of the task."""
    entry = registry.datasets.find(dataset)
    keys = ["batch_size", "validation"]
    keys += ["targets"] if entry and "targets" in entry.parameters else []
    return {key: beginning[key] for key in keys if key in beginning}


def _rendered(experiment: Experiment, written: dict[str, Any]) -> str:
    texts = field_texts(Experiment)
    lines = [
        "# `cnnrun check FILE` validates this experiment, `cnnrun train FILE` trains it.",
        "# Lines like `#key: value` are defaults; `cnnrun list` shows what else can be named.",
        "",
    ]
    whole = experiment.to_dict()
    for key, value in whole.items():
        model = getattr(experiment, key)
        lines += _prose(texts.get(key, ""), "")
        if isinstance(model, Component):
            lines += _component(key, model, as_mapping(written.get(key, model.name)))
        elif isinstance(model, BaseModel):
            lines += [f"{key}:", *_keys(value, written.get(key, {}), field_texts(Training), set())]
        else:
            lines += _pair(key, value, "", active=key in written or key == "seed")
        lines.append("")
    return "\n".join(lines)


def _component(section: str, component: Component, written: dict[str, Any]) -> list[str]:
    """The section of a component: its name and its parameters, then the common keys."""
    entry = registry.KINDS[section].get(component.name)
    values = component.model_dump()
    texts = parameter_texts(entry)
    shown = set(entry.parameters) if section == "model" else set()
    own = {key: values[key] for key in entry.parameters}
    shared = {k: v for k, v in values.items() if k not in own and k != "name"}
    head = [f"# {component.name}: {entry.summary}", f"{section}:", f"  name: {component.name}"]
    return [*head, *_keys(own, written, texts, shown), *_keys(shared, written, texts, shown)]


def _keys(
    values: dict[str, Any], written: dict[str, Any], texts: dict[str, str], shown: set[str]
) -> list[str]:
    lines: list[str] = []
    for key, value in values.items():
        lines += _prose(texts.get(key, ""), "  ")
        lines += _pair(key, value, "  ", active=key in written or key in shown)
    return lines


def _prose(text: str, indent: str) -> list[str]:
    first = indent + "# "
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=first)


def _pair(key: str, value: Any, indent: str, active: bool) -> list[str]:
    """`key: value`, as a comment where it is the default."""
    return [f"{indent}{'' if active else '#'}{key}: {_inline(value)}"]


def _inline(value: Any) -> str:
    """The value in one line of YAML, e.g. `[32, 64]`."""
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_inline(k)}: {_inline(v)}' for k, v in value.items())}}}"
    if isinstance(value, str) and re.search(r"[],\[{}#&*!|>'\"%@`\\]", value):
        return json.dumps(value, ensure_ascii=False)  # a JSON string is YAML, too
    return dump(value).partition("\n")[0]
