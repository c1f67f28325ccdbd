"""The role of each key in a run: part of what is computed, or only where and how.

Defined once for resuming, `--resume-or-start`, sweeps, studies and comparisons. A key that is not
listed has the role of the longest key above it; keys of plug-ins have their section's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from cnnrun.config.document import flattened
from cnnrun.config.own_code import code_of


class Role(Enum):
    """The role of a key in a run."""

    RESULT = "changes what comes next; a run may resume with another value"
    FIXED = "what the run's weights, order of images or scores mean depends on it"
    SOURCE = "where data are read from; a run may resume from another place, with the same data"
    MACHINE = "where and how fast it is computed"
    OUTPUT = "what is kept and shown with the results"
    START = "used when a run starts, without effect on one that is resumed"

    @property
    def distinguishes(self) -> bool:
        """Whether runs with different values are different runs."""
        return self in (Role.RESULT, Role.FIXED, Role.SOURCE)


ROLES = {
    **dict.fromkeys(("name", "output"), Role.START),
    "device": Role.MACHINE,
    # The files' content is compared, not their place; see `runs/identity.py`.
    "plugins": Role.MACHINE,
    "loggers": Role.OUTPUT,
    **dict.fromkeys(("task", "seed", "model", "initializer", "transfer"), Role.FIXED),
    **dict.fromkeys(("loss", "optimizer", "schedule", "training"), Role.RESULT),
    "optimizer.name": Role.FIXED,
    **dict.fromkeys(("training.ema", "training.swa"), Role.FIXED),
    # Chooses `channels_last` and `compile` once.
    "training.auto_speed": Role.START,
    **dict.fromkeys(("training.draw", "training.checkpoint_every"), Role.OUTPUT),
    "dataset": Role.FIXED,
    **dict.fromkeys(("dataset.augment", "dataset.interpolation"), Role.RESULT),
    **dict.fromkeys(("dataset.root", "dataset.file", "dataset.image_folder"), Role.SOURCE),
    **dict.fromkeys(("dataset.on_error", "dataset.check"), Role.SOURCE),
    **dict.fromkeys(
        ("dataset.threads", "dataset.cache", "dataset.cache_dir", "dataset.download"), Role.MACHINE
    ),
}
ROLES_OF_COMPONENTS = {
    # The same parameter has another role elsewhere: for `shapes`, `train` is a number of images.
    ("dataset", "webdataset"): {
        **dict.fromkeys(("train", "test", "val"), Role.SOURCE),
        **dict.fromkeys(("spool", "spool_gb"), Role.MACHINE),
    },
    ("dataset", "huggingface"): {"path": Role.SOURCE},
    # The length of L-BFGS's history.
    ("optimizer", "lbfgs"): {"history": Role.FIXED},
    ("optimizer", "torch/LBFGS"): {"history_size": Role.FIXED},
    ("dataset", "own"): {"target": Role.SOURCE, "arguments": Role.SOURCE, "lazy": Role.MACHINE},
}
_LEVERS = ("training.channels_last", "training.compile")
# Chosen for each run by whatever starts many.
_OF_THE_JOB = ("name", "output", "device")
# Compared by content, or by what was requested; see `identity` and `key_of`.
_COMPARED_ELSEWHERE = ("plugins", "training.auto_speed")


def role(key: str, components: Mapping[str, Any] = {}) -> Role:
    """The role of a dotted key.

    components: the experiment's flat settings, for the name of the key's component.

    Raises:
        KeyError: no section of an experiment is called so.
    """
    section, _, inner = key.partition(".")
    name = str(components.get(f"{section}.name", ""))
    own = ROLES_OF_COMPONENTS.get((section, name), {})
    parameter = inner.partition(".")[0]
    if parameter in own:
        return own[parameter]
    while key not in ROLES and "." in key:
        key = key.rpartition(".")[0]
    return ROLES[key]


def identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, by dotted key, that make two experiments the same run or different ones.

    values: a complete experiment, nested or flat. Keys of unknown sections, as another version or
    another program writes them, count.
    """
    flat = flattened(dict(values))
    ignored = set(_LEVERS) if flat.get("training.auto_speed") else set()
    return {
        key: value
        for key, value in flat.items()
        if key not in ignored and _distinguishes(key, flat)
    } | ({"training.auto_speed": True} if ignored else {})


def _distinguishes(key: str, flat: Mapping[str, Any]) -> bool:
    return key.partition(".")[0] not in ROLES or role(key, flat).distinguishes


def key_of(values: Mapping[str, Any], code: Mapping[str, str] | None = None) -> str:
    """A short hash of all that an experiment computes from, except the data's content.

    `SETTINGS` or, with the user's own code, `SETTINGS-CODE`: equal for experiments
    that compute the same.

    code: as `code_of` returns it; by default the current code.
    """
    code = code_of(values) if code is None else code
    settings = _short_hash(identity(values), 16)
    return f"{settings}-{_short_hash(dict(code), 8)}" if code else settings


def settings_part(key: str) -> str:
    """The part of a key that doesn't depend on the user's own code."""
    return key.partition("-")[0]


def code_part(key: str) -> str:
    """The part of a key that doesn't depend on the settings; "" without any code."""
    return key.partition("-")[2]


def why_not_set(key: str) -> str:
    """Why a dotted key can't be set for one of several runs; "" where it can."""
    if key == "seed":
        return "use `seeds`"
    return "it is not part of what a run is" if key in _OF_THE_JOB else ""


def why_not_varied(key: str) -> str:
    """Why runs can't differ in only this dotted key; "" where they can, or if it is unknown."""
    if (why := why_not_set(key)) or key in _COMPARED_ELSEWHERE:
        return why
    try:
        kind = role(key)
    except KeyError:
        return ""  # reported with the nearest name when settings are validated
    return "" if kind.distinguishes else f"runs with other values are the same run ({kind.value})"


def _short_hash(values: dict[str, Any], length: int) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with both values; None for a missing one."""
    old, new = flattened(dict(before)), flattened(dict(now))
    keys = dict.fromkeys([*old, *new])
    return {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}
