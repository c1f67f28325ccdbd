"""`docs/reference/config.md`: every key of an experiment's YAML file."""

from __future__ import annotations

from pydantic import BaseModel

from cnnrun.components.schedules import ScheduleOptions
from cnnrun.config.experiment import Experiment, Training, experiment_model
from cnnrun.config.key_docs import field_texts
from cnnrun.data.options import DatasetOptions
from cnnrun.models.transfer import Transfer
from cnnrun.registry import KINDS
from docs_build.tables import cell, default, keys_table

_HEAD = """\
# The config file

Every key of an experiment, with type, default and meaning. `cnnrun new NAME` writes a file with all of them and
comments; `cnnrun schema` writes a JSON Schema for your editor. On the command line, separate sections with dots:
`cnnrun train FILE optimizer.lr=0.01`.

Where a key names a [component](components/index.md), `adam` is short for `{name: adam}`, and the parameters of the
component are keys next to `name`.

## The whole file
"""
_SECTIONS: dict[str, tuple[type[BaseModel], str]] = {
    "dataset": (
        DatasetOptions,
        "Keys that all data sets share. Each data set has keys of its own, too.",
    ),
    "schedule": (
        ScheduleOptions,
        "Keys that all schedules share. Each schedule has keys of its own, too.",
    ),
    "transfer": (
        Transfer,
        "Transfer learning and fine-tuning. Without this section, training starts from new weights.",
    ),
    "training": (Training, ""),
}


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD, *_experiment(), ""]
    for section, (options, note) in _SECTIONS.items():
        fields = {k: f for k, f in options.model_fields.items() if k != "name"}
        parts += [f"## {section}", "", *([note, ""] if note else [])]
        parts += [*keys_table(fields, field_texts(options)), ""]
    return "\n".join(parts)


def _experiment() -> list[str]:
    texts = field_texts(Experiment)
    rows = []
    for key, field in experiment_model().model_fields.items():
        text = cell(texts[key])
        if key in KINDS:
            kind = f"[component](components/{key}.md)"
            begins = default(field)
        elif key in _SECTIONS:
            kind, begins = f"[mapping](#{key})", "`null`" if field.default is None else ""
        else:
            row = keys_table({key: field}, texts)[-1]
            # The loader fills it in before the file is validated.
            rows.append(row.replace("required", "the file's") if key == "name" else row)
            continue
        rows.append(f"| `{key}` | {kind} | {begins} | {text} |")
    return ["| key | type | default | |", "|---|---|---|---|", *rows]
