"""Tables of text: columns stand under one another whatever letters are in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from cnnrun.runtime.epoch_table import EpochRow, EpochTable
from cnnrun.runtime.text_table import columns, fitted, padded, width_of, wrapped

NAMES = ("cat", "猫の写真", "🐱 cat", "고양이", "e\u0301tude", "")


def test_columns_align_in_columns_of_the_terminal_not_in_letters() -> None:
    lines = columns([["class", "images"], *([name, "7"] for name in NAMES)], right=(1,))
    assert {cell_len(line) for line in lines} == {cell_len("猫の写真") + 2 + len("images")}
    assert all(line.endswith((" 7", "images")) for line in lines)


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20), st.integers(0, 60))
def test_padding_fills_the_width_that_is_left(text: str, room: int) -> None:
    wide = width_of(text) + room
    for right in (False, True):
        assert width_of(padded(text, wide, right)) == wide


@given(st.lists(st.sampled_from([*NAMES[:-1], "accuracy 92.22 %", "x" * 30]), min_size=1))
def test_lists_are_wrapped_between_items(items: list[str]) -> None:
    lines = wrapped(items, 50, indent=10).split("\n")
    assert all(width_of(line) <= 50 for line in lines[1:])
    assert width_of(lines[0]) <= 40
    assert all(line.startswith(" " * 10) for line in lines[1:])
    assert " ".join(line.strip() for line in lines) == " ".join(items)


@given(
    st.lists(
        st.sampled_from([*NAMES[:-1], "of", "accuracy", "(p = 0.5)"]), min_size=1, max_size=40
    ),
    st.sampled_from(["", "  ", "name  ", "  猫の写真    "]),
    st.sampled_from([60, 80, 120]),
)
def test_prose_fits_the_terminal_and_keeps_its_column(
    words: list[str], label: str, width: int
) -> None:
    lines = fitted(label + " ".join(words), width).split("\n")
    assert all(width_of(line) <= width for line in lines)
    assert " ".join(line.strip() for line in lines) == (label + " ".join(words)).strip()
    for line in lines[1:]:
        assert width_of(line) - width_of(line.lstrip()) == width_of(label)


def test_rows_of_tables_commands_and_paths_stay_whole() -> None:
    path = "/home/somebody/" + "runs/" * 20
    for line in (
        "a  b  " + "c " * 60 + "c",
        "repeat   cnnrun train " + "lr=1 " * 30 + "seed=0",
        path,
    ):
        assert fitted(line, 60) == line
    assert fitted(f"94.44 %  {path}", 60) == f"94.44 %\n  {path}", "a line that can be copied"
    assert fitted(f"{'word ' * 9}ended  some/where", 60) == f"{'word ' * 9}ended\n  some/where"
    assert fitted(f"it lies in {path}", 60) == f"it lies in\n{path}"
    assert fitted("one\n\n  two\n", 60) == "one\n\n  two\n"


def test_metrics_of_any_script_keep_the_epoch_table_aligned() -> None:
    from cnnrun.metrics import Metric

    table = EpochTable(80)
    log = {"epoch": 1, "validation_loss": 0.5, "validation_q": 0.25}
    row = EpochRow(log, {"q": Metric("q", True, display_name="正解率")}, 2, 3, 10.0, 1.0)
    *_, header, line = table.lines(row)
    assert cell_len(header) == cell_len(line)
