"""A self-contained checkpoint: all that eval, viz and resume need, in one file of plain types."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cnnrun.errors import UserError
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.files import write_atomically
from cnnrun.runtime.weights import read_plain

FORMAT = 1


@dataclass(frozen=True)
class Normalization:
    """Per channel, for images in 0..1: `(x - mean) / std`."""

    mean: list[float]
    std: list[float]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a step.

    model: the state dict of the bare model (no `module.` prefixes), on the CPU when loaded.
    config: the complete experiment as plain values.
    classes: names by label; `class_counts` their numbers of training samples.
    input_shape: (C, H, W).
    data: what it was trained on, see `cnnrun.data.identity.record`; {} in older files.
    code: short hashes of the user's own code files that it was trained with, by name, see
        `cnnrun.config.own_code`; None in older files.
    task: the state of its task, see `Task.state`; {} for most, and in older files.
    raw: if `model` is a running average, the weights in training.
    progress: step, epoch, best score so far and the epoch's running sums (`Progress`).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    model: dict[str, Any]
    config: dict[str, Any]
    classes: list[str]
    class_counts: list[Annotated[int, Field(ge=0, lt=2**63)]]
    input_shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    normalization: Normalization
    data: dict[str, Any] = field(default_factory=dict)
    code: dict[str, str] | None = None
    task: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write atomically: `file` is always a complete checkpoint."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        content |= {"normalization": asdict(self.normalization), "format": FORMAT}
        write_atomically(file, lambda stream: torch.save(content, stream))

    @classmethod
    def load(cls, file: Path) -> Checkpoint:
        """Read a checkpoint, written from any device, onto the CPU.

        Only tensors and plain values are read (`weights_only`), so no file can run code.

        Raises:
            UserError: missing, not readable, or not one of cnnrun's.
        """
        content = read_plain(file)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{file}: not a checkpoint of cnnrun (format {FORMAT})")
        del content["format"]
        try:
            checkpoint: Checkpoint = _CHECKPOINT.validate_python(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(
                f"{file}: not a whole checkpoint of cnnrun ({where}: {first['msg']})"
            ) from error
        for key, value in [*checkpoint.model.items(), *checkpoint.raw.items()]:
            if not isinstance(value, torch.Tensor) and not key.endswith(_OWN_STATE):
                raise UserError(f"{file}: not a whole checkpoint of cnnrun ({key} is not a tensor)")
        return checkpoint


# A custom module's extra state (`get_extra_state`) may be anything.
_OWN_STATE = "_extra_state"
_CHECKPOINT: TypeAdapter[Any] = TypeAdapter(Checkpoint)


def find_checkpoint(target: Path) -> Path:
    """The checkpoint file for `target`: itself, or a run's best (else last) one.

    Raises:
        UserError: there is none.
    """
    if target.suffix in (".yaml", ".yml"):
        raise UserError(
            f"{target}: an experiment has no weights; train it (cnnrun train {target}) and name "
            "its run directory"
        )
    if target.is_file():
        return target
    run = RunDirectory.find(target)
    for name in ("best", "last"):
        if run.checkpoint(name).is_file():
            return run.checkpoint(name)
    raise UserError(f"{target}: the run has written no checkpoint yet")
