"""What a terminal shows while a run trains: in any width, with colour and without."""

from __future__ import annotations

import io
import re
import sys
from functools import partial
from pathlib import Path

import pytest

from cnnrun.runtime import console, training_display
from cnnrun.runtime.epoch_table import EpochRow, EpochTable
from tests.conftest import Command

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
MEASURES = {
    "train_loss": 1.0056,
    "train_accuracy": 0.6937,
    "validation_loss": 0.1699,
    "validation_accuracy": 0.9653,
}


class Terminal(io.StringIO):
    """A stream that says it is one."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def row(epoch: int = 1, best: int = 1, epochs: int = 20, **more: object) -> EpochRow:
    return EpochRow(
        {"epoch": epoch, "step": 9, **MEASURES, **more}, {}, best, epochs, 5991.2, 4000.0
    )


@pytest.mark.parametrize("width", [60, 80, 120])
def test_sentences_are_broken_at_spaces_on_a_terminal_alone(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    sentence = "No difference can be claimed between A and B from 3 shared seeds. " * 4
    for name, write in (("stdout", partial(console.out, fit=True)), ("stderr", console.warn)):
        terminal, file = Terminal(), io.StringIO()
        monkeypatch.setattr(sys, name, terminal)
        write(sentence)
        lines = terminal.getvalue().rstrip().split("\n")
        assert width - 15 < max(map(len, lines)) <= width
        assert " ".join(lines) == sentence.strip()
        monkeypatch.setattr(sys, name, file)
        write(sentence)
        assert file.getvalue() == f"{sentence}\n"


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("epochs", [1, 20, 90_000])
@pytest.mark.parametrize("seed", [None, 123456])
def test_rows_fit_and_stand_under_their_header(width: int, epochs: int, seed: int | None) -> None:
    table = EpochTable(width)
    given = [
        EpochRow({"epoch": e, **MEASURES}, {}, 1, epochs, 5991.2, 4000.0, seed) for e in (1, 2)
    ]
    first, second = (table.lines(each) for each in given)
    assert len(first) == 3
    assert len(second) == 1, "the header comes once"
    for line in [*first, *second]:
        assert len(line) <= width, line
    assert first[-1].endswith("  best")
    header, line = first[1], second[0]
    for name, cell in [("epoch", f"2/{epochs}"), ("loss", "0.1699"), ("accuracy", "96.53 %")]:
        assert header.rindex(name) + len(name) == line.rindex(cell) + len(cell), "aligned"
    assert "validation" in first[0]


def test_what_matters_least_is_left_out_first() -> None:
    def left(width: int) -> str:
        return EpochTable(width).lines(row(validation_top5=0.99, train_top5=0.9))[-2]

    assert left(120).count("top-5 accuracy") == 2
    assert "images/s" in left(120)
    for narrow in (80, 60):
        assert "images/s" not in left(narrow)
        assert left(narrow).count("loss") == 2
    assert left(30).split() == ["epoch", "loss", "accuracy"]


def test_a_row_that_outgrows_its_column_is_whole() -> None:
    table = EpochTable(80)
    table.lines(row())
    [line] = table.lines(row(2, train_loss=123456.789))
    assert "123456.7890" in line


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(training_display, "INTERVAL", 0.0)
    return stream


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_a_run_on_a_terminal(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch, terminal: Terminal, tiny: Path, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", terminal)  # once more: `capsys` has come between
    draws = columns == "80"
    ended = cnnrun("train", tiny, "training.epochs=3", f"training.draw={str(draws).lower()}")
    assert ended.code == 0
    shown = [ANSI.sub("", part) for part in re.split(r"[\r\n]", terminal.getvalue())]
    assert [line.split()[0] for line in shown if re.match(r" *[123]/3 ", line)] == [
        "1/3",
        "2/3",
        "3/3",
    ]
    assert sum(bool(re.match(r" *epoch +loss", line)) for line in shown) == 1
    live = [line for line in shown if re.match(r"(epoch [123]/3|run) .*%", line)]
    assert any(re.match("run .* left", line) for line in live)
    assert all(len(line) <= int(columns) for line in live)
    assert any(line.startswith("epoch 3/3") for line in live)
    stages = ["importing ...", "loading data and model ...", "testing ..."]
    for stage in [*stages, "drawing curves"] if draws else stages:
        assert any(stage in line for line in shown), stage
    assert "in total; next:\n  cnnrun eval runs/tiny/" in terminal.getvalue()
    assert "\n  cnnrun report runs/tiny/" in terminal.getvalue()
    scores = ended.out[ended.out.index("test ") :].split("\nplot")[0].splitlines()
    assert all(len(line) <= int(columns) for line in scores)
    assert "\x1b[32m" not in terminal.getvalue(), "colour was not wanted"


def test_the_bar_is_that_of_the_epoch(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    with training_display.Bar(total_steps=200, done_steps=0, epochs=2) as bar:
        bar.update(2, 150, {"loss": "1.0"}, 10.0)
        bar.epoch(row(2, 2, 2))
    text = ANSI.sub("", terminal.getvalue())  # the end draws it once more
    assert "epoch 2/2" in text
    plain = re.sub("[^a-z0-9/%.\n]+", " ", text)
    assert "epoch 2/2 50% loss 1.0" in plain
    assert "run 75% " in plain
    assert "\x1b[32m" in terminal.getvalue(), "the best epoch has a colour"


def test_stages_are_for_terminals_and_not_for_the_quiet(
    monkeypatch: pytest.MonkeyPatch, terminal: Terminal
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    console.stage("testing")
    console.warn("x")
    assert terminal.getvalue() == "testing ...\r\r\x1b[Kx\n"
    with console.quiet_if(True):
        console.stage("testing")
    monkeypatch.setenv("TERM", "dumb")
    console.stage("testing")
    plain = io.StringIO()
    monkeypatch.setattr(sys, "stderr", plain)
    console.stage("testing")
    assert plain.getvalue() == ""
    assert terminal.getvalue() == "testing ...\r\r\x1b[Kx\n"
