"""What a task finds in the data and keeps: moments of values, thresholds of labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from cnnrun.data.dataset import Dataset

if TYPE_CHECKING:
    from cnnrun.components.tasks.task import Predictions


class FoundInData:
    """The part of a task that learns from data itself; by default nothing."""

    # Whether `settle` is to be called before a run is tested.
    settles: ClassVar[bool] = False

    def learn(self, dataset: Dataset) -> None:
        """Compute what the task needs from the training split; called once, before training.

        Raises:
            UserError: nothing can be learned from these targets.
        """

    def settle(self, validation: Predictions) -> None:
        """Choose thresholds and the like on the validation split; called once, before testing."""

    def state(self) -> dict[str, Any]:
        """What `learn` and `settle` computed, as plain values for a checkpoint."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned; called instead of `learn` where there is a checkpoint."""

    def check_state(self, outputs: int) -> None:
        """Refuse a restored state that does not belong to a network with so many outputs.

        A checkpoint is untrusted, and numbers of another shape would be broadcast.

        Raises:
            ValueError: with what it belongs to.
        """

    def exported(self) -> dict[str, str]:
        """What else users of an exported file need to know, as strings; lists are JSON."""
        return {}
