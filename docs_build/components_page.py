"""`docs/reference/components/`: everything that an experiment can name, a page for each kind."""

from __future__ import annotations

import re

from cnnrun.config.key_docs import parameter_texts, prose
from cnnrun.registry import KINDS, Entry, Registry
from cnnrun.registry.library import Library
from docs_build.tables import keys_table

_INDEX = """\
# Components

A component is anything that an experiment names: a data set, a model, a loss. Each kind has a page with all
components and their parameters. `cnnrun list KIND NAME` prints the same, including components of your own.

In YAML, a component is a name, or a mapping with `name` and parameters:

```yaml
loss: cross_entropy
optimizer: {name: adam, lr: 0.003}
```

| kind | what it is |
|---|---|
"""
_TITLES = {"dataset": "Data sets", "loss": "Losses"}
_KINDS = {
    "task": "What the network is trained for: it decides what a step does, what is measured and which plots are drawn.",
    "dataset": "Where the images come from. Keys that all data sets share are in the [config file](../config.md#dataset).",
    "augmentation": "Random changes to training images (data augmentation), listed under `dataset.augment`.",
    "model": "The network: your own CNN block by block, ResNets, autoencoders, everything in torchvision and timm.",
    "activation": "The nonlinear function after a layer: `model.activation`.",
    "initializer": "How the weights start, before training.",
    "loss": "What training minimizes.",
    "optimizer": "How gradients change the weights.",
    "schedule": "How the learning rate changes during training.",
    "plot": "What `cnnrun viz PLOT RUN` draws. The [gallery](../../gallery.md) shows each plot.",
    "logger": "Where else the metrics go: TensorBoard, MLflow, W&B, CSV.",
}


def pages() -> dict[str, str]:
    """The Markdown of the index and of each kind's page, by file name."""
    rows = [f"| [{kind}]({kind}.md) | {text} |" for kind, text in _KINDS.items()]
    found = {"index.md": _INDEX + "\n".join(rows) + "\n"}
    for kind, registry in KINDS.items():
        found[f"{kind}.md"] = _page(registry, _KINDS[kind])
    return found


def _page(registry: Registry, about: str) -> str:
    title = _TITLES.get(registry.kind, f"{registry.kind.capitalize()}s")
    parts = [f"# {title}", "", about, "", *_summaries(registry), ""]
    for name in registry.names():
        parts += _component(registry.get(name))
    for library in registry.libraries.known.values():
        parts += _library(registry.kind, library)
    return "\n".join(parts)


def _anchor(entry: Entry) -> str:
    return f"{entry.kind}-{entry.name.removesuffix('/*')}"


def _summaries(registry: Registry) -> list[str]:
    entries = [registry.get(name) for name in registry.names()]
    rows = [f"| [`{e.name}`](#{_anchor(e)}) | {_prose(e.summary)} |" for e in entries]
    rows += [
        f"| [`{lib.name}/*`](#{registry.kind}-{lib.name}) | {_prose(lib.summary)} |"
        for lib in registry.libraries.known.values()
    ]
    return ["| name | |", "|---|---|", *rows]


def _library(kind: str, library: Library) -> list[str]:
    names = ", ".join(f"`{name}`" for name in library.names())
    told = f"`cnnrun list {kind} NAME` shows the keys of each: {names}."
    return [f"## {library.name}/* {{: #{kind}-{library.name} }}", "", library.summary, "", told, ""]


def _component(entry: Entry) -> list[str]:
    texts = parameter_texts(entry)
    fields = entry.schema().model_fields
    own = {name: fields[name] for name in entry.parameters}
    lines = [f"## {entry.name} {{: #{_anchor(entry)} }}", "", _prose(entry.summary), ""]
    for paragraph in prose(entry):
        lines += [_prose(paragraph), ""]
    return lines + ([*keys_table(own, texts), ""] if own else [])


def _prose(text: str) -> str:
    """Literal text: nothing in it is Markdown except what is in backquotes."""
    parts = text.split("`")
    plain = [re.sub(r"([*_<|\[\]])", r"\\\1", part) for part in parts[::2]]
    parts[::2] = plain
    return "`".join(parts)
