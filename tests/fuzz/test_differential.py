"""Random experiments come out the same in every way of training them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY, THOROUGH
from tests.fuzz.experiments import experiment, write_images
from tests.fuzz.ways import differences

FIRST = int(os.environ.get("CNNRUN_FUZZ_FIRST", "0"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(FIRST, FIRST + 10))
def test_ways_agree(number: int, images: Path, tmp_path: Path) -> None:
    outcome = differences(experiment(number, images), tmp_path)
    assert outcome.problems == []
    assert outcome.refused or {"numbers", "resumed", "evaluated"} <= set(outcome.compared)


@pytest.mark.slow
def test_a_difference_is_found(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that shuffles otherwise is another loop: the comparison is able to fail."""
    number = next(n for n in range(100) if experiment(n, images)["dataset"]["name"] == "digits")
    monkeypatch.setattr("tests.fuzz.reference.shuffled", _backwards)
    problems = differences(experiment(number, images), tmp_path).problems
    assert [problem.partition(":")[0] for problem in problems] == ["reference"]


def _backwards(count: int, *_: object) -> torch.Tensor:
    return torch.arange(count).flip(0)


@pytest.mark.slow
def test_many_experiments() -> None:
    count = "300" if THOROUGH else "4"
    command = [sys.executable, "-m", "tests.fuzz", "--count", count, "--first", "1000"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
