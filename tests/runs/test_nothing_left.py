"""What a run that has ended needs to train further is what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnrun.errors import UserError
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.resuming import refuse_nothing_to_train


@pytest.mark.parametrize(
    ("epochs", "asked", "remedy", "not_this"),
    [
        (9, 40, "a longer training.patience trains further", "training.epochs=41"),
        (9, 10, "a longer training.patience trains further", "training.epochs=11"),
        (30, 30, "training.epochs=31 or more trains further", "training.patience"),
        (30, 20, "training.epochs=31 or more trains further", "training.patience"),
    ],
)
def test_the_remedy_is_what_ended_the_run(
    tmp_path: Path, epochs: int, asked: int, remedy: str, not_this: str
) -> None:
    changes = {"training.epochs": (30, asked)}
    with pytest.raises(UserError) as refused:
        refuse_nothing_to_train(RunDirectory(tmp_path), changes, epochs, asked)
    told = str(refused.value)
    assert told.endswith(remedy)
    assert not_this not in told.partition("nothing was changed")[2]
