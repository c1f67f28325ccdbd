"""The targets of a split: what each kind of them must say.

Each kind is one tensor whose first dimension are the samples, so that batches gather any of them in
one way. What differs between kinds (how they are mixed, moved, renamed, counted) is said by their
class, so that nothing else asks for the kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor

Same = TypeVar("Same", bound="Targets")
Kind = Literal["labels", "label_sets", "values", "masks"]


@dataclass(frozen=True)
class Targets(ABC):
    """The targets of N samples.

    held: (N, ...), see each kind.
    """

    held: Tensor

    kind: ClassVar[Kind]
    # What there is one of for each output of the network, for messages.
    words: ClassVar[str]

    def __len__(self) -> int:
        return len(self.held)

    def take(self: Same, indices: Tensor) -> Same:
        """Those of the samples at `indices` (M,) int64."""
        return replace(self, held=self.held[indices])

    @property
    def strata(self) -> Tensor:
        """(N,) int64, groups of samples that each keep their share in every split: here one."""
        return torch.zeros(len(self), dtype=torch.int64)

    @property
    def numbers(self) -> Tensor:
        """(N,) int64 that are equal for equal targets, for the data's fingerprint."""
        rows = self.held.contiguous().flatten(1).numpy()
        digests = b"".join(blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
        return torch.frombuffer(bytearray(digests), dtype=torch.int64) if digests else self.strata

    @classmethod
    @abstractmethod
    def unknown(cls, count: int, outputs: int, size: tuple[int, int]) -> Targets:
        """Placeholders for `count` samples with unknown targets.

        outputs: of the network. size: (height, width) of the images.
        """

    @abstractmethod
    def counts(self, outputs: int) -> Tensor:
        """How many samples (or pixels) speak for each output: (outputs,) int64."""

    @abstractmethod
    def check(self, split: str, names: Sequence[str]) -> None:
        """Refuse what is no target of outputs of these names.

        Raises:
            UserError: the first one that is none, and what there could be.
        """

    @abstractmethod
    def renamed(self, names: Sequence[str], wanted: Sequence[str]) -> Targets:
        """The same in the order of `wanted`, where output k is called `names[k]` now.

        Raises:
            UserError: a name that is missing.
        """

    @abstractmethod
    def captions(self, names: Sequence[str]) -> list[str]:
        """Each sample's target in a few words."""

    @classmethod
    def mixable(cls, batch: Tensor, outputs: int) -> Tensor:  # noqa: ARG003
        """The part of a batch of targets that can be averaged; see `refuses_mixing`."""
        return batch

    # Why images can't be mixed, or changed by a policy that rotates some of them; "" if they can.
    refuses_mixing: ClassVar[str] = ""

    @property
    def refuses_policies(self) -> str:
        return self.refuses_moving

    @property
    def refuses_moving(self) -> str:
        """Why images can't be moved, rotated or cut, up to "leave"; "" if they can."""
        return ""

    # Whether targets are moved along with their images, by `moved`.
    move: ClassVar[bool] = False
