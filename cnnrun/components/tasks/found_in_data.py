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
        """Take from the training split what the task computes with; called once, before training.

        Raises:
            UserError: nothing can be learnt from these targets.
        """

    def settle(self, validation: Predictions) -> None:
        """Choose by the validation split what an answer means; called once, before testing."""

    def state(self) -> dict[str, Any]:
        """What `learn` and `settle` found, as the plain values that a checkpoint keeps."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave; called instead of `learn` where there is a checkpoint."""

    def check_state(self, outputs: int) -> None:
        """Refuse what was restored where it is of no network with so many outputs.

        A checkpoint may be anybody's, and numbers of another shape would be broadcast.

        Raises:
            ValueError: in words, what it is of.
        """

    def exported(self) -> dict[str, str]:
        """What else the user of an exported file must know, as texts; lists are JSON."""
        return {}
