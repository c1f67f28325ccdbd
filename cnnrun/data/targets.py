"""The kinds of targets: labels, sets of labels, values and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnrun.data.target_kind import Targets
from cnnrun.errors import UserError
from cnnrun.runtime.weights import some

IGNORED = 255
"""An ignored pixel of a mask: it counts neither in training nor in scores."""


@dataclass(frozen=True)
class Labels(Targets):
    """One class per sample: (N,) int64, 0..K-1."""

    kind = "labels"
    words = "classes"

    @classmethod
    def unknown(cls, count: int, outputs: int, size: tuple[int, int]) -> Labels:  # noqa: ARG003
        return cls(torch.zeros(count, dtype=torch.int64))

    @property
    def strata(self) -> Tensor:
        return self.held

    @property
    def numbers(self) -> Tensor:
        return self.held

    def counts(self, outputs: int) -> Tensor:
        return torch.bincount(self.held, minlength=outputs)

    def check(self, split: str, names: Sequence[str]) -> None:
        wrong = self.held[(self.held < 0) | (self.held >= len(names))]
        if len(wrong):
            raise UserError(
                f"the {split} split has the label {int(wrong[0])}, but there are "
                f"{len(names)} classes ({some(names)}): labels are 0 to {len(names) - 1}"
            )

    def renamed(self, names: Sequence[str], wanted: Sequence[str]) -> Labels:
        """Some of the `wanted` may be absent here."""
        return Labels(_places(names, wanted, f"the network has no {self.words}")[self.held])

    def captions(self, names: Sequence[str]) -> list[str]:
        return [names[label] for label in self.held.tolist()]

    @classmethod
    def mixable(cls, batch: Tensor, outputs: int) -> Tensor:
        """Labels (N,) as one-hot weights (N, K); weights (N, K) unchanged."""
        return F.one_hot(batch, outputs).float() if batch.dim() == 1 else batch


@dataclass(frozen=True)
class LabelSets(Targets):
    """Any number of labels per sample: (N, K) float32, 1 where label k is there, else 0.

    listed: each sample names its labels, so one that no sample names is there, too, with 0.
    """

    listed: bool = False

    kind = "label_sets"
    words = "labels"

    @classmethod
    def unknown(cls, count: int, outputs: int, size: tuple[int, int]) -> LabelSets:  # noqa: ARG003
        return cls(torch.zeros(count, outputs))

    def counts(self, outputs: int) -> Tensor:  # noqa: ARG002
        return self.held.sum(0, dtype=torch.float64).long()

    def check(self, split: str, names: Sequence[str]) -> None:
        _check_columns(self.held, split, names, self.words)
        if bool(((self.held != 0) & (self.held != 1)).any()):
            raise UserError(f"the {split} split has sets of labels that are neither 0 nor 1")

    def renamed(self, names: Sequence[str], wanted: Sequence[str]) -> LabelSets:
        held, names = self.held, list(names)
        if self.listed:
            names += [name for name in wanted if name not in names]
            held = F.pad(held, (0, len(names) - held.shape[1]))
        return replace(self, held=held[:, _places(wanted, names, f"the data have no {self.words}")])

    def captions(self, names: Sequence[str]) -> list[str]:
        return [
            ", ".join(name for name, there in zip(names, row, strict=True) if there) or "none"
            for row in self.held.tolist()
        ]


@dataclass(frozen=True)
class Values(Targets):
    """Numbers of a sample: (N, D) float32.

    placed: they say where something is in the image, and so are false once it is moved.
    """

    placed: bool = False

    kind = "values"
    words = "values"
    refuses_mixing = "no value is right for a mix of two images; leave"

    @classmethod
    def unknown(cls, count: int, outputs: int, size: tuple[int, int]) -> Values:  # noqa: ARG003
        return cls(torch.zeros(count, outputs))

    def counts(self, outputs: int) -> Tensor:
        return torch.full((outputs,), len(self), dtype=torch.int64)

    def check(self, split: str, names: Sequence[str]) -> None:
        _check_columns(self.held, split, names, self.words)
        wrong = (~self.held.isfinite()).nonzero()
        if len(wrong):
            row, column = wrong[0].tolist()
            raise UserError(
                f"the {split} split has {self.held[row, column].item()} for '{names[column]}' "
                f"(sample {row}); values are finite numbers"
            )

    def renamed(self, names: Sequence[str], wanted: Sequence[str]) -> Values:
        return replace(
            self, held=self.held[:, _places(wanted, names, f"the data have no {self.words}")]
        )

    def captions(self, names: Sequence[str]) -> list[str]:
        return [
            ", ".join(f"{name} {value:.3g}" for name, value in zip(names, row, strict=True))
            for row in self.held.tolist()
        ]

    @property
    def refuses_moving(self) -> str:
        reason = "the values are positions in the image, and would not move with it; leave"
        return reason if self.placed else ""


@dataclass(frozen=True)
class Masks(Targets):
    """A class for each pixel: (N, H, W) uint8, 0..K-1 or `IGNORED`."""

    kind = "masks"
    words = "classes"
    refuses_mixing = "a pixel has one class, and mixed images would have several; leave"
    move = True

    @classmethod
    def unknown(cls, count: int, outputs: int, size: tuple[int, int]) -> Masks:  # noqa: ARG003
        return cls(torch.full((count, *size), IGNORED, dtype=torch.uint8))

    @property
    def refuses_policies(self) -> str:
        return "it moves some images without their masks; list its operations one by one, and leave"

    def counts(self, outputs: int) -> Tensor:
        return self._pixels[:outputs]

    @cached_property
    def _pixels(self) -> Tensor:
        """(256,) int64, how many pixels have each value. Asked for at each checkpoint."""
        return torch.bincount(self.held.flatten(), minlength=256)

    def check(self, split: str, names: Sequence[str]) -> None:
        found = self._pixels[len(names) : IGNORED].nonzero()
        if len(found):
            raise UserError(
                f"the {split} split has masks with the value {int(found[0]) + len(names)}, but "
                f"there are {len(names)} classes ({some(names)}): pixels are 0 to "
                f"{len(names) - 1}, or {IGNORED} for ignored pixels"
            )

    def renamed(self, names: Sequence[str], wanted: Sequence[str]) -> Masks:
        """Some of the `wanted` may be absent here."""
        table = torch.full((256,), IGNORED, dtype=torch.uint8)
        places = _places(names, wanted, f"the network has no {self.words}")
        table[: len(names)] = places.to(torch.uint8)
        return Masks(table[self.held.long()])

    def captions(self, names: Sequence[str]) -> list[str]:
        names_of_each = []
        for mask in self.held:
            there = torch.bincount(mask.flatten(), minlength=len(names))[: len(names)]
            names_of_each.append(", ".join(names[k] for k in there.nonzero().flatten().tolist()))
        return names_of_each


KINDS: dict[str, type[Targets]] = {kind.kind: kind for kind in (Labels, LabelSets, Values, Masks)}


def as_targets(given: Targets | Tensor) -> Targets:
    """`given`, or the kind of targets that a tensor of its type and shape can only be.

    (N,) integers are labels, (N, D) floating-point numbers values, (N, H, W) bytes masks; sets of
    labels look like values and must be given as `LabelSets`.
    """
    if isinstance(given, Targets):
        return given
    if not isinstance(given, Tensor):  # reported later, when a source's output is checked
        return Labels(given)
    if given.dim() == 2 and given.is_floating_point():
        return Values(given)
    if given.dim() == 3 and given.dtype == torch.uint8:
        return Masks(given)
    return Labels(given)


def _places(names: Sequence[str], wanted: Sequence[str], lacks: str) -> Tensor:
    """Where each of `names` is in `wanted`; `lacks` starts the message if one is missing."""
    missing = [name for name in names if name not in wanted]
    if missing:
        raise UserError(f"{lacks} {some(missing)} (there are {some(wanted)})")
    return torch.tensor([list(wanted).index(name) for name in names], dtype=torch.int64)


def _check_columns(held: Tensor, split: str, names: Sequence[str], words: str) -> None:
    if held.dim() != 2 or held.shape[1] != len(names):
        raise UserError(
            f"the {split} split has targets of the shape {tuple(held.shape)} for {len(names)} "
            f"{words} ({some(names)})"
        )
