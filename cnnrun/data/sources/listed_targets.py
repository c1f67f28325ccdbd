"""The targets that a table or folder gives for each file: a class, labels or numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cnnrun.data.dataset import Split
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.array_targets import values_of
from cnnrun.data.sources.listed_names import listed, natural_order
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import Labels, LabelSets
from cnnrun.errors import UserError


@dataclass(frozen=True)
class Said:
    """The targets of a split's files: answers[i] of paths[i]. where: for messages."""

    where: str
    paths: Sequence[str]
    answers: Sequence[Any]


class Reading(ABC):
    """How the answers of a listing, one per file, become targets."""

    @abstractmethod
    def names(self, answers: Sequence[Any]) -> list[str]:
        """The names of the outputs. answers: of the training files."""

    @abstractmethod
    def targets(self, said: Said, names: list[str]) -> Targets:
        """The targets of the files of a split. names: of the outputs."""

    def finished(
        self,
        splits: dict[str, Split],
        names: list[str],
        options: ImageOptions,  # noqa: ARG002
    ) -> tuple[dict[str, Split], list[str]]:
        """The final splits, now that the size of the images is known, and the names."""
        return splits, names


class OneClass(Reading):
    """An answer is the name of a class."""

    def names(self, answers: Sequence[Any]) -> list[str]:
        return sorted(set(answers), key=natural_order)

    def targets(self, said: Said, names: list[str]) -> Targets:
        numbers = {name: k for k, name in enumerate(names)}
        _refuse_unknown(said.where, set(said.answers) - set(numbers), "classes")
        return Labels(torch.tensor([numbers[name] for name in said.answers], dtype=torch.int64))


class SeveralLabels(Reading):
    """An answer is a list of names of labels."""

    def __init__(self, known: list[str] | None = None) -> None:
        """known: all labels; by default those that some training file has."""
        self._known = known

    def names(self, answers: Sequence[Any]) -> list[str]:
        found = {name for names in answers for name in names}
        return self._known or sorted(found, key=natural_order)

    def targets(self, said: Said, names: list[str]) -> Targets:
        numbers = {name: k for k, name in enumerate(names)}
        found = {name for names in said.answers for name in names}
        _refuse_unknown(said.where, found - set(numbers), "labels")
        held = torch.zeros(len(said.answers), len(names))
        for row, those in zip(held, said.answers, strict=True):
            row[[numbers[name] for name in those]] = 1
        return LabelSets(held, listed=self._known is None)


class SomeValues(Reading):
    """An answer is a list of numbers, one for each of the named values."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def names(self, answers: Sequence[Any]) -> list[str]:  # noqa: ARG002
        return self._names

    def targets(self, said: Said, names: list[str]) -> Targets:
        rows = np.array(said.answers, np.float64).reshape(len(said.answers), len(names))
        try:
            return values_of(rows, names)
        except UserError as error:
            raise UserError(f"{said.where}: {error}") from error


def _refuse_unknown(where: str, unknown: set[str], words: str) -> None:
    if unknown:
        raise UserError(
            f"{where}: there are {words} that training has no images of: "
            f"{listed(sorted(unknown, key=natural_order))}; add them to training, or remove them "
            "here"
        )
