"""A short form of `make chaos`, and what keeps the long one honest: it finds what is wrong."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.chaos import bounded
from tests.chaos.bounded import Make, outcomes
from tests.chaos.campaign import COUNTS, Figures, prepare, run
from tests.chaos.kinds import FILES, Case, make_config, make_file

FIRST, CASES = 1000, 2 * 16


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        yield prepare(tmp_path_factory.mktemp("originals"), patch, with_sweep=False)


def _found(make: Make, numbers: range, originals: Path, work: Path) -> Figures:
    return Figures().count(outcomes(make, numbers, originals, work))


@pytest.mark.slow
def test_some_hostile_files_of_each_kind(originals: Path, tmp_path: Path) -> None:
    found = _found(make_file, range(FIRST, FIRST + CASES), originals, tmp_path)
    assert not found.wrong, found.to_text()
    without_sweeps = {name for name, kind in FILES.items() if kind.original != "sweep"}
    assert found.verdicts.keys() == without_sweeps


@pytest.mark.slow
def test_some_mutated_configs(originals: Path, tmp_path: Path) -> None:
    found = _found(make_config, range(FIRST, FIRST + 30), originals, tmp_path)
    assert not found.wrong, found.to_text()


@pytest.mark.slow
@pytest.mark.parametrize("what", COUNTS)
def test_each_part_of_the_campaign_begins(what: str, originals: Path, tmp_path: Path) -> None:
    (tmp_path / "originals").symlink_to(originals)
    found = run(what, 1, 2, 60, tmp_path)
    assert found.cases >= 2
    assert not found.wrong, found.to_text()


# What is wrong is found --------------------------------------------------------------------------

WRONG = {
    "while True: pass": "over limits (CPU)",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "crash (-9)",
    "from pathlib import Path; Path('theirs').unlink()": "changed files (theirs)",
    "from pathlib import Path; Path('new').mkdir()": "changed files (new)",
    "print('\\x1b[2J')": "control characters",
    "print('Traceback (most recent call last):')": "traceback",
    "print('  (a bug or a broken machine: --debug shows where)')": "a bug",
    "import sys; sys.stderr.write('x' * 30_000)": "message of 30,000 letters",
    "bytearray(3 * 2**30)": "refused",
    "": "worked",
}


@pytest.mark.slow
def test_what_goes_wrong_is_found(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "CPU_SECONDS", 1)

    def make(number: int, _originals: Path, folder: Path) -> tuple[str, Case]:
        folder.mkdir()
        (folder / "theirs").write_text("x")
        (folder / "code.py").write_text(list(WRONG)[number])
        return "wrong", Case(["list", "loss", "--plugin", "code.py"])

    found = outcomes(make, range(len(WRONG)), originals, tmp_path / "work")
    assert [outcome.verdict for outcome in found] == list(WRONG.values())


# One image that takes too much memory -------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "arguments", "verdict"),
    [
        ("run", ["predict", "theirs", "images"], "worked"),
        ("folder", ["train", "disk.yaml", "dataset.on_error=skip", "-q"], "worked"),
        ("folder", ["check", "none.yaml"], "refused"),
    ],
)
def test_an_image_for_which_there_is_no_memory_is_a_bad_file(
    originals: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    arguments: list[str],
    verdict: str,
) -> None:
    """Its 676 MB of pixels are fewer than Pillow's limit, and more than this process may have."""
    monkeypatch.setattr(bounded, "MEMORY", 600 * 2**20)

    def make(_number: int, originals: Path, folder: Path) -> tuple[str, Case]:
        shutil.copytree(originals / kind, folder)
        place = folder / "images" / ("" if kind == "run" else "class0")
        Image.new("L", (13_000, 13_000)).save(place / "big.png", compress_level=1)
        return kind, Case(arguments, ("cache", "runs"))

    [found] = outcomes(make, range(1), originals, tmp_path / "work")
    assert found.verdict == verdict, found
    if arguments[0] != "train":  # whose own file tells of those that were skipped
        assert re.search(r"big\.png: .*memory", found.told), found
