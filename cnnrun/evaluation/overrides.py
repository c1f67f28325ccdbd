"""What `cnnrun eval RUN key=value` can change: what is scored and where, not the training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cnnrun.config.document import flattened, parse
from cnnrun.config.experiment import Experiment
from cnnrun.data.options import DatasetOptions
from cnnrun.errors import ConfigError
from cnnrun.runtime.strict_json import to_json

# How an image gets from its file to the network: as in training, unless it is said.
_PREPARATION = ("size", "resize", "crop_fraction", "channels", "bits", "range", "page")
# Besides the parameters of the data source itself.
_EFFECTIVE = (
    *("device", "plugins", "task", "loss", "training.channels_last", "dataset.name"),
    *(
        "dataset.size",
        "dataset.resize",
        "dataset.crop_fraction",
        "dataset.channels",
        "dataset.displace",
    ),
    *("dataset.batch_size", "dataset.on_error", "dataset.cache", "dataset.cache_dir"),
    *("dataset.threads", "dataset.bits", "dataset.range", "dataset.page", "dataset.check"),
)
# Settings that divide the data, and so are fixed for a run.
_SPLITS = ("seed", "dataset.validation", "dataset.fold", "dataset.limit", "dataset.per_class")
_DIVIDED_HERE = ("folder", "csv")


def with_preparation(overrides: Iterable[str], stored: dict[str, Any]) -> list[str]:
    """`overrides`, of which a whole new `dataset` section prepares images as in training.

    So `dataset={name: csv, file: new.csv}` means what `dataset.name=csv dataset.file=new.csv` does.

    stored: the config in the checkpoint.
    """
    held, found = stored.get("dataset"), list[str]()
    for text in overrides:
        found.append(text)
        name, _, value = text.partition("=") if isinstance(text, str) else ("", "", "")
        if name != "dataset" or not isinstance(held, dict):
            continue
        section = parse(value, "command line").values if value.strip() else None
        for key in _PREPARATION:
            kept, usual = held.get(key), DatasetOptions.model_fields[key].default
            said = isinstance(section, dict) and key in section
            if not said and kept not in (None, usual):
                found.append(f"dataset.{key}={to_json(kept)}")
    return found


def refuse_without_effect(
    overrides: Iterable[str], stored: dict[str, Any], experiment: Experiment
) -> None:
    """Refuse overrides that would change no score, or which samples a split has.

    stored: the config in the checkpoint. experiment: the same with the overrides.

    Raises:
        ConfigError: with the key and the reason.
    """
    named = [override.partition("=")[0] for override in overrides]
    # A whole new section describes other data; keys that it leaves out were not set.
    named = [name for name in named if name != "dataset"]
    before, now = flattened(stored), flattened(experiment.to_dict())
    for key in now:
        asked = any(key == name or key.startswith(f"{name}.") for name in named)
        if asked and before.get(key) != now[key] and (reason := _reason(key, experiment)):
            raise ConfigError(f"eval: {key}={now[key]} would change nothing: {reason}")


def _reason(key: str, experiment: Experiment) -> str | None:
    """Why a key has no effect; None if it has one."""
    divides = key == "dataset.test" and experiment.dataset.name in _DIVIDED_HERE
    if key in _SPLITS or divides:
        return "the splits are those that the run was trained with"
    if any(key == k or key.startswith(f"{k}.") for k in _EFFECTIVE):
        return None
    if key == "dataset.normalize":
        return "the network is given images that are normalized as in training"
    section, _, name = key.partition(".")
    if section == "dataset" and name.partition(".")[0] not in DatasetOptions.model_fields:
        return None
    if section in ("model", "transfer", "initializer"):
        return "the network is the one that was trained"
    return "only training uses it"
