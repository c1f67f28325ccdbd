"""YAML as people write it: numbers, places, duplicates, overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.config.document import parse, read
from cnnrun.config.yaml_words import dump
from cnnrun.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("5e-05", 5e-5),
        ("1e3", 1000.0),
        ("1.0e3", 1000.0),
        ("1", 1),
        ("08", 8),
        ("012", 12),
        ("32:32", "32:32"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("None", "None"),
        ('"8"', "8"),
        ("1_000", "1_000"),
        ("2026-01-02", "2026-01-02"),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    read_value = parse(text, "x").values
    assert read_value == value
    assert type(read_value) is type(value)


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.mark.slow
@given(plain_values)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back(value: object) -> None:
    assert parse(dump(value), "x").values == value


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: 1\na: 2\n", "x.yaml:2:1: the key 'a' appears twice (first in line 1)"),
        ("optimizer:\n\tlr: 0.1\n", "x.yaml:2:1: not valid YAML: a tab"),
        ('root: "C:\\Users\\x"\n', "x.yaml:1:12: not valid YAML: a backslash in double quotes"),
        ('root: "C:\\data\\new"\n', "a backslash in double quotes"),
        ('root: "C:\\new\\test"\n', "x.yaml:1:7: 'C:\\new\\test' holds a control character"),
        ("a: [1, 2\n", "x.yaml:2:1: not valid YAML"),
        ("lr:0.1\n", "a key needs a colon AND a space"),
        ("", "the file is empty"),
        ("- a\n", "the top level must be `key: value` lines"),
        ("a: !!python/object:os.system x\n", "x.yaml:1:4: the tag"),
        ("? [a]\n: 1\n", "x.yaml:1:3: a key must be one word"),
        ("a: " + "[" * 2000, "nested more deeply"),
        ("a: " + "[" * 60 + "]" * 60, "deeply nested"),
        ("a: &a [1,1,1,1]\n" + "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\n"
         "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", "too many"),
        ("a: &a [*a]\n", "deeply nested"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, wanted: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(file)
    message = str(caught.value)
    assert wanted in message.replace(str(tmp_path) + "/", "")
    assert len(message.splitlines()) == 1


def test_bom_and_crlf_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: a\r\nroot: 'C:\\data\\new'\r\n")
    assert read(file).values == {"name": "a", "root": r"C:\data\new"}


def test_binary_file_and_missing_file(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        read(tmp_path / "x.pt")
    with pytest.raises(ConfigError, match=r"no\.yaml: no such file"):
        read(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match="is a directory"):
        read(tmp_path)


def test_overrides() -> None:
    document = parse("optimizer: {name: sgd, lr: 1}\nmodel: mlp\nlist: [{a: 1}]\n", "x")
    for text in ("optimizer.lr=1e-3", "model.hidden=[8, 4]", "training.epochs=3", "list.0.a=2"):
        document.override(text)
    assert document.values == {
        "optimizer": {"name": "sgd", "lr": 1e-3},
        "model": {"name": "mlp", "hidden": [8, 4]},
        "training": {"epochs": 3},
        "list": [{"a": 2}],
    }
    assert document.place(("optimizer", "lr")) == "command line: optimizer.lr=1e-3"
    document.override("optimizer=adam")
    assert document.values["optimizer"] == "adam"


def test_a_section_that_an_override_makes_is_placed_there() -> None:
    """`optimiser.lr` is misspelt on the command line, not in the file."""
    document = parse("optimizer: {lr: 0.1}\n", "x")
    document.override("optimiser.lr=1")
    assert document.place(("optimiser",), key=True) == "command line: optimiser.lr=1"
    assert document.place(("optimizer",), key=True) == "x:1:1"


@pytest.mark.parametrize(
    "text", ["lr", "=1", "a..b=1", "a=[", "list.7=1", "list.x=1", "name.x.y=1", "n.x=1"]
)
def test_bad_overrides_are_refused(text: str) -> None:
    document = parse("list: [1]\nn: 5\nname: {x: 1}\n", "x")
    with pytest.raises(ConfigError, match=r"override|command line"):
        document.override(text)
